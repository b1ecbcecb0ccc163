"""pywrangler, Cloudflare's command for Python Workers, accepts our configuration and vendors what the tests use.

The code of pywrangler runs here.  Its downloads do not: a server on loopback stands for the package indexes.  For the
real downloads there is `make compare-pywrangler`.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from typing import TYPE_CHECKING, Any, Final

import pytest
from pywrangler import resolve, sync, utils

from scripts import compare_pywrangler, stage, wheels
from scripts.stage import ROOT
from scripts.uv import BIN
from tests.repository.test_bundle import PROJECT, WORKER, pins
from tests.workerd import pytest_inside
from tests.workerd.loopback import Answer, Loopback, Seen

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEWER: Final = "9999.0"
"""A version of every package that no test has used."""
SIMPLE_INDEX: Final = ("content-type", "application/vnd.pypi.simple.v1+json")
PLATFORM: Final = ("--python-platform", "wasm32-pyodide2025", "--python-version", wheels.PYTHON_VERSION)
"""Selects the same packages as the Pyodide interpreter that pywrangler would download."""


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    """Forget the project that pywrangler found first: it keeps it for the life of the process."""
    for cached in (utils.find_pyproject_toml, utils.get_python_version):
        cached.cache_clear()
    yield
    for cached in (utils.find_pyproject_toml, utils.get_python_version):
        cached.cache_clear()


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# -------------------------------------------------------------------------------------------- configuration


def test_pywrangler_reads_our_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "consumer")
    assert utils.get_project_root() == ROOT
    utils.check_wrangler_config()
    sync.check_requirements_txt()
    assert utils.get_python_version() == wheels.PYTHON_VERSION
    assert resolve.parse_requirements() == PROJECT["project"]["dependencies"]


def test_our_uv_and_our_wrangler_are_new_enough_for_pywrangler() -> None:
    (uv,) = PROJECT["dependency-groups"]["bootstrap"]
    assert number(uv.removeprefix("uv==")) >= utils.MIN_UV_VERSION
    found = re.search(r'"wrangler": "([0-9.]+)"', (ROOT / "package.json").read_text())
    assert found
    assert number(found[1]) >= utils.MIN_WRANGLER_VERSION


# ------------------------------------------------------------------------------------------------- packages


def test_every_version_that_ships_is_fixed_in_pyproject() -> None:
    """`make bundle` and the tests use requirements/worker.txt, but pywrangler reads only pyproject.toml."""
    assert WORKER == stage.LOCK == pytest_inside.WORKER_LOCK
    direct = PROJECT["project"]["dependencies"]
    indirect = PROJECT["tool"]["uv"]["constraint-dependencies"]
    fixed = dict(requirement.partition(" ;")[0].split("==") for requirement in [*direct, *indirect])
    assert fixed == pins(WORKER)


def test_pywrangler_chooses_the_versions_that_the_tests_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even if both the Python registry and Pyodide's index have a newer version of every package."""
    for name in compare_pywrangler.CONFIGURATION:
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    with Loopback(index) as server:
        environment_of_uv(monkeypatch, server.url)
        monkeypatch.setattr(resolve, "get_pyodide_index", lambda: f"{server.url}/pyodide")
        monkeypatch.setattr(resolve, "run_command", without_interpreter(utils.run_command))
        plan = resolve.resolve_requirements()
        asked = {seen.path.split("/")[1] for seen in server.seen}
    assert dict(plan.requirements) == pins(WORKER)
    assert asked == {"registry", "pyodide"}


def environment_of_uv(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let uv ask only the server on loopback, and use nothing that an earlier run has cached."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{url}/registry")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")


def without_interpreter(run: Callable[..., Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Wrap pywrangler's `run_command`: name a platform instead of an interpreter that must be downloaded."""

    def run_command(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        place = command.index("--python")
        assert command[place + 1] == "cpython-3.14.2-emscripten-wasm32-musl"
        replaced = [*command[:place], "--python", sys.executable, *PLATFORM, *command[place + 2 :]]
        result: subprocess.CompletedProcess[str] = run(replaced, **options)
        return result

    return run_command


def index(seen: Seen) -> Answer:
    """A package index that has, of each package of the Worker, the version of the lock and a newer one."""
    _, _, name, *rest = seen.path.split("/")
    versions = pins(WORKER)
    if name not in versions:
        return Answer(status=404)
    if rest and rest[0].endswith(".metadata"):
        version = rest[0].split("-")[1]
        lines = ["Metadata-Version: 2.3", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requirements_of(name)]
        return Answer(body="\n".join(lines).encode())
    files = [
        {
            "filename": (file := f"{name.replace('-', '_')}-{version}-py3-none-any.whl"),
            "url": f"./{file}",
            "hashes": {"sha256": hashlib.sha256(file.encode()).hexdigest()},
            "core-metadata": True,
        }
        for version in (versions[name], NEWER)
    ]
    page = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
    return Answer(json=page, headers=[SIMPLE_INDEX])


def requirements_of(package: str) -> list[str]:
    """The requirements of an installed package; httpx2-jsfetch, which only the Worker installs, has none."""
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


# ----------------------------------------------------------------------------------- make compare-pywrangler


def test_the_comparison_finds_every_difference(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        (directory / "package").mkdir(parents=True)
        (directory / "package" / "same.py").write_text("")
        (directory / "package" / "other.py").write_text(directory.name)
        (directory / "package" / f"{directory.name}.py").write_text("")
        (directory / "INSTALLER").write_text(directory.name)
    assert compare_pywrangler.differences(ours, theirs) == [
        "differs: package/other.py",
        "only make bundle: package/ours.py",
        "only pywrangler: package/theirs.py",
    ]
