"""Workers of the local host, killed and started again under load, until all tasks have ended."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consumer.cli.dev.loopback import listen
from consumer.cli.host import opened
from consumer.core.snapshot import key
from consumer.local.layout import Layout
from consumer.ports import Statement
from tests.chaos.books import Books, compare
from tests.chaos.clock import Fast
from tests.chaos.load import FED, Load
from tests.chaos.outages import Outages, Provider
from tests.chaos.worker import Post, work
from tests.support.witness import WITNESS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.context import ForkServerProcess

    from consumer.cli.host import Host

    Say = Callable[[str], None]

WORKERS: Final = 3
SPEED: Final = 60
"""The factor of the clock: a lease of five minutes ends after five seconds."""
MEAN_S: Final = 0.8
"""Seconds between two kills."""
ALL_AT_ONCE: Final = 0.1
"""The probability that all workers are killed together, as by a power failure."""
FREEZES: Final = 0.15
"""The probability that a worker is paused instead, longer than its leases, and continues after others took over."""
FROZEN_S: Final = 7.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: its minimum number of kills, and the profile of the shop that its routes name."""

    kills: int
    seed: int
    profile: str = "ledgered"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    kills: int
    freezes: int
    seconds: float
    books: Books
    problems: list[str]
    outages: Mapping[str, int]


@contextmanager
def shop(ledger: Path, seed: int, clock: Fast) -> Iterator[Provider]:
    """Run the provider while the body runs."""
    command = [sys.executable, "-m", "tests.chaos.shop", str(ledger), str(seed)]
    with subprocess.Popen(
        [*command, str(clock.speed), str(clock.began_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Provider(process.stdout.readline().strip(), process.stdin)
        finally:
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()


class Crew:
    """The workers.  Each is a separate process group; a killed one is replaced immediately."""

    def __init__(self, post: Post, listener: socket.socket) -> None:
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["tests.chaos.worker"])
        self._post = post
        self._listener = listener
        self._workers: list[ForkServerProcess] = []
        self.kills = 0
        self.freezes = 0

    def fill(self) -> None:
        """Start missing workers."""
        self._workers = [one for one in self._workers if one.is_alive()]
        while len(self._workers) < WORKERS:
            worker = self._context.Process(target=work, args=(self._post, self._listener), daemon=True)
            worker.start()
            self._workers.append(worker)

    def kill(self, dice: random.Random) -> None:
        """SIGKILL one worker, or all together."""
        everybody = dice.random() < ALL_AT_ONCE
        chosen = self._workers if everybody else [dice.choice(self._workers)]
        for worker in chosen:
            _kill_group(worker)
            self.kills += 1
        for worker in chosen:
            worker.join()

    def freeze(self, dice: random.Random) -> None:
        """SIGSTOP one worker, and SIGCONT after its leases have expired."""
        worker = dice.choice(self._workers)
        with suppress(ProcessLookupError):
            os.killpg(_group(worker), signal.SIGSTOP)
            self.freezes += 1
            asyncio.get_running_loop().call_later(FROZEN_S, _thaw, worker)

    def end(self) -> None:
        """Kill all workers."""
        for worker in self._workers:
            _kill_group(worker)
            worker.join()


def _thaw(worker: ForkServerProcess) -> None:
    if worker.is_alive():
        with suppress(ProcessLookupError):
            os.killpg(_group(worker), signal.SIGCONT)


def _group(worker: ForkServerProcess) -> int:
    assert worker.pid is not None
    return worker.pid


def _kill_group(worker: ForkServerProcess) -> None:
    try:
        os.killpg(_group(worker), signal.SIGKILL)
    except ProcessLookupError:  # it had no time to create its own group
        worker.kill()


@dataclass(frozen=True, slots=True)
class LocalSite:
    """The data directory, opened by another process."""

    host: Host

    async def sql(self, text: str, *parameters: Any) -> list[dict[str, Any]]:
        """Run a statement like another application: repeated while a paused worker holds the database."""
        world = self.host.world
        found = await world.rows(Statement(text, parameters))
        return [dict(row) for row in found]

    async def ring(self) -> None:
        await self.host.world.queue.send([{"v": 1}])

    async def status(self, task: int) -> str | None:
        (row,) = await self.sql("SELECT identity FROM tasks WHERE id = ?1", task)
        stored = await self.host.world.kv.get(key(task, row["identity"]))
        return None if stored is None else str(json.loads(stored)["status"])

    async def blob(self, key: str) -> bytes:
        return await self.host.world.blobs.get(key) or b""


def run(plan: Plan, directory: Path, say: Say) -> Outcome:
    """Run one plan in an empty directory."""
    return asyncio.run(_run(plan, directory, say))


async def _run(plan: Plan, directory: Path, say: Say) -> Outcome:
    began = time.monotonic()
    dice = random.Random(plan.seed)  # noqa: S311  # to be repeated
    clock = Fast(SPEED)
    layout, ledger = Layout(directory / "data"), directory / "ledger.sqlite3"
    with shop(ledger, plan.seed, clock) as provider, listen(0) as listener:
        listener.listen(128)
        post = Post(
            str(layout.root), provider.address, f"http://127.0.0.1:{listener.getsockname()[1]}", clock
        )
        async with opened(layout, post.options()) as found:
            site = LocalSite(post.equip(found))
            for statement in WITNESS:
                await site.sql(statement)
            load, crew = Load(site, plan.profile), Crew(post, listener)
            outages = Outages(provider, dice, layout)
            await load.prepare()
            try:
                crew.fill()
                while crew.kills < plan.kills:
                    await load.feed(FED)
                    outages.maybe_begin()
                    await asyncio.sleep(dice.uniform(0, 2 * MEAN_S))
                    if dice.random() < FREEZES:
                        crew.freeze(dice)
                        continue
                    crew.kill(dice)
                    crew.fill()
                    say(f"{crew.kills}/{plan.kills} kills, {await load.counts()}")
                await asyncio.to_thread(outages.end)
                problems = await load.calm_down(crew.fill, say)
            finally:
                crew.end()
            statuses, blobs = await load.seen()
    books = compare(layout.database, ledger, statuses, blobs)
    seconds = time.monotonic() - began
    return Outcome(crew.kills, crew.freezes, seconds, books, problems + books.violations(), outages.counts)
