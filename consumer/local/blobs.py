"""`Blobs` as files of one directory."""

from __future__ import annotations

import hashlib
import os
from itertools import count
from pathlib import Path
from typing import Final

from consumer.ports import MAX_KEY_BYTES, Refused, Unavailable

_LITERAL: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_.")
_MAX_NAME: Final = 200
"""Characters of a file name.  Common file systems allow 255."""


class FileBlobs:
    """`Blobs` on a directory.  It works on the event loop's own thread, because payloads are rare and small.

    A file appears complete or not at all.  With `fsync` it is on the disk before `put` returns, because the worker
    writes a row that names it next.
    """

    def __init__(self, directory: str | Path, *, fsync: bool = True) -> None:
        """Create the directory if it is missing.  Raises `Unavailable` if that fails."""
        self._directory = Path(directory)
        self._fsync = fsync
        self._numbers = count()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(str(error)) from error

    async def get(self, key: str) -> bytes | None:
        """The bytes of a key; None if it has none."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            if self._directory.is_dir():
                return None
            raise Unavailable(f"the directory {self._directory} is missing") from None
        except OSError as error:
            raise Unavailable(str(error)) from error

    async def put(self, key: str, value: bytes) -> None:
        """Store the bytes.  Storing the same bytes under the same key again changes nothing."""
        if type(value) is not bytes:
            raise Refused(f"a blob is bytes, not {type(value).__name__}")
        path = self._path(key)
        temporary = self._directory / f".{os.getpid()}-{next(self._numbers)}"
        try:
            try:
                self._write(temporary, value)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            if self._fsync:
                _sync_directory(self._directory)
        except OSError as error:
            raise Unavailable(str(error)) from error

    async def delete(self, key: str) -> None:
        """Delete the bytes of a key, if it has any."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(str(error)) from error

    def _path(self, key: str) -> Path:
        return self._directory / file_name(key)

    def _write(self, path: Path, value: bytes) -> None:
        with path.open("xb") as file:
            file.write(value)
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())


def file_name(key: str) -> str:
    """The file name of a key in the directory.  Raises `Refused` for a key that is not one.

    Two keys never share a name, even on a file system that ignores case, and no name leads out of the directory: every
    character except a few harmless ones is written as %XX, and a name that would be too long is the key's hash.
    """
    try:
        raw = key.encode() if type(key) is str else b""
    except UnicodeEncodeError as error:
        raise Refused("a key must be valid Unicode") from error
    if not 0 < len(raw) <= MAX_KEY_BYTES:
        raise Refused(f"a key is text of 1 to {MAX_KEY_BYTES} bytes: {key!r:.80}")
    name = "".join(chr(byte) if byte in _LITERAL else f"%{byte:02X}" for byte in raw)
    if name.startswith("."):
        name = "%2E" + name[1:]
    return name if len(name) <= _MAX_NAME else "=" + hashlib.sha256(raw).hexdigest()


def _sync_directory(directory: Path) -> None:
    """Write a rename to the disk.  On Windows, which cannot open a directory, the system does that itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
