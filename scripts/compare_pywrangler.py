"""Compare the packages that `pywrangler sync` installs with those that `make bundle` installs.

Both use the versions of pyproject.toml.  But pywrangler also searches Pyodide's own package index, which may hold
another build of the same version.  This script runs `pywrangler sync` in a copy of the configuration, and fails if any
file differs.

It is not a test of the suite, because pywrangler downloads Python and Pyodide, and no package registry has those.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts import bundle, stage
from scripts.uv import BIN, environment

CONFIGURATION = ("pyproject.toml", "wrangler.toml")
"""The files that pywrangler reads."""
WRITTEN_BY_INSTALLERS = frozenset({"INSTALLER", "RECORD", "pyvenv.cfg", ".lock", ".synced"})
"""Names of files that depend on the tool that installed the packages."""


def differences(ours: Path, theirs: Path) -> list[str]:
    """Describe each file that only one of two directories has, or that differs."""
    mine, other = _files(ours), _files(theirs)
    found = [f"only make bundle: {name}" for name in mine.keys() - other.keys()]
    found += [f"only pywrangler: {name}" for name in other.keys() - mine.keys()]
    found += [f"differs: {name}" for name in mine.keys() & other.keys() if mine[name] != other[name]]
    return sorted(found)


def _files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in WRITTEN_BY_INSTALLERS and path.suffix != ".pyc"
    }


def sync(directory: Path) -> Path:
    """Run `pywrangler sync` on our configuration in an empty directory, and return the packages.

    Raises subprocess.CalledProcessError; pywrangler prints the reason.
    """
    for name in CONFIGURATION:
        shutil.copy(stage.ROOT / name, directory)
    variables = environment()
    # pywrangler makes environments of its own, and runs the `uv` that it finds on the path.
    del variables["VIRTUAL_ENV"]
    variables["PATH"] = f"{BIN}{os.pathsep}{variables.get('PATH', '')}"
    subprocess.run([str(BIN / "pywrangler"), "sync"], cwd=directory, env=variables, check=True)
    return directory / "python_modules"


def main() -> None:
    """Install both ways, compare, print."""
    bundle.vendor()
    with tempfile.TemporaryDirectory() as directory:
        try:
            found = differences(stage.VENDORED, sync(Path(directory)))
        except subprocess.CalledProcessError:
            sys.exit("pywrangler sync failed: see its messages above")
    if found:
        sys.exit("\n".join(found))
    print("pywrangler and make bundle install the same files")


if __name__ == "__main__":
    main()
