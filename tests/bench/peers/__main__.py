"""Measures this worker and well-known queues side by side, each with a worker process and a sending process.

For each peer: one task at a time at low load (how long the submit takes, and how long from its begin to the start of
the task); 4,000 tasks that do nothing, sent before the worker starts, and sent while it works (then from the first send
to the last end); 1,000 tasks of 50 ms with 50 at the same time.

Only this worker stores a result, a cost and a live status for each task.  Only it and PgQueuer keep tasks on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from consumer.local import migrate
from consumer.local.database import SqliteDatabase
from consumer.ports import Statement
from tests.bench.peers import servers
from tests.bench.peers.record import CONCURRENCY, SLEEP_S

ROOT: Final = Path(__file__).resolve().parents[3]
PEERS_PYTHON: Final = ROOT / ".cache" / "peers" / "bin" / "python"
"""The environment that `make bench-peers` makes for the peers, whose packages are not ours."""
LOW_LOAD, NOOPS, SLEEPS = 300, 4_000, 1_000
INSERT_TEMPLATE: Final = """
    INSERT INTO task_templates (id, organization_id, name, output_schema, route) VALUES (?1, 1, ?2, ?3, ?4)
"""
WAIT_S: Final = 120

Events = dict[str, dict[int, int]]


@dataclass(frozen=True)
class Peer:
    """A measured program: its module, the Python that runs it, and the server that it needs."""

    name: str
    module: str
    python: Path = PEERS_PYTHON
    server: str | None = "redis"


PEERS: Final = (
    Peer("BizQ (SQLite)", "ours", Path(sys.executable), None),
    Peer("taskiq (Redis list)", "taskiq_redis_list"),
    Peer("SAQ (Redis)", "saq_redis"),
    Peer("huey (Redis)", "huey_redis"),
    Peer("PgQueuer (PostgreSQL)", "pgqueuer_postgres", server="postgres"),
)


@dataclass(frozen=True)
class Figures:
    """The figures of one peer: milliseconds, tasks per second, a ratio."""

    submit_ms: list[float]
    start_ms: list[float]
    noops: float
    flow: float
    ratio: float


class Bench:
    """The processes and the record of one peer."""

    def __init__(self, peer: Peer, place: Path, settings: dict[str, str]) -> None:
        self.peer = peer
        self._record = place / "record"
        self._environment = (
            os.environ | settings | {"BENCH_RECORD": str(self._record), "BENCH_DATA": str(place)}
        )
        self._environment["PYTHONPATH"] = str(ROOT)

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
    with bench.working():
        noops = NOOPS / bench.ended(10_000, NOOPS)
    with bench.working():
        bench.send("noop", 20_000, NOOPS)
        flow = NOOPS / bench.ended(20_000, NOOPS, since="sending")
    bench.send("sleep", 30_000, SLEEPS)
    with bench.working():
        ratio = bench.ended(30_000, SLEEPS) / (SLEEPS / CONCURRENCY * SLEEP_S)
    return Figures(submit, start, noops, flow, ratio)


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


def row(name: str, found: list[Figures]) -> list[str]:
    """A line of the table: medians over the rounds."""
    submit = [statistics.median(figures.submit_ms) for figures in found]
    start = [statistics.median(figures.start_ms) for figures in found]
    tail = [statistics.quantiles(figures.start_ms, n=20)[-1] for figures in found]
    return [
        name,
        f"{statistics.median(submit):.2f}",
        f"{statistics.median(start):.2f} / {statistics.median(tail):.2f}",
        f"{statistics.median(figures.noops for figures in found):,.0f}",
        f"{statistics.median(figures.flow for figures in found):,.0f}",
        f"{statistics.median(figures.ratio for figures in found):.3f}",
    ]


def main() -> None:
    """Measure every peer whose server is here, in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="a text in the names of the peers to measure")
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if (arguments.only or "").lower() in peer.name.lower()]
    console, found = Console(), defaultdict[str, list[Figures]](list)
    skipped: dict[str, str] = {}
    for number in range(arguments.rounds):
        for peer in peers:
            with console.status(f"round {number + 1} of {arguments.rounds}: {peer.name}"):
                try:
                    found[peer.name].append(run(peer))
                except servers.Missing as missing:
                    skipped[peer.name] = str(missing)
    columns = ("submit one, ms", "submit to start, ms", "no-op/s", "no-op/s, sending", "50 ms / ideal")
    table = Table("", *columns)
    for name, figures in found.items():
        table.add_row(*row(name, figures))
    console.print(table)
    console.print(f"medians of {arguments.rounds} rounds, the peers in turn; submit to start: p50 / p95")
    console.print(f"50 ms tasks / ideal in asyncio alone: {asyncio.run(floor()):.3f}")
    for name, why in skipped.items():
        console.print(f"skipped {name}: {why}")


def run(peer: Peer) -> Figures:
    """Measure a peer once, with a fresh server and fresh data.  Raises Missing without its server."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=ROOT / ".cache")))
        settings = {}
        if peer.server == "redis":
            settings["BENCH_REDIS"] = stack.enter_context(servers.redis(place))
        elif peer.server == "postgres":
            settings["BENCH_POSTGRES"] = stack.enter_context(servers.postgres(place))
        else:
            seed(place)
        return measure(Bench(peer, place, settings))


if __name__ == "__main__":
    main()
