"""Where the tasks of a command are: a data directory, or a worker that is asked over HTTP.  And how hints repeat
that."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

DATA: Final = Path(".bizq")
"""The data directory of commands that name none."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Remote:
    """A worker that a command calls over HTTP: its address without a slash at the end, and the API key if one is known.

    `key_file` is the file that the key was read from, for hints."""

    url: str
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None

    @property
    def on_loopback(self) -> bool:
        return urlsplit(self.url).hostname in LOOPBACK


@dataclass(frozen=True, slots=True)
class Target:
    """The place where a command works: the remote worker, or without one the data directory."""

    data: Path
    remote: Remote | None = None

    def options(self) -> str:
        """The options that lead another command to the same place; no option that a default or the environment sets."""
        if self.remote is None:
            known = os.environ.get("BIZQ_DATA") or str(DATA)
            hidden = os.environ.get("BIZQ_TARGET")  # --data goes before it
            return "" if str(self.data) == known and not hidden else f" --data {shlex.quote(str(self.data))}"
        url, file = self.remote.url, self.remote.key_file
        known = (os.environ.get("BIZQ_TARGET") or "").rstrip("/")
        typed = "" if url == known else f" --target {shlex.quote(url)}"
        return typed if file is None else f"{typed} --key-file {shlex.quote(str(file))}"


def program() -> str:
    """The way to call this program again from the current directory."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return "python -m consumer"
    found = shutil.which("bizq")
    if path.name != "bizq" or not path.is_file() or (found and path.samefile(found)):
        return "bizq"
    return os.path.relpath(path)


def command(words: str, target: Target | None = None) -> str:
    """A command in backquotes that can be typed as it stands.

    Without `target` it is for the place where the running command works."""
    context = click.get_current_context(silent=True)
    found = target or (context.find_root().obj if context else None)
    return f"`{program()} {words}{found.options() if isinstance(found, Target) else ''}`"


def no_data(root: Path) -> str:
    """The message that a data directory does not exist."""
    create = command("dev", Target(root))
    return f"there is no BizQ data in {root}: create it with {create}, or name another directory with --data"
