"""Measures and prints the speed for synchronous=NORMAL and FULL, with the fsync time of the disk.

Every number is measured now, through the worker's own App, ports and the echo adapter.  Each is the median of several
rounds, because machines are noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from consumer import telemetry
from consumer.app import App
from consumer.core import snapshot
from consumer.local import migrate
from consumer.local.clock import SystemClock
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.queue import LocalConsumer, LocalQueue
from consumer.ports import Message, Statement
from consumer.provider import Call, Verb
from consumer.service import new_tasks, submissions
from consumer.world import LOCAL, World
from providers.echo import Echo
from tests.bench.world import world_of

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}

Mode = Literal["NORMAL", "FULL"]
MODES: tuple[Mode, ...] = ("NORMAL", "FULL")

IDEAL_S = 1.0
"""1,000 tasks of 50 ms at concurrency 50."""


class Watched(Echo):
    """The echo adapter, which records the start of each execution."""

    def __init__(self) -> None:
        self.started: list[float] = []

    def request(self, call: Call, verb: Verb) -> Any:
        """Build the request as echo does."""
        self.started.append(time.perf_counter())
        return super().request(call, verb)


@dataclass
class Rung:
    """A delivered doorbell without a queue."""

    id: str = "bench"
    body: object = None
    attempts: int = 1

    def ack(self) -> None:
        """Ignore the verdict."""

    def retry(self, delay_s: int) -> None:
        """A retry: no task of the bench may fail."""
        raise AssertionError(f"retried in {delay_s} s")


@contextmanager
def opened(directory: Path, synchronous: Mode, delay_ms: int) -> Iterator[tuple[World, Watched]]:
    """A fresh world with one organization and one template of the echo adapter."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        place = Path(name)
        clock, echo = SystemClock(), Watched()
        database = SqliteDatabase(place / "tasks.sqlite3", synchronous=synchronous)
        migrate.apply(database, ROOT / "migrations")
        world = world_of(place, database, clock, echo, LOCAL)
        assert isinstance(world.kv, SqliteKeyValue)
        assert isinstance(world.queue, LocalQueue)
        settings = {"delay_ms": delay_ms, "output": {"title": "done"}}
        route = {"stages": [{"kind": "ai", "candidates": [{"profile": "echo", "settings": settings}]}]}
        columns = "id, organization_id, name, output_schema, route"
        insert = f"INSERT INTO task_templates ({columns}) VALUES (1, 1, 'bench', ?1, ?2)"
        database.run(
            [
                Statement("INSERT INTO organizations (id, name) VALUES (1, 'bench')"),
                Statement(insert, (json.dumps(SCHEMA), json.dumps(route))),
            ]
        )
        try:
            yield world, echo
        finally:
            world.queue.close()
            world.kv.close()
            database.close()


async def fill(world: World, count: int) -> float:
    """Submit tasks as a caller does, 1,000 at a time; return the seconds."""
    before = time.perf_counter()
    for start in range(0, count, new_tasks.MAX_TASKS):
        size = min(new_tasks.MAX_TASKS, count - start)
        await submissions.submit(
            world, 1, [{"template": 1, "title": f"task {start + n}"} for n in range(size)]
        )
    return time.perf_counter() - before


async def drain(world: World, count: int) -> float:
    """Seconds from the first claim to the last recorded result."""
    app = App(world)
    before = time.perf_counter()
    while (await app.on_messages([Rung(body={"v": 1})])).more:
        pass
    took = time.perf_counter() - before
    query = "SELECT count(*) AS n FROM task_executions WHERE status = 'succeeded' AND cost_micro = 0"
    done = (await world.database.batch([Statement(query)]))[0].rows[0]["n"]
    assert done == count, f"{done} of {count} recorded"
    (last,) = await world.rows(Statement("SELECT id, identity FROM tasks ORDER BY id DESC LIMIT 1"))
    assert await world.kv.get(snapshot.key(count, str(last["identity"]))) is not None
    return took


async def no_op(directory: Path, synchronous: Mode) -> tuple[float, float]:
    """No-op tasks per second, and enqueued tasks per second."""
    count = 4_000
    with opened(directory, synchronous, 0) as (world, _):
        enqueued = await fill(world, count)
        return count / await drain(world, count), count / enqueued


async def ratio(directory: Path, synchronous: Mode) -> float:
    """The drain of 1,000 tasks of 50 ms at concurrency 50, as a ratio to the ideal."""
    with opened(directory, synchronous, 50) as (world, _):
        await fill(world, 1_000)
        return await drain(world, 1_000) / IDEAL_S


