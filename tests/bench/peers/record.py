"""What a peer's two processes have in common: they note when a task was sent, began and ended.

Only the standard library is imported here, because a peer runs in an environment of its own.  Times are nanoseconds of
the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

CONCURRENCY: Final = 50
"""Tasks that a worker may run at the same time."""
SLEEP_S: Final = 0.05
"""How long a task of the kind `sleep` takes."""
RESULT: Final = {"title": "done"}
"""The result of every task."""
KINDS: Final = ("noop", "sleep")


class Record:
    """A file with a line for each event: its kind, the number of its task, the time."""

    def __init__(self) -> None:
        self._file = os.open(os.environ["BENCH_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, event: str, *numbers: int) -> None:
        """Add a line for each number, with the same time."""
        now = time.monotonic_ns()
        os.write(self._file, "".join(f"{event} {number} {now}\n" for number in numbers).encode())

    def ready(self) -> None:
        """The worker waits for tasks from now on."""
        self.note("ready", 0)


Send = Callable[[str, range], Awaitable[None]]
"""Sends the tasks of a kind (`noop`, `sleep`) with these numbers, in the fastest way that the peer documents."""


def main(work: Callable[[Record], Awaitable[None]], sender: Callable[[], Awaitable[Send]]) -> None:
    """Play the role that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("work", "send"))
    parser.add_argument("--kind", choices=KINDS, default="noop")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--pause-ms", type=int, help="send one at a time, with this pause after each")
    arguments = parser.parse_args()
    record = Record()
    if arguments.role == "work":
        asyncio.run(_work(work, record))
    else:
        numbers = range(arguments.first, arguments.first + arguments.count)
        asyncio.run(_send(sender, record, arguments.kind, numbers, arguments.pause_ms))


async def _work(work: Callable[[Record], Awaitable[None]], record: Record) -> None:
    await work(record)


async def _send(
    sender: Callable[[], Awaitable[Send]], record: Record, kind: str, numbers: range, pause_ms: int | None
) -> None:
    send = await sender()
    if pause_ms is None:
        record.note("sending", numbers[0])
        await send(kind, numbers)
        record.note("sent", numbers[-1])
        return
    for number in numbers:
        record.note("sending", number)
        await send(kind, range(number, number + 1))
        record.note("sent", number)
        await asyncio.sleep(pause_ms / 1_000)
