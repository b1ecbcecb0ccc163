"""One Worker on a platform of virtual time: its database, its queue, its stores, and the models that it calls.

The database takes a round trip, a doorbell waits for others, and several runs work at the same time, as on Cloudflare.
Nothing fails by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from consumer.app import App
from consumer.core.outcome import Outcome
from consumer.core.profile import accounts
from consumer.local import migrate
from consumer.local.database import SqliteDatabase
from consumer.ports import Result, Statement
from consumer.provider import Call
from consumer.world import Config, World
from tests.simulation.loop import VirtualLoop
from tests.support.fakes import Fake, Network
from tests.support.ports import START_MS, FakeEntropy, RecordingMessage

MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "migrations"
ROUND_TRIP_S: Final = 0.01
RUNS: Final = 4
"""Runs at the same time.  Few, because connections that are plenty need not be shared."""
BATCH: Final = 10
BATCH_TIMEOUT_S: Final = 1.0
TICK_S: Final = 60
MOST_TURNS: Final = 100_000_000
NUMBERS: Final = random.Random(1)  # noqa: S311  # a seed decides, nothing is secret


class LoopClock:
    """The time of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + round(self._loop.time() * 1000)


class SeededEntropy(FakeEntropy):
    """Draws from a seed."""

    def draw(self) -> float:
        return self._random.random()


class FarDatabase:
    """A database that is a round trip away."""

    def __init__(self, inner: SqliteDatabase) -> None:
        self.inner = inner

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        await asyncio.sleep(ROUND_TRIP_S)
        return self.inner.run(statements)


class Store:
    """The status store and the blob store."""

    async def get(self, key: str) -> None:
        """Nothing that is stored is read."""

    async def put(self, _key: str, _value: str | bytes, _ttl_s: int | None = None) -> None:
        """A write takes a round trip."""
        await asyncio.sleep(ROUND_TRIP_S)

    async def delete(self, key: str) -> None:
        """Nothing is stored."""


@dataclass(slots=True)
class Doorbells:
    """A queue that delivers each message once, at most `RUNS` batches at the same time."""

    work: Callable[[list[RecordingMessage]], Any]
    waiting: list[RecordingMessage] = field(default_factory=list)
    running: int = 0
    timer: asyncio.TimerHandle | None = None
    runs: set[asyncio.Task[None]] = field(default_factory=set)
    errors: list[BaseException] = field(default_factory=list)

    async def send(self, bodies: Sequence[Mapping[str, object]], delay_s: int = 0) -> None:
        for body in bodies:
            asyncio.get_running_loop().call_later(delay_s, self._arrived, RecordingMessage(body))

    async def backlog(self) -> int | None:
        return len(self.waiting)

    async def stop(self) -> None:
        """Deliver nothing more, and end the runs."""
        self.running = RUNS
        runs = list(self.runs)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    def _arrived(self, message: RecordingMessage) -> None:
        self.waiting.append(message)
        if len(self.waiting) >= BATCH:
            self._deliver()
        elif self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(BATCH_TIMEOUT_S, self._deliver)

    def _deliver(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.waiting and self.running < RUNS:
            batch, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
            self.running += 1
            run = asyncio.get_running_loop().create_task(self._run(batch))
            self.runs.add(run)
            run.add_done_callback(self._done)

    def _done(self, run: asyncio.Task[None]) -> None:
        self.runs.discard(run)
        if not run.cancelled() and (error := run.exception()) is not None:
            self.errors.append(error)

    async def _run(self, batch: list[RecordingMessage]) -> None:
        await self.work(batch)
        self.running -= 1
        self._deliver()


class Models(Network):
    """Providers whose calls last as long as the bench says."""

    def __init__(self, answer: Callable[[Call], Any]) -> None:
        super().__init__()
        self._play = answer

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        number = int(request.url.path[1:])
        outcome: Outcome = await self._play(self._calls[number].call)
        self._outcomes.append(outcome)
        return httpx2.Response(200, content=str(len(self._outcomes) - 1).encode())


class Platform:
    """The Worker and everything around it."""

    def __init__(self, seed: int, profiles: Mapping[str, Any], answer: Callable[[Call], Any]) -> None:
        """`answer`: what a provider does for a call; it may take time."""
        self.loop = VirtualLoop(seed, MOST_TURNS)
        self.database = SqliteDatabase(":memory:")
        migrate.apply(self.database, MIGRATIONS)
        models, store = Models(answer), Store()
        self.http = models.client
        self.queue = Doorbells(self._on_messages)
        self.world = World(
            database=FarDatabase(self.database),
            kv=store,
            blobs=store,
            queue=self.queue,
            clock=LoopClock(self.loop),
            entropy=SeededEntropy(seed),
            http=self.http,
            providers={Fake.name: Fake(models)},
            accounts=accounts(profiles, {}),
            link_secret="x" * 32,
            config=Config(),
        )
        self.app = App(self.world)

    async def _on_messages(self, messages: list[RecordingMessage]) -> None:
        await self.app.on_messages(messages)

    async def cron(self) -> None:
        """A tick each minute."""
        while True:
            await asyncio.sleep(TICK_S)
            await self.app.on_tick()

    def check(self) -> None:
        """Raise the error of a run, if one failed."""
        for error in self.queue.errors:
            raise error

    async def ring(self) -> None:
        """A doorbell of a producer."""
        await self.queue.send([{"v": 1}])

    def close(self) -> None:
        self.database.close()
        self.loop.run_until_complete(self.http.aclose())
        self.loop.close()
