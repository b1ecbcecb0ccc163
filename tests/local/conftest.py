"""The ports of the local host, empty and on temporary files, for the tests of the ports themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumer.local.blobs import FileBlobs
from consumer.local.clock import SystemClock
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.limiter import MemoryLimiter
from consumer.local.queue import LocalConsumer, LocalQueue
from tests.contracts.limiter import LIMIT
from tests.contracts.queue import Handler, Serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class SetClock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.ms = 1_000_000_000_000

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "tasks.sqlite3", busy_timeout_ms=0)
    yield made
    made.close()


@pytest.fixture
def kv(tmp_path: Path, clock: SetClock) -> Iterator[SqliteKeyValue]:
    made = SqliteKeyValue(tmp_path / "kv.sqlite3", clock)
    yield made
    made.close()


@pytest.fixture
def limiter(clock: SetClock) -> MemoryLimiter:
    return MemoryLimiter(clock, LIMIT)


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs", fsync=False)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LocalQueue]:
    made = LocalQueue(tmp_path / "queue.sqlite3", "jobs", SystemClock())
    yield made
    made.close()


@pytest.fixture
async def serve(queue: LocalQueue, tmp_path: Path) -> AsyncIterator[Serve]:
    dead = LocalQueue(tmp_path / "queue.sqlite3", "dead", SystemClock())
    consumers: list[LocalConsumer] = []

    async def start(handler: Handler, dead_letters: Handler) -> None:
        consumers.append(LocalConsumer(queue, handler, batch_timeout_s=0, max_retries=2, dead_letter=dead))
        consumers.append(LocalConsumer(dead, dead_letters, batch_timeout_s=0))
        for consumer in consumers:
            consumer.start()

    yield start
    for consumer in consumers:
        await consumer.stop()
    dead.close()
