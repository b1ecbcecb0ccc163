"""Copy the files that ship into `.build/`: both packages without the local host, and the entry module at the top.

wrangler cannot exclude Python files.  If the checkout were its root, it would also upload the tests, the virtual
environment and the local host.  This module is the `[build]` command of wrangler.toml, so every `wrangler dev` and
`wrangler deploy` runs it.
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
LOCK_DIGEST_FILE = VENDORED / ".lock"
"""Holds the hash of the lock that `make bundle` installed the packages from."""
PACKAGES = ("consumer", "providers")
ENTRY = "consumer/worker.py"

LOCAL_ONLY = (
    "consumer/__main__.py",
    "consumer/cli",
    "consumer/local",
)
"""Files and directories that never ship."""


def shipped() -> dict[str, Path]:
    """Map the path in the bundle to the source file, for every file that ships."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix(): path for path in files if "__pycache__" not in path.parts}
    return {Path(name).name if name == ENTRY else name: path for name, path in names.items() if _ships(name)}


def _ships(name: str) -> bool:
    return not any(name == local or name.startswith(f"{local}/") for local in LOCAL_ONLY)


def stage() -> None:
    """Replace the content of `.build/` by the files that ship."""
    shutil.rmtree(STAGED, ignore_errors=True)
    for name, path in shipped().items():
        target = STAGED / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def lock_digest() -> str:
    """Return the hash of the lock, as `LOCK_DIGEST_FILE` holds it."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def check_vendored() -> None:
    """Stop if `python_modules/` is missing or older than the lock.  Raises SystemExit.

    wrangler would deploy without the packages and report no error.  Packages that pywrangler installed carry no
    digest of our lock and are accepted as they are.
    """
    outdated = LOCK_DIGEST_FILE.exists() and LOCK_DIGEST_FILE.read_text() != lock_digest()
    if outdated or not (VENDORED / "workers").is_dir():
        sys.exit("python_modules/ does not match requirements/worker.txt: run `make bundle`")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--list", action="store_true", help="print the names of the files that ship; copy nothing"
    )
    if parser.parse_args().list:
        print(*sorted(shipped()), sep="\n")
    else:
        check_vendored()
        stage()
