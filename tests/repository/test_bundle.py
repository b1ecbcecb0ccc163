"""The files, packages and settings of a deployment."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from datetime import date
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from consumer.core.profile import accounts
from providers import PROVIDERS
from scripts.stage import ENTRY, PACKAGES, ROOT, shipped

EXPECTED = ROOT / "tests" / "repository" / "expected_modules.txt"
DEVELOPMENT, RUNNING, WORKER = (ROOT / "requirements" / f"{name}.txt" for name in ("dev", "run", "worker"))
INSIDE = ROOT / "tests" / "workerd" / "requirements.txt"
LOCKS = [*sorted((ROOT / "requirements").glob("*.txt")), INSIDE]
WRANGLER: dict[str, Any] = tomllib.loads((ROOT / "wrangler.toml").read_text())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

PLATFORM_MODULES = {"js", "pyodide", "workers"}
"""The modules that the Workers runtime provides."""

ABSENT_FROM_PYODIDE = {
    *"curses dbm ensurepip fcntl grp idlelib msvcrt pwd resource syslog termios tkinter turtle venv".split(),
    *"winreg winsound multiprocessing subprocess threading".split(),
}
"""Modules of the standard library that do not exist in the Worker, or cannot work there."""


def pins(lock: Path) -> dict[str, str]:
    """The versions in a lock file, by name of the package."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


# ------------------------------------------------------------------------------------------------ files


def test_exactly_the_expected_modules_ship() -> None:
    """`make expected-modules` accepts an intended difference."""
    assert sorted(shipped()) == EXPECTED.read_text().split()


def test_every_import_of_a_shipped_module_is_found_in_the_worker() -> None:
    """Without this test, a missing module would be noticed only after the deployment."""
    vendored = set(pins(WORKER))
    packages = {
        package
        for package, distributions in packages_distributions().items()
        if any(_normal(name) in vendored for name in distributions)
    }
    available = (sys.stdlib_module_names - ABSENT_FROM_PYODIDE) | packages | PLATFORM_MODULES | set(PACKAGES)
    files = set(shipped())
    missing = {
        f"{name}: {imported}"
        for name, path in shipped().items()
        if path.suffix == ".py"
        for imported in _imports(path)
        if imported.partition(".")[0] not in available or not _ships(imported, files)
    }
    assert missing == set()


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _imports(path: Path) -> set[str]:
    """The modules that a file imports.  `from a import b` imports `a`, and `a.b` if that is a module."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            modules |= {name for name in inner if _files_of(name) and any(map(Path.exists, _files_of(name)))}
    return modules


def _files_of(module: str) -> list[Path]:
    path = ROOT / module.replace(".", "/")
    return [path.with_suffix(".py"), path / "__init__.py"] if module.startswith(PACKAGES) else []


def _ships(module: str, files: set[str]) -> bool:
    own = [path.relative_to(ROOT).as_posix() for path in _files_of(module)]
    return not own or any(path in files for path in own)


@pytest.mark.workerd
@pytest.mark.xdist_group("workerd")
def test_wrangler_bundles_what_is_staged() -> None:
    """`make bundle` compares both lists itself.  A Worker may have 64 MiB."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bundle"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    total = re.search(r"Total Upload: ([0-9.]+) KiB", done.stdout)
    assert total, done.stdout
    assert float(total[1]) < 64 * 1024


# ------------------------------------------------------------------------------------------------ packages


def test_the_worker_ships_the_versions_that_were_tested() -> None:
    """The lock for CPython, the lock for WebAssembly and pyproject.toml name the same versions."""
    requirements = [requirement.partition(" ;")[0] for requirement in PROJECT["project"]["dependencies"]]
    required = dict(requirement.split("==") for requirement in requirements)
    for lock in (DEVELOPMENT, RUNNING, WORKER):
        assert required.items() <= pins(lock).items()
    for lock in (RUNNING, WORKER, INSIDE):
        assert pins(lock).items() <= pins(DEVELOPMENT).items()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    """The user's own settings choose the registry, and the hash decides whether a package is accepted."""
    text = lock.read_text()
    assert "://" not in text
    for requirement in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert "--hash=sha256:" in requirement


def test_the_npm_lock_has_no_addresses() -> None:
    """The same rule for npm."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []


# ------------------------------------------------------------------------------------------------ settings


def test_the_runtime_is_pinned_to_python_3_14() -> None:
    """The date selects Python, and a later date selects a module registry that no test has used yet."""
    assert date(2026, 9, 8) <= date.fromisoformat(WRANGLER["compatibility_date"]) < date(2026, 11, 17)
    assert "python_workers" in WRANGLER["compatibility_flags"]
    assert WRANGLER["main"] == f".build/{Path(ENTRY).name}"


def test_every_queue_option_is_explicit_and_allowed() -> None:
    """`wrangler dev` has other defaults than the platform."""
    maximum = {
        "max_batch_size": 100,
        "max_batch_timeout": 60,
        "max_retries": 100,
        "retry_delay": 86_400,
        "max_concurrency": 250,
    }
    for consumer in WRANGLER["queues"]["consumers"]:
        assert consumer.keys() - {"queue", "dead_letter_queue"} == maximum.keys()
        assert all(0 <= consumer[option] <= maximum[option] for option in maximum)


def test_every_queue_has_a_consumer_and_keeps_its_messages() -> None:
    """The platform deletes a message that fails too often, or that no consumer takes within 4 days."""
    consumers = {consumer["queue"]: consumer for consumer in WRANGLER["queues"]["consumers"]}
    produced = {producer["queue"] for producer in WRANGLER["queues"]["producers"]}
    for queue in produced:
        dead_letters = consumers[queue]["dead_letter_queue"]
        assert "dead_letter_queue" not in consumers[dead_letters]
        # A dead letter has no other queue to go to, so retries must last as long as the platform keeps it.
        retries_last_s = consumers[dead_letters]["max_retries"] * consumers[dead_letters]["retry_delay"]
        assert retries_last_s >= 4 * 86_400


def test_the_entry_finds_its_bindings() -> None:
    """A wrong name would make the first request after a deployment fail."""
    tables = [
        *WRANGLER["d1_databases"],
        *WRANGLER["kv_namespaces"],
        *WRANGLER["r2_buckets"],
        *WRANGLER["queues"]["producers"],
    ]
    assert {table["binding"] for table in tables} == {"DB", "STATUS", "BLOBS", "DOORBELLS"}
    assert (ROOT / WRANGLER["d1_databases"][0]["migrations_dir"]).is_dir()
    assert WRANGLER["triggers"]["crons"] == ["* * * * *"]
    assert WRANGLER["limits"]["cpu_ms"] == 300_000


def test_the_example_profiles_are_valid() -> None:
    """A new deployment starts with these profiles, and they need no secret."""
    found = accounts(json.loads(WRANGLER["vars"]["PROFILES"]), {})
    assert found
    for account in found.values():
        PROVIDERS[account.profile.provider].check(account)
