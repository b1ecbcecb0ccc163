"""Measures and prints the speed for synchronous=NORMAL and FULL, with the fsync time of the disk.

As users do, one process submits and another one works (`tests/bench/processes.py`), both through the worker's own App,
ports and the echo adapter.  Each number is the median of several rounds, because machines are noisy.
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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from consumer import telemetry
from consumer.app import App
from consumer.core import snapshot
from consumer.local import migrate
from consumer.local.clock import SystemClock
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.queue import LocalQueue
from consumer.ports import Message, Statement
from consumer.service import new_tasks, submissions
from consumer.world import LOCAL, World
from providers.echo import Echo
from tests.bench.processes import OURS, Bench, Figures, measure, seed, tail
from tests.bench.world import world_of

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}

Mode = Literal["NORMAL", "FULL"]
MODES: tuple[Mode, ...] = ("NORMAL", "FULL")


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
def opened(directory: Path, synchronous: Mode, delay_ms: int) -> Iterator[World]:
    """A fresh world with one organization and one template of the echo adapter."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        place = Path(name)
        clock = SystemClock()
        database = SqliteDatabase(place / "tasks.sqlite3", synchronous=synchronous)
        migrate.apply(database, ROOT / "migrations")
        world = world_of(place, database, clock, Echo(), LOCAL)
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
            yield world
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
    with opened(directory, "NORMAL", 50) as world:
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


def measured(directory: Path, synchronous: Mode) -> Figures:
    """All figures of one mode, on fresh data."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        seed(Path(name))
        return measure(Bench(replace(OURS, synchronous=synchronous), Path(name), {}))


def row(synchronous: str, found: list[Figures], fsync: float) -> list[str]:
    """A line of the table: medians over the rounds."""

    def middle(values: Iterable[float]) -> float:
        return statistics.median(values)

    return [
        synchronous,
        f"{middle(middle(one.submit_ms) for one in found):.2f}",
        f"{middle(middle(one.start_ms) for one in found):.2f} / {middle(tail(one.start_ms) for one in found):.2f}",
        f"{middle(one.noops for one in found):,.0f}",
        f"{middle(one.flow for one in found):,.0f}",
        f"{middle(one.sent for one in found):,.0f}",
        f"{middle(one.ratio for one in found):.3f}",
        f"{middle(one.alone for one in found):.3f}",
        f"{fsync:.2f}",
    ]


COLUMNS = (
    "synchronous",
    "submit one, ms",
    "submit to start, ms",
    "no-op/s",
    "no-op/s, sending",
    "enqueued/s",
    "50 ms / ideal",
    "/ asyncio alone",
    "fsync, ms",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=ROOT / ".bizq")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    telemetry.configure("WARNING")
    console, table = Console(), Table(*COLUMNS)
    found: dict[Mode, list[Figures]] = {mode: [] for mode in MODES}
    for number in range(arguments.rounds):
        for mode in MODES:
            with console.status(f"round {number + 1} of {arguments.rounds}: synchronous={mode}"):
                found[mode].append(measured(arguments.directory, mode))
    for mode in MODES:
        table.add_row(*row(mode, found[mode], fsync_ms(arguments.directory)))
    console.print(table)
    console.print(
        f"medians of {arguments.rounds} rounds, the modes in turn; submit to start: p50 / p95; a worker process and a"
        " sending process; executions, cost and live status recorded for every task"
    )
    parts = asyncio.run(profile(arguments.directory))
    shares = ", ".join(f"{name} {seconds * 1_000:.0f}" for name, seconds in parts.items())
    console.print(f"a profile of the 50 ms tasks (NORMAL), ms: {shares}")


def _is_message(one: Message) -> Message:
    """`Rung` is a message, for the type checker."""
    return one


_is_message(Rung())

if __name__ == "__main__":
    main()
