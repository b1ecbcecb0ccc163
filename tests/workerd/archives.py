"""The contents of the Worker: its vendored packages, the project's source, and the tests' own Python.

Packages are zipped once and kept by the hash of their lock; everything else is zipped for each start.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import wheels

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def cache_directory() -> Path:
    """The folder of built archives: `BIZQ_CACHE`, or `.cache/workerd` of the checkout."""
    return Path(os.environ.get("BIZQ_CACHE") or ROOT / ".cache" / "workerd")


def packages(*locks: Path) -> Path:
    """Return a zip of the packages that hashed requirements files name, installing them at most once.

    Raises RuntimeError with pip's message if a package has no wheel for the Worker's platform.
    """
    cache = cache_directory()
    text = "".join(lock.read_text() for lock in locks)
    digest = hashlib.sha256(f"{wheels.PLATFORM} {wheels.PYTHON_VERSION}\n{text}".encode()).hexdigest()
    archive = cache / f"packages-{digest[:16]}.zip"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        target = Path(directory, "packages")
        for number, lock in enumerate(locks):
            wheels.install(lock, target / str(number))
        files = {name: path for part in sorted(target.iterdir()) for name, path in below(part).items()}
        # Written to another file, then moved: a process that builds the same archive never sees half of it.
        pack(files, Path(directory, "draft.zip")).replace(archive)
    return archive


def below(directory: Path, prefix: str = "") -> dict[str, Path]:
    """Every file below a directory, by its name in an archive, without commands and compiled files."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if path.is_file() and "__pycache__" not in name.parts and name.parts[0] != "bin":
            found[prefix + name.as_posix()] = path
    return found


def pack(files: Mapping[str, Path | str], archive: Path) -> Path:
    """Zip files and texts."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content.read_bytes()
            out.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return archive
