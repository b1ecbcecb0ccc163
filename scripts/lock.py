"""Write the lock files: exact versions with hashes, and no address of a package registry.

The lock of all development packages comes first and constrains the others.  So the versions that the tests use are
the versions that run and ship.  `--upgrade` also moves the versions that pyproject.toml does not fix.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.uv import BIN, environment

ROOT = Path(__file__).resolve().parent.parent

COMMON = (
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-annotate",
    "--quiet",
    "--custom-compile-command",
    "make lock",
)
NATIVE = ("--universal", "--python-version", "3.11")
# The platform of an older Pyodide, because uv offers none for Python 3.14 yet.  Resolving depends only on the
# environment markers, and those are the same.
WASM = ("--python-platform", "wasm32-pyodide2025", "--python-version", "3.14")


def groups(*names: str) -> list[str]:
    """Return the options that select dependency groups of pyproject.toml."""
    return [option for name in names for option in ("--group", name)]


def lock(name: str, *arguments: str) -> None:
    """Write one lock file.  Versions already in it stay as long as they fit."""
    command = [str(BIN / "uv"), "pip", "compile", *arguments, *COMMON, *sys.argv[1:]]
    subprocess.run([*command, "--output-file", name], cwd=ROOT, env=environment(), check=True)
    print(f"wrote {name}")


def main() -> None:
    """Write every lock file."""
    same = ("--constraints", "requirements/dev.txt")
    lock("requirements/dev.txt", "pyproject.toml", *groups("local", "model", "dev", "clients"), *NATIVE)
    lock("requirements/run.txt", "pyproject.toml", *groups("local", "model"), *NATIVE, *same)
    lock("requirements/peers.txt", *groups("peers"), *NATIVE)
    lock("requirements/uv.txt", *groups("bootstrap"), *NATIVE)
    lock("requirements/worker.txt", "pyproject.toml", *WASM, *same)
    lock("tests/workerd/requirements.txt", *groups("inside"), *WASM, *same)
    lock_npm()


def lock_npm() -> None:
    """Write package-lock.json; `.npmrc` keeps registry addresses out of it."""
    npm = BIN / "npm"
    if not npm.exists():
        sys.exit("package-lock.json was not updated because npm is missing: run `make setup`")
    node = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [str(npm), "install", "--package-lock-only", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(command, cwd=ROOT, env=node, check=True)
    print("wrote package-lock.json")


if __name__ == "__main__":
    main()
