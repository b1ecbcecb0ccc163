"""What would be deployed: which files, which packages, which settings."""

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
"""What the Workers runtime brings."""

ABSENT_FROM_PYODIDE = {
    *"curses dbm ensurepip fcntl grp idlelib msvcrt pwd resource syslog termios tkinter turtle venv".split(),
    *"winreg winsound multiprocessing subprocess threading".split(),
}
"""Modules of the standard library that are not there, or are there and cannot work."""


def pins(lock: Path) -> dict[str, str]:
    """The versions in a lock file, by name."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


# ------------------------------------------------------------------------------------------------ files


def test_exactly_the_expected_modules_ship() -> None:
    """`make expected-modules` accepts a difference that is meant."""
    assert sorted(shipped()) == EXPECTED.read_text().split()


def test_every_import_of_a_shipped_module_is_found_in_the_worker() -> None:
    """A missing module would show itself only after the deployment."""
    vendored = set(pins(WORKER))
    packages = {
        package
        for package, distributions in packages_distributions().items()
        if any(_normal(name) in vendored for name in distributions)
    }
    there = (sys.stdlib_module_names - ABSENT_FROM_PYODIDE) | packages | PLATFORM_MODULES | set(PACKAGES)
    files = set(shipped())
    missing = {
        f"{name}: {imported}"
        for name, path in shipped().items()
        if path.suffix == ".py"
        for imported in _imports(path)
        if imported.partition(".")[0] not in there or not _ships(imported, files)
    }
    assert missing == set()


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _imports(path: Path) -> set[str]:
    """The modules that a file imports; for `from a import b` both `a` and, where it is a module, `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name for name in inner if _files_of(name) and any(map(Path.exists, _files_of(name)))}
    return found


def _files_of(module: str) -> list[Path]:
    path = ROOT / module.replace(".", "/")
    return [path.with_suffix(".py"), path / "__init__.py"] if module.startswith(PACKAGES) else []


def _ships(module: str, files: set[str]) -> bool:
    ours = [path.relative_to(ROOT).as_posix() for path in _files_of(module)]
    return not ours or any(path in files for path in ours)


@pytest.mark.workerd
@pytest.mark.xdist_group("workerd")
def test_wrangler_bundles_what_is_staged() -> None:
    """`make bundle` compares both lists itself, and stays below the 64 MiB that a Worker may have."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bundle"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    total = re.search(r"Total Upload: ([0-9.]+) KiB", done.stdout)
    assert total, done.stdout
    assert float(total[1]) < 64 * 1024


# ------------------------------------------------------------------------------------------------ packages


def test_the_worker_ships_the_versions_that_were_tested() -> None:
    """The native and the WebAssembly lock agree, and both with pyproject.toml."""
    wanted = dict(requirement.split("==") for requirement in PROJECT["project"]["dependencies"])
    tested = pins(DEVELOPMENT)
    for lock in (DEVELOPMENT, RUNNING, WORKER):
        assert wanted.items() <= pins(lock).items()
    for lock in (RUNNING, WORKER, INSIDE):
        others = {name: version for name, version in pins(lock).items() if tested.get(name) != version}
        assert others.keys() <= {"workers-runtime-sdk"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    """Whoever installs from it chooses the registry, and the hash decides."""
    text = lock.read_text()
    assert "://" not in text
    for requirement in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert "--hash=sha256:" in requirement


def test_the_npm_lock_has_no_addresses() -> None:
    """The same for npm."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []


# ------------------------------------------------------------------------------------------------ settings


def test_the_runtime_is_pinned_to_python_3_14() -> None:
    """Python follows the date; a later one brings a module registry that is not tested yet."""
    assert date(2026, 9, 8) <= date.fromisoformat(WRANGLER["compatibility_date"]) < date(2026, 11, 17)
    assert "python_workers" in WRANGLER["compatibility_flags"]
    assert WRANGLER["main"] == f".build/{Path(ENTRY).name}"


def test_every_queue_option_is_explicit_and_allowed() -> None:
    """The defaults of development differ from those of the platform."""
    most = {
        "max_batch_size": 100,
        "max_batch_timeout": 60,
        "max_retries": 100,
        "retry_delay": 86_400,
        "max_concurrency": 250,
    }
    for consumer in WRANGLER["queues"]["consumers"]:
        assert consumer.keys() - {"queue", "dead_letter_queue"} == most.keys()
        assert all(0 <= consumer[option] <= most[option] for option in most)


def test_every_queue_is_consumed_and_no_message_vanishes() -> None:
    """Without a dead letter queue the platform deletes; without a consumer it keeps for 4 days, then deletes."""
    consumers = {consumer["queue"]: consumer for consumer in WRANGLER["queues"]["consumers"]}
    produced = {producer["queue"] for producer in WRANGLER["queues"]["producers"]}
    for queue in produced:
        dead_letters = consumers[queue]["dead_letter_queue"]
        assert "dead_letter_queue" not in consumers[dead_letters]
        # It has nowhere to go from there: it is tried for as long as the platform keeps it.
        patience_s = consumers[dead_letters]["max_retries"] * consumers[dead_letters]["retry_delay"]
        assert patience_s >= 4 * 86_400


def test_the_bindings_are_those_that_the_entry_asks_for() -> None:
    """A name that is wrong here would show itself in the first request after a deployment."""
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
    """They are what a new deployment starts with, and they need no secret."""
    found = accounts(json.loads(WRANGLER["vars"]["PROFILES"]), {})
    assert found
    for account in found.values():
        PROVIDERS[account.profile.provider].check(account)
