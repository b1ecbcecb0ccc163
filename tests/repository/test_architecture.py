"""The shape of the code: which imports are allowed, what an import may do, and how long a file may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from providers import PROVIDERS
from scripts.stage import ROOT, shipped

MAX_LINES = 400
"""A longer module does more than one thing."""
MAX_FUNCTION_LINES = 45
"""A longer function does not fit on a screen."""
FOLDERS = ("consumer", "providers", "scripts", "tests")
"""The folders whose files have these limits."""
DATA = ("tests/fixtures",)
"""Without these limits: recorded replies, one file for each adapter, of which more are better."""
MAX_LOOSE_MODULES = 9
"""More modules directly in `consumer/` hide which of them belong together."""

HOSTS_OF = {
    "JavaScript stops at the Cloudflare host": {"consumer.cloudflare", "consumer.worker"},
    "What only a laptop has stops at the local host": {
        "consumer.__main__",
        "consumer.cli",
        "consumer.local",
    },
}
"""The modules to which an import contract does not apply, by its name."""

REGISTRIES = tuple(".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("debian", "org")))
REGISTRIES += tuple(f"npmjs.{domain}" for domain in ("org", "com"))


def test_imports_point_inward() -> None:
    """The contracts are in pyproject.toml."""
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def modules() -> dict[str, str]:
    """The text of every Python file in these folders, by its path."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    names = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {name: path.read_text() for name, path in names.items() if not name.startswith(DATA)}


def test_a_module_is_a_few_screens_long() -> None:
    """A longer module does several things, and can be divided between them."""
    lengths = {name: len(text.splitlines()) for name, text in modules().items()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_a_function_fits_on_a_screen() -> None:
    """With its decorators and its docstring."""
    long = {
        f"{name}:{node.lineno}": node.end_lineno - node.lineno + 1
        for name, text in modules().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    }
    assert long == {}


def test_few_modules_lie_directly_in_the_package() -> None:
    """Folders say which role a module has."""
    loose = [path.name for path in (ROOT / "consumer").glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= MAX_LOOSE_MODULES, sorted(loose)


def contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def test_no_import_contract_has_exceptions() -> None:
    """A rule with a list of exceptions explains nothing."""
    assert [contract["name"] for contract in contracts() if "ignore_imports" in contract] == []


def test_import_contracts_for_all_other_modules_list_all_of_them() -> None:
    """A new module must not escape a contract because its name was not added to a list."""
    children = {
        f"consumer.{path.stem}"
        for path in (ROOT / "consumer").iterdir()
        if path.name not in ("__init__.py", "__pycache__")
    }
    listed = {contract["name"]: contract.get("source_modules", []) for contract in contracts()}
    for name, hosts in HOSTS_OF.items():
        assert set(listed[name]) == children - hosts | {"providers"}


def test_every_call_to_a_store_or_the_queue_has_a_time_limit() -> None:
    """A call that goes through `World.within` cannot hang."""
    call = re.compile(r"(?<!\bwithin\()\b(?:self\.)?world\.(?:kv|blobs|queue|limiter)\.\w+\(")
    bare = [
        f"{name}: {found[0]}"
        for name, text in modules().items()
        if name.startswith("consumer/")
        for found in call.finditer(text)
    ]
    assert bare == []


def test_every_provider_module_is_registered() -> None:
    """An adapter that is not registered would not run through the contract suite."""
    modules = {f"providers.{path.stem}" for path in (ROOT / "providers").glob("*.py")}
    registered = {type(provider).__module__ for provider in PROVIDERS.values()}
    assert registered == modules - {"providers.__init__"}


def test_the_worker_imports_an_adapter_when_a_profile_names_it() -> None:
    """The time to start is limited, and no deployment uses every adapter."""
    code = (
        "import sys, providers\n"
        "assert 'echo' in providers.PROVIDERS\n"
        "adapters = {f'providers.{name}' for name in providers.PROVIDERS}\n"
        "assert not adapters & set(sys.modules)\n"
        "assert providers.PROVIDERS.get('os') is None\n"
        "providers.PROVIDERS['echo']\n"
        "assert adapters & set(sys.modules) == {'providers.echo'}\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_file_names_a_package_registry() -> None:
    """The person who installs the packages chooses where they come from."""
    named = {
        f"{path.relative_to(ROOT)}: {registry}"
        for path in repository_files()
        for registry in REGISTRIES
        if registry.encode() in path.read_bytes()
    }
    assert named == set()


def repository_files() -> list[Path]:
    """The files that are committed or could be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_importing_the_shipped_modules_has_no_side_effect() -> None:
    """The Worker's global scope may not do I/O or ask for randomness, and its clock stands still."""
    command = [sys.executable, "-m", "tests.repository.import_probe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name for name in shipped() if name.endswith(".py")]
