"""Write the locks: exact versions with hashes, and without the address of any registry.

One resolution for all native platforms comes first and constrains the others, so that a version that is
tested is the version that runs and ships.  `--upgrade` also moves what pyproject.toml does not pin.
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
# uv knows no tag of Python 3.14 on WebAssembly yet; the markers, which are all that resolving needs, are the same.
WASM = ("--python-platform", "wasm32-pyodide2025", "--python-version", "3.14")


def groups(*names: str) -> list[str]:
    """The options that choose dependency groups of pyproject.toml."""
    return [option for name in names for option in ("--group", name)]


def lock(name: str, *arguments: str) -> None:
    """Write one lock file; what it holds already is kept where it still fits."""
    command = [str(BIN / "uv"), "pip", "compile", *arguments, *COMMON, *sys.argv[1:]]
    subprocess.run([*command, "--output-file", name], cwd=ROOT, env=environment(), check=True)
    print(f"wrote {name}")


def main() -> None:
    """All of them."""
    same = ("--constraints", "requirements/dev.txt")
    lock("requirements/dev.txt", "pyproject.toml", *groups("local", "model", "dev"), *NATIVE)
    lock("requirements/run.txt", "pyproject.toml", *groups("local", "model"), *NATIVE, *same)
    lock("requirements/uv.txt", *groups("bootstrap"), *NATIVE)
    lock("requirements/worker.txt", "pyproject.toml", *groups("wasm"), *WASM, *same)
    lock("tests/workerd/requirements.txt", *groups("inside"), *WASM, *same)
    lock_npm()


def lock_npm() -> None:
    """The same for npm; `.npmrc` keeps addresses out."""
    npm = BIN / "npm"
    if not npm.exists():
        sys.exit("package-lock.json is as it was: npm comes with `make setup`")
    node = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [str(npm), "install", "--package-lock-only", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(command, cwd=ROOT, env=node, check=True)
    print("wrote package-lock.json")


if __name__ == "__main__":
    main()
