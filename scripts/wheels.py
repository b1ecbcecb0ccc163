"""Install packages for the Worker's platform: Python 3.14 on WebAssembly."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PYTHON_VERSION = "3.14"
PLATFORM = "pyemscripten_2026_0_wasm32"

# pip, because `uv pip install --python-platform` does not offer this platform yet.  The lock is complete and was
# resolved for this Python.  So pip must check neither dependencies nor `Requires-Python`: it would compare the latter
# with the Python that pip itself runs on.
INSTALL = (
    *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
    *("--no-compile", "--no-deps", "--ignore-requires-python", "--require-hashes", "--only-binary", ":all:"),
    *("--implementation", "cp", "--python-version", PYTHON_VERSION),
    *("--abi", "cp314", "--abi", "abi3", "--abi", "none", "--platform", PLATFORM, "--platform", "any"),
)


def install(requirements: Path, target: Path) -> None:
    """Install the packages of a hashed requirements file into a directory.

    Raises RuntimeError with pip's error output.
    """
    command = [*INSTALL, "--target", str(target), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{requirements} cannot be installed for {PLATFORM}:\n{done.stderr}")
