"""Our worker on one machine: SQLite, the local queue, the echo adapter.  It stores results, costs and live status."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consumer import telemetry
from consumer.app import App
from consumer.local.clock import SystemClock
from consumer.local.database import SqliteDatabase
from consumer.local.queue import LocalConsumer, LocalQueue
from consumer.provider import Call, Pause, Verb
from consumer.service import new_tasks, submissions
from consumer.world import LOCAL, World
from providers.echo import Echo
from tests.bench.peers.record import CONCURRENCY, KINDS, Record, Send, main
from tests.bench.world import world_of

if TYPE_CHECKING:
    from consumer.ports import Message

TEMPLATES: Final = {kind: number for number, kind in enumerate(KINDS, start=1)}
"""The template of each kind; tests/bench/processes.py inserts them."""


class Noting(Echo):
    """Echo, which notes when it is called."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.open: list[int] = []

    def request(self, call: Call, verb: Verb) -> Pause:
        """Build the request as echo does."""
        number = int(call.title)
        self._record.note("began", number)
        self.open.append(number)
        return super().request(call, verb)


def open_data(echo: Echo) -> World:
    """The world of one process on the data directory of the run."""
    place = Path(os.environ["BENCH_DATA"])
    mode: Any = os.environ["BENCH_SYNCHRONOUS"]
    database = SqliteDatabase(place / "tasks.sqlite3", synchronous=mode)
    return world_of(place, database, SystemClock(), echo, LOCAL)


async def work(record: Record) -> None:
    """Handle doorbells until the process is stopped.  A task counts as ended when its run has stored everything."""
    telemetry.configure("WARNING")
    echo = Noting(record)
    world = open_data(echo)
    app = App(world)

    async def handle(messages: list[Message]) -> None:
        await app.on_messages(messages)
        ended, echo.open = echo.open, []
        record.note("ended", *ended)

    assert isinstance(world.queue, LocalQueue)
    consumer = LocalConsumer(world.queue, handle, batch_timeout_s=0)
    consumer.start()
    record.ready()
    await asyncio.Event().wait()


async def sender() -> Send:
    """Many tasks are one submission."""
    world = open_data(Echo())

    async def send(kind: str, numbers: range) -> None:
        tasks = [{"template": TEMPLATES[kind], "title": str(number)} for number in numbers]
        for start in range(0, len(tasks), new_tasks.MAX_TASKS):
            await submissions.submit(world, 1, tasks[start : start + new_tasks.MAX_TASKS])

    return send


if __name__ == "__main__":
    assert LOCAL.all_connections == CONCURRENCY
    main(work, sender)
