"""SAQ on Redis."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from saq import Queue, Worker

from tests.bench.peers.record import CONCURRENCY, RESULT, SLEEP_S, Record, Send, main

record = Record()


async def noop(_context: dict[str, Any], *, number: int) -> dict[str, str]:
    """Do nothing."""
    record.note("began", number)
    record.note("ended", number)
    return RESULT


async def sleep(_context: dict[str, Any], *, number: int) -> dict[str, str]:
    """Wait as a provider's call does."""
    record.note("began", number)
    await asyncio.sleep(SLEEP_S)
    record.note("ended", number)
    return RESULT


async def work(record: Record) -> None:
    """Work until the process is stopped."""
    queue = Queue.from_url(os.environ["BENCH_REDIS"])
    await queue.connect()
    worker: Worker[Any] = Worker(queue, functions=[noop, sleep], concurrency=CONCURRENCY)
    record.ready()
    await worker.start()


async def sender() -> Send:
    """Each task is one enqueue: the queue has no call for many that does not wait for their results."""
    queue = Queue.from_url(os.environ["BENCH_REDIS"])
    await queue.connect()

    async def send(kind: str, numbers: range) -> None:
        for number in numbers:
            await queue.enqueue(kind, number=number)

    return send


if __name__ == "__main__":
    main(work, sender)
