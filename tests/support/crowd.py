"""Processes that claim and begin at the same time on one database, to test that a budget holds.

Each process has many runs, and each run one call at a time.  The provider answers no call before every run of the
process has a call in flight or has found no task that it may begin.  So no reservation is settled while the runs
compete for the room in the budget.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from unittest import mock

from consumer.core.outcome import Failed, Outcome, Succeeded, Unknown
from consumer.execution import prices
from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.run.run import Run
from consumer.run.sweep import sweep
from tests.support.fakes import ANSWER, Network
from tests.support.ports import FakeClock, FakeEntropy
from tests.support.scene import PRICE, make_world

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from consumer.provider import Call
    from consumer.world import World

PROCESSES: Final = 8
RUNS: Final = 125
"""Of each process: a thousand runs claim at the same time."""
ROUNDS: Final = 3
"""Before each round after the first, each process sweeps, so that released room is used."""

Missing = Literal["nothing", "reservations"]


@dataclass(frozen=True, slots=True)
class Job:
    """The work of one process.  `missing`: the part of the product that is switched off."""

    number: int
    database: str
    missing: Missing = "nothing"


@dataclass(frozen=True, slots=True)
class Done:
    """The counts of one process: claims, calls of the provider, and the provider's charges in micro-dollars."""

    claims: int
    calls: int
    charged_micro: int


def crowd(database: Path, missing: Missing = "nothing") -> list[Done]:
    """Let all processes do the due tasks, and return the counts of each process."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once instead of once in each process
    barrier = context.Barrier(PROCESSES)
    jobs = [Job(number, str(database), missing) for number in range(PROCESSES)]
    with context.Pool(PROCESSES, _meet_at, (barrier,)) as pool:
        return pool.map(_work, jobs, chunksize=1)


_barrier: Barrier


def _meet_at(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603  # multiprocessing offers no other way to pass a barrier to a pool
    _barrier = barrier


def _work(job: Job) -> Done:
    with mock.patch.object(prices, "bound", _nothing if job.missing == "reservations" else prices.bound):
        return asyncio.run(_take_part(job))


def _nothing(*_: object) -> int:
    return 0


async def _take_part(job: Job) -> Done:
    beside = Path(job.database).with_name(f"process-{job.number}")
    clock = FakeClock()
    provider = Crowded(job.number)
    with (
        closing(SqliteDatabase(job.database, busy_timeout_ms=60_000)) as database,
        closing(SqliteKeyValue(beside.with_suffix(".kv"), clock, strict_rate=False)) as kv,
    ):
        entropy = FakeEntropy(job.number)
        world = make_world(
            database, kv, FileBlobs(beside, fsync=False), provider.network, clock=clock, entropy=entropy
        )
        narrow = replace(world.config, batch_size=1, begin_size=1, connections=1, concurrency=1)
        world = replace(world, config=narrow)
        _barrier.wait(60)
        claims = 0
        for number in range(ROUNDS):
            if number:
                await sweep(world)
            claims += sum(await asyncio.gather(*(provider.run(world) for _ in range(RUNS))))
        await provider.network.client.aclose()
    return Done(claims, provider.calls, provider.charged_micro)


class Crowded:
    """A provider that keeps its own books: it charges the agreed price or less, for most of its calls."""

    def __init__(self, seed: int) -> None:
        self.network = Network()
        self.network.script("blind", *[self._answer] * 10_000)
        self.calls = 0
        self.charged_micro = 0
        self._random = random.Random(seed)  # noqa: S311  # to be repeated
        self._arrived = 0
        self._opened = asyncio.Event()

    async def run(self, world: World) -> int:
        """Do one run to its end; return the number of tasks that it claimed."""
        try:
            return (await Run(world).drain()).claimed
        finally:
            self._arrive()

    async def _answer(self, _: Call) -> Outcome:
        self.calls += 1
        self._arrive()
        await self._opened.wait()
        draw = self._random.random()
        if draw < 0.1:
            return Failed("not for such a task")
        charged = self._random.randint(PRICE * 8 // 10, PRICE)
        self.charged_micro += charged
        if draw < 0.2:  # the reply is lost, so the worker does not know its cost
            return Unknown("lost")
        return Succeeded(ANSWER, charged=Decimal(charged) / 1_000_000)

    def _arrive(self) -> None:
        self._arrived += 1
        if self._arrived >= RUNS:
            self._opened.set()
