"""What the benchmarks measure with a worker process and a sending process, as in production: this worker, or a peer.

One task at a time at low load: how long the submit takes, and how long it takes from its begin to the start of the
task.  4,000 tasks that do nothing, sent before the worker starts, and sent while it works (then from the first send to
the last end).  1,000 tasks of 50 ms with 50 at the same time, beside the same waits in asyncio alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumer.local import migrate
from consumer.local.database import SqliteDatabase
from consumer.ports import Statement
from tests.bench.peers.record import CONCURRENCY, SLEEP_S

ROOT: Final = Path(__file__).resolve().parents[2]
LOW_LOAD, NOOPS, SLEEPS = 300, 4_000, 1_000
INSERT_TEMPLATE: Final = """
    INSERT INTO task_templates (id, organization_id, name, output_schema, route) VALUES (?1, 1, ?2, ?3, ?4)
"""
WAIT_S: Final = 120

Events = dict[str, dict[int, int]]


@dataclass(frozen=True)
class Peer:
    """A measured program: its module, the Python that runs it, the server that it needs, and the mode of SQLite."""

    name: str
    module: str
    python: Path
    server: str | None = None
    synchronous: str = "NORMAL"
    keeps: str = ""
    """The data that are still there after all processes were killed, when a task has ended."""


@dataclass(frozen=True)
class Figures:
    """The figures of one peer: milliseconds, tasks per second, ratios.  `alone`: to asyncio alone, a moment before."""

    submit_ms: list[float]
    start_ms: list[float]
    sent: float
    noops: float
    flow: float
    ratio: float
    alone: float


class Bench:
    """The processes and the record of one peer."""

    def __init__(self, peer: Peer, place: Path, settings: dict[str, str]) -> None:
        self.peer = peer
        self._record = place / "record"
        self._environment = (
            os.environ | settings | {"BENCH_RECORD": str(self._record), "BENCH_DATA": str(place)}
        )
        self._environment |= {"PYTHONPATH": str(ROOT), "BENCH_SYNCHRONOUS": peer.synchronous}

    def _command(self, *arguments: str) -> list[str]:
        return [str(self.peer.python), "-m", f"tests.bench.peers.{self.peer.module}", *arguments]

    def send(self, kind: str, first: int, count: int, *more: str) -> None:
        """Send tasks from a process of their own, and wait until it has ended."""
        command = self._command("send", "--kind", kind, "--first", str(first), "--count", str(count), *more)
        subprocess.run(command, env=self._environment, cwd=ROOT, check=True, stderr=subprocess.PIPE)

    @contextmanager
    def working(self) -> Iterator[None]:
        """A worker process."""
        before = len(self.events()["ready"])
        process = subprocess.Popen(
            self._command("work"),
            env=self._environment,
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            self.until(lambda events: len(events["ready"]) > before or None, "the worker to start")
            yield
        finally:
            process.kill()
            process.wait()

    def events(self) -> Events:
        """The time of each event by its kind and number."""
        events: Events = defaultdict(dict)
        if self._record.exists():
            for line in self._record.read_text().splitlines():
                kind, number, at = line.split(" ")
                events[kind][len(events[kind]) if kind == "ready" else int(number)] = int(at)
        return events

    def until(self, happened: Callable[[Events], object], what: str) -> Events:
        """Wait for events."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            events = self.events()
            if happened(events):
                return events
            time.sleep(0.2)
        raise TimeoutError(f"{self.peer.name}: waited {WAIT_S} s for {what}")

    def ended(self, first: int, count: int, since: str = "began") -> float:
        """Seconds from the first event of a kind to the last end of these tasks."""
        numbers = range(first, first + count)
        events = self.until(lambda events: all(n in events["ended"] for n in numbers), f"{count} tasks")
        begin = min(events[since][n] for n in numbers if n in events[since])
        return (max(events["ended"][n] for n in numbers) - begin) / 1e9


def measure(bench: Bench) -> Figures:
    """All figures of a peer."""
    with bench.working():
        bench.send("noop", 0, 20, "--pause-ms", "10")  # to warm both up
        bench.send("noop", 20, LOW_LOAD, "--pause-ms", "10")
        bench.ended(20, LOW_LOAD)
    events = bench.events()
    numbers = range(20, 20 + LOW_LOAD)
    submit = [(events["sent"][n] - events["sending"][n]) / 1e6 for n in numbers]
    start = [(events["began"][n] - events["sending"][n]) / 1e6 for n in numbers]
    bench.send("noop", 10_000, NOOPS)
    events = bench.events()
    sent = NOOPS / ((events["sent"][10_000 + NOOPS - 1] - events["sending"][10_000]) / 1e9)
    with bench.working():
        noops = NOOPS / bench.ended(10_000, NOOPS)
    with bench.working():
        bench.send("noop", 20_000, NOOPS)
        flow = NOOPS / bench.ended(20_000, NOOPS, since="sending")
    bench.send("sleep", 30_000, SLEEPS)
    alone = asyncio.run(floor())
    with bench.working():
        ratio = bench.ended(30_000, SLEEPS) / (SLEEPS / CONCURRENCY * SLEEP_S)
    return Figures(submit, start, sent, noops, flow, ratio, ratio / alone)


def seed(place: Path) -> None:
    """The database of our own peer: one organization, one template of each kind."""
    database = SqliteDatabase(place / "tasks.sqlite3")
    migrate.apply(database, ROOT / "migrations")
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    database.run([Statement("INSERT INTO organizations (id, name) VALUES (1, 'bench')")])
    for number, delay_ms in ((1, 0), (2, round(SLEEP_S * 1_000))):
        settings = {"delay_ms": delay_ms, "output": {"title": "done"}}
        route = {"stages": [{"kind": "ai", "candidates": [{"profile": "echo", "settings": settings}]}]}
        values = (number, f"bench {number}", json.dumps(schema), json.dumps(route))
        database.run([Statement(INSERT_TEMPLATE, values)])
    database.close()


async def floor() -> float:
    """The same waits in asyncio alone, as a ratio to the ideal."""
    slots = asyncio.Semaphore(CONCURRENCY)

    async def wait() -> None:
        async with slots:
            await asyncio.sleep(SLEEP_S)

    before = time.perf_counter()
    await asyncio.gather(*(wait() for _ in range(SLEEPS)))
    return (time.perf_counter() - before) / (SLEEPS / CONCURRENCY * SLEEP_S)


OURS: Final = Peer("BizQ", "ours", Path(sys.executable), keeps="task, result, cost, status")
"""This worker on SQLite.  A task of it has ended when all that was stored."""


def tail(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]
