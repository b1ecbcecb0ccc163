"""Stage what ships: two packages, without what only a laptop has, and the entry module at the top.

wrangler cannot exclude Python files: with the checkout as its root it would upload tests, environments and the
local host as well.  This is its `[build]` command, so every `wrangler dev` and `wrangler deploy` goes through it.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGED = ROOT / ".build"
LOCK = ROOT / "requirements" / "worker.txt"
VENDORED = ROOT / "python_modules"
MARK = VENDORED / ".lock"
"""The hash of the lock that the packages were installed from."""
PACKAGES = ("consumer", "providers")
ENTRY = "consumer/worker.py"

LOCAL_ONLY = (
    "consumer/__main__.py",
    "consumer/cli",
    "consumer/local",
)
"""Files and directories that stay at home."""


def shipped() -> dict[str, Path]:
    """Every file that ships, by its path in the bundle."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix(): path for path in files if "__pycache__" not in path.parts}
    return {Path(name).name if name == ENTRY else name: path for name, path in names.items() if _ships(name)}


def _ships(name: str) -> bool:
    return not any(name == local or name.startswith(f"{local}/") for local in LOCAL_ONLY)


def stage() -> None:
    """Put what ships, and nothing else, into `.build`."""
    shutil.rmtree(STAGED, ignore_errors=True)
    for name, path in shipped().items():
        target = STAGED / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def lock_digest() -> str:
    """What `MARK` holds when the packages are those of the lock."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def check_vendored() -> None:
    """Stop a deployment without the packages, which wrangler would not miss.  Raises SystemExit."""
    if not (VENDORED / "workers").is_dir() or (MARK.exists() and MARK.read_text() != lock_digest()):
        sys.exit("python_modules/ is not what requirements/worker.txt says: run `make bundle`")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--list", action="store_true", help="print the names of what ships, and stage nothing"
    )
    if parser.parse_args().list:
        print(*sorted(shipped()), sep="\n")
    else:
        check_vendored()
        stage()
