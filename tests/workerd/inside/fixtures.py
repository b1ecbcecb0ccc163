"""The ports on the real bindings, fresh for each test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from inside import contract_worker
from inside.wiping import empty_tables, wipe_blobs, wipe_database, wipe_key_values
from workers import env

from consumer.cloudflare.blobs import R2Blobs
from consumer.cloudflare.database import D1Database
from consumer.cloudflare.kv import WorkersKeyValue
from consumer.cloudflare.limiter import WorkersLimiter
from consumer.cloudflare.queue import WorkersQueue

_queues = itertools.count()


@pytest.fixture
async def database() -> D1Database:
    await wipe_database(env.DB)
    return D1Database(env.DB)


@pytest.fixture
async def tables() -> D1Database:
    """The product's tables, migrated before the tests began."""
    await empty_tables(env.TASKS)
    return D1Database(env.TASKS)


@pytest.fixture
async def kv() -> WorkersKeyValue:
    await wipe_key_values(env.STATUS)
    return WorkersKeyValue(env.STATUS)


@pytest.fixture
def limiter() -> WorkersLimiter:
    return WorkersLimiter(env.REQUESTS)


@pytest.fixture
async def blobs() -> R2Blobs:
    await wipe_blobs(env.BLOBS)
    return R2Blobs(env.BLOBS)


@pytest.fixture
def queue_number() -> int:
    """The number of an unused queue: a queue cannot be emptied."""
    return next(_queues)


@pytest.fixture
def queue(queue_number: int) -> WorkersQueue:
    return WorkersQueue(getattr(env, f"QUEUE_{queue_number}"))


@pytest.fixture
async def serve(queue_number: int) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    handlers = contract_worker.listening
    listener = asyncio.create_task(contract_worker.listen())

    async def bind(handler: contract_worker.Handler, dead_letters: contract_worker.Handler) -> None:
        handlers[f"queue-{queue_number}"] = handler
        handlers[f"dead-{queue_number}"] = dead_letters

    yield bind
    handlers.clear()
    listener.cancel()