async def floor() -> float:
    """The same waits in asyncio alone, which wakes at whole milliseconds: the lower limit of every result."""
    slots = asyncio.Semaphore(50)

    async def wait() -> None:
        async with slots:
            await asyncio.sleep(0.05)

    before = time.perf_counter()
    await asyncio.gather(*(wait() for _ in range(1_000)))
    return (time.perf_counter() - before) / IDEAL_S


PARTS = {
    "epoll": "waiting",
    "sqlite3": "SQLite",
    "/asyncio/": "asyncio",
    "/selectors.py": "asyncio",
    "/json/": "JSON",
    "/consumer/": "consumer/",
    "/providers/": "providers/",
}
"""The part that a profiled function belongs to, by a text in its name; the first match counts."""


async def profile(directory: Path) -> dict[str, float]:
    """The time of the 50 ms tasks in seconds by part, slower than without the profiler."""
    with opened(directory, "NORMAL", 50) as (world, _):
        await fill(world, 1_000)
        profiler = cProfile.Profile()
        profiler.enable()
        await drain(world, 1_000)
        profiler.disable()
    parts: dict[str, float] = {}
    for (file, _, function), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]  # not in typeshed
        name = f"{file} {function}"
        part = next((part for sign, part in PARTS.items() if sign in name), "the rest of Python")
        parts[part] = parts.get(part, 0.0) + own
    return dict(sorted(parts.items(), key=lambda item: -item[1]))


async def latency(directory: Path, synchronous: Mode) -> list[float]:
    """Milliseconds from a doorbell to the start of its task at low load, through the local queue, pushed."""
    with opened(directory, synchronous, 0) as (world, echo):
        app = App(world)
        done = asyncio.Event()

        async def handle(messages: list[Any]) -> None:
            await app.on_messages(messages)
            done.set()

        assert isinstance(world.queue, LocalQueue)
        consumer = LocalConsumer(world.queue, handle, batch_timeout_s=0)
        consumer.start()
        waits = []
        add = "INSERT INTO tasks (template_id, organization_id, title) VALUES (1, 1, 'low load')"
        for _ in range(200):
            done.clear()
            echo.started.clear()
            await world.database.batch([Statement(add)])
            before = time.perf_counter()
            await world.queue.send([{"v": 1}])
            await done.wait()
            waits.append((echo.started[-1] - before) * 1_000)
            await asyncio.sleep(0.005)
        await consumer.stop()
        return waits


def fsync_ms(directory: Path) -> float:
    """The time of one small write that reaches the disk, in seconds."""
    with tempfile.TemporaryFile(dir=directory) as file:
        times = []
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            before = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - before) * 1_000)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=ROOT / ".bizq")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    telemetry.configure("WARNING")
    console = Console()
    columns = (
        "synchronous",
        "no-op tasks/s",
        "enqueued/s",
        "start p50 / p95 ms",
        "50 ms tasks / ideal",
        "fsync ms",
    )
    table = Table(*columns)
    for synchronous in MODES:
        with console.status(f"synchronous={synchronous}"):
            pairs = [asyncio.run(no_op(arguments.directory, synchronous)) for _ in range(arguments.rounds)]
            ratios = [asyncio.run(ratio(arguments.directory, synchronous)) for _ in range(arguments.rounds)]
            waits = sorted(asyncio.run(latency(arguments.directory, synchronous)))
        table.add_row(
            synchronous,
            f"{statistics.median(done for done, _ in pairs):,.0f}",
            f"{statistics.median(enqueued for _, enqueued in pairs):,.0f}",
            f"{statistics.median(waits):.2f} / {waits[int(len(waits) * 0.95)]:.2f}",
            f"{statistics.median(ratios):.3f}",
            f"{fsync_ms(arguments.directory):.2f}",
        )
    console.print(table)
    console.print(
        f"medians of {arguments.rounds} rounds; executions, cost and live status recorded for every task"
    )
    bare = statistics.median(asyncio.run(floor()) for _ in range(arguments.rounds))
    console.print(f"50 ms tasks / ideal in asyncio alone, without storing anything: {bare:.3f}")
    parts = asyncio.run(profile(arguments.directory))
    shares = ", ".join(f"{name} {seconds * 1_000:.0f}" for name, seconds in parts.items())
    console.print(f"a profile of the 50 ms tasks (NORMAL), ms: {shares}")


def _is_message(one: Message) -> Message:
    """`Rung` is a message, for the type checker."""
    return one


_is_message(Rung())

if __name__ == "__main__":
    main()
