"""Outages for real seconds, while workers are killed: of the database, the stores and the provider."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Timer
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.local.layout import Layout

PROVIDER: Final = {"refuses": 2.0, "hangs": 3.0, "503": 2.0, "drops": 2.0}
"""What the provider does to every request, and for how many seconds."""
LOCKED: Final = {"database locked": 6.0, "status store locked": 6.0}
"""Files that another process locks, longer than a batch waits for them (five seconds)."""
AWAY: Final = {"files away": 3.0, "files missing": 3.0}
"""The directory of large results: a file is in its place, or nothing."""
SETTLED_S: Final = 2.0
"""Seconds without an outage between two of them."""

LOCK: Final = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


@dataclass(frozen=True, slots=True)
class Provider:
    """The running shop: its address, and the pipe that it reads commands from."""

    address: str
    orders: IO[str]

    def fail(self, how: str, seconds: float) -> None:
        """Misbehave for some seconds."""
        self.orders.write(f"{how} {seconds}\n")
        self.orders.flush()


@dataclass(slots=True)
class Outages:
    """One outage after the other.  `layout` is None where only the provider can fail."""

    provider: Provider
    dice: random.Random
    layout: Layout | None = None
    counts: Counter[str] = field(default_factory=Counter)
    _next: list[str] = field(default_factory=list)
    _ends: float = 0.0
    _lockers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _timers: list[Timer] = field(default_factory=list)

    def maybe_begin(self) -> None:
        """Begin the next outage, unless one goes on or has just ended."""
        if time.monotonic() < self._ends + SETTLED_S:
            return
        if not self._next:
            self._next = [*PROVIDER, *(() if self.layout is None else (*LOCKED, *AWAY))]
            self.dice.shuffle(self._next)
        kind = self._next.pop()
        seconds = {**PROVIDER, **LOCKED, **AWAY}[kind]
        self._ends = time.monotonic() + seconds
        self.counts[kind] += 1
        if kind in PROVIDER:
            self.provider.fail(kind, seconds)
        elif self.layout is not None:
            self._local(kind, seconds, self.layout)

    def _local(self, kind: str, seconds: float, layout: Layout) -> None:
        if kind in LOCKED:
            file = layout.database if kind == "database locked" else layout.status
            self._lockers.append(subprocess.Popen([sys.executable, "-c", LOCK, str(file), str(seconds)]))
            return
        put_away(layout.blobs, leave_file=kind == "files away")
        timer = Timer(seconds, bring_back, [layout.blobs])
        timer.start()
        self._timers.append(timer)

    def end(self) -> None:
        """Wait for the end of every outage."""
        for timer in self._timers:
            timer.join()
        for locker in self._lockers:
            locker.wait()
        time.sleep(max(0.0, self._ends - time.monotonic()))


def put_away(directory: Path, *, leave_file: bool) -> None:
    """Move a directory away, and leave a file or nothing in its place."""
    directory.rename(directory.with_suffix(".away"))
    if leave_file:
        with suppress(FileExistsError):  # a worker that starts now has created the directory again
            directory.touch(exist_ok=False)


def bring_back(directory: Path) -> None:
    """Move the directory back, with what a worker may have written in the meantime."""
    away = directory.with_suffix(".away")
    if directory.is_file():
        directory.unlink()
    directory.mkdir(exist_ok=True)
    for file in away.iterdir():
        file.replace(directory / file.name)
    away.rmdir()
