"""Install packages for the Worker's platform: Python 3.14 on WebAssembly."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PYTHON_VERSION = "3.14"
PLATFORM = "pyemscripten_2026_0_wasm32"

# pip, because uv knows no such platform yet.  The lock is complete and was resolved for that Python: neither
# dependencies nor `Requires-Python` are looked at again, which pip would do with the Python that it runs on.
INSTALL = (
    *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
    *("--no-compile", "--no-deps", "--ignore-requires-python", "--require-hashes", "--only-binary", ":all:"),
    *("--implementation", "cp", "--python-version", PYTHON_VERSION),
    *("--abi", "cp314", "--abi", "abi3", "--abi", "none", "--platform", PLATFORM, "--platform", "any"),
)


def install(requirements: Path, target: Path) -> None:
    """Install what a hashed requirements file names into a directory.  Raises RuntimeError in pip's words."""
    command = [*INSTALL, "--target", str(target), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{requirements} cannot be installed for {PLATFORM}:\n{done.stderr}")
