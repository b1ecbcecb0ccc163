"""The shape of the code: what may import what, what an import may do, and how long a file may be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from providers import PROVIDERS
from scripts.stage import ROOT, shipped

MAX_LINES = 400
"""A module that is longer does more than one thing."""

REGISTRIES = tuple(".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("debian", "org")))
REGISTRIES += tuple(f"npmjs.{domain}" for domain in ("org", "com"))


def test_imports_point_inward() -> None:
    """The contracts are in pyproject.toml."""
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_module_is_a_few_screens_long() -> None:
    """What grows beyond that has a seam."""
    files = [path for package in ("consumer", "providers") for path in (ROOT / package).rglob("*.py")]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_provider_module_is_registered() -> None:
    """An adapter that nobody registered is not run through the contract suite either."""
    modules = {f"providers.{path.stem}" for path in (ROOT / "providers").glob("*.py")}
    registered = {type(provider).__module__ for provider in PROVIDERS.values()}
    assert registered == modules - {"providers.__init__", "providers.contract"}


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the business of whoever installs them."""
    named = {
        f"{path.relative_to(ROOT)}: {registry}"
        for path in repository_files()
        for registry in REGISTRIES
        if registry.encode() in path.read_bytes()
    }
    assert named == set()


def repository_files() -> list[Path]:
    """What is or could be committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_importing_what_ships_does_nothing_else() -> None:
    """The Worker's global scope may not do I/O or ask for randomness, and its clock stands still."""
    command = [sys.executable, "-m", "tests.import_probe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name for name in shipped() if name.endswith(".py")]
