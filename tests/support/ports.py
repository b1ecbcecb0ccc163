"""Ports that tests can set, count, and break."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from consumer.limits import encode_messages
from consumer.ports import Refused, Unavailable

if TYPE_CHECKING:
    from consumer.ports import Blobs, Database, KeyValue, Result, Statement

START_MS: Final = 2_000_000_000_000
"""2033-05-18T03:33:20Z: later than the database's own clock, which triggers read."""


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def advance(self, ms: int) -> None:
        self.ms += ms


class FakeEntropy:
    """Tokens from a seed.  Draws come from `draws`, then are always `value`: with 0, every random delay is zero."""

    def __init__(self, seed: int = 1, value: float = 0.0) -> None:
        self._random = random.Random(seed)  # noqa: S311  # to be repeated
        self.value = value
        self.draws: list[float] = []

    def draw(self) -> float:
        return self.draws.pop(0) if self.draws else self.value

    def token(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


class Crash(BaseException):
    """The process dies here."""


class Faulty:
    """A database that counts batches, and fails where a test wants it.

    `fail(k)` raises instead of running the k-th batch from now (counted from 1); `fail(k, after=True)` raises after
        that batch was committed, which its caller cannot know.  `refuse(marker)` refuses every batch whose parameters
        contain a text.  While it is `down`, each try takes a second of the clock."""

    def __init__(self, database: Database, clock: FakeClock | None = None) -> None:
        self.inner = database
        self._clock = clock
        self._faults: dict[int, tuple[BaseException, bool]] = {}
        self._between: dict[int, Callable[[], Awaitable[object]]] = {}
        self._refused: str | None = None
        self.batches = 0
        self.ran: list[tuple[tuple[str, ...], bool]] = []
        """For each batch that ran: its statements, and whether it changed a row."""
        self.down = False
        self.watch: Callable[[Sequence[Statement]], None] | None = None

    def fail(self, batch: int, *, after: bool = False, error: BaseException | None = None) -> None:
        self._faults[self.batches + batch] = (error or Unavailable("injected"), after)

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()
        self._refused, self.down = None, False

    def between(self, batch: int, act: Callable[[], Awaitable[object]]) -> None:
        """Await `act` directly after the k-th batch from now."""
        self._between[self.batches + batch] = act

    def refuse(self, marker: str | None) -> None:
        self._refused = marker

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        if self.down:
            if self._clock is not None:
                self._clock.advance(1_000)
            raise Unavailable("injected")
        self.batches = number = self.batches + 1
        error, after = self._faults.pop(number, (None, False))
        if error is not None and not after:
            raise error
        if self.watch is not None:
            self.watch(statements)
        if self._refused is not None and _carries(statements, self._refused):
            raise Refused("injected")
        await asyncio.sleep(0)  # other tasks run in between, as with a database on another machine
        results = await self.inner.batch(statements)
        self.ran.append((tuple(one.sql for one in statements), any(result.changes for result in results)))
        await asyncio.sleep(0)
        if (act := self._between.pop(number, None)) is not None:
            await act()
        if error is not None:
            raise error
        return results


def _carries(statements: Sequence[Statement], marker: str) -> bool:
    return any(isinstance(value, str) and marker in value for one in statements for value in one.parameters)


async def hang() -> None:
    """Never return."""
    await asyncio.Event().wait()


class RecordingKV:
    """A status store that records puts.  `down`: it fails.  `hangs`: it never answers.

    `tried` counts the puts.  `slow` is awaited once, before the next put is stored."""

    def __init__(self, kv: KeyValue) -> None:
        self.inner = kv
        self.slow: Callable[[], Awaitable[None]] | None = None
        self.puts: list[tuple[str, str, int | None]] = []
        self.down = self.hangs = False
        self.tried = 0

    async def get(self, key: str) -> str | None:
        if self.down:
            raise Unavailable("injected")
        return await self.inner.get(key)

    async def put(self, key: str, value: str, ttl_s: int | None = None) -> None:
        if self.down:
            raise Unavailable("injected")
        self.tried += 1
        if self.hangs:
            await hang()
        slow, self.slow = self.slow, None
        if slow is not None:
            self.puts.append((key, value, ttl_s))
            await slow()
            await self.inner.put(key, value, ttl_s)
            return
        await self.inner.put(key, value, ttl_s)
        self.puts.append((key, value, ttl_s))


class RecordingBlobs:
    """Blobs that record puts.  `down` makes them fail, `hangs` lets them never end."""

    def __init__(self, blobs: Blobs) -> None:
        self.inner = blobs
        self.keys: list[str] = []
        self.down = self.hangs = False

    async def get(self, key: str) -> bytes | None:
        if self.down:
            raise Unavailable("injected")
        return await self.inner.get(key)

    async def put(self, key: str, value: bytes) -> None:
        if self.down:
            raise Unavailable("injected")
        if self.hangs:
            await hang()
        self.keys.append(key)
        await self.inner.put(key, value)

    async def delete(self, key: str) -> None:
        await self.inner.delete(key)


class RecordingQueue:
    """A queue that records messages with their delays.  `waiting` is its backlog."""

    def __init__(self) -> None:
        self.sent: list[tuple[Mapping[str, object], int]] = []
        self.waiting: int | None = 0
        self.down = self.hangs = False

    @property
    def delays(self) -> list[int]:
        return [delay for _, delay in self.sent]

    async def send(self, bodies: Sequence[Mapping[str, object]], delay_s: int = 0) -> None:
        if self.down:
            raise Unavailable("injected")
        if self.hangs:
            await hang()
        encode_messages(bodies, delay_s)
        self.sent += [(body, delay_s) for body in bodies]

    async def backlog(self) -> int | None:
        if self.down:
            raise Unavailable("injected")
        return self.waiting


class RecordingMessage:
    """A delivered message that records every verdict."""

    def __init__(self, body: object, name: str = "message-1", attempts: int = 1) -> None:
        self.id = name
        self.body = body
        self.attempts = attempts
        self.verdicts: list[str] = []
        self.delays: list[int] = []

    def ack(self) -> None:
        self.verdicts.append("ack")

    def retry(self, delay_s: int) -> None:
        self.verdicts.append("retry")
        self.delays.append(delay_s)
