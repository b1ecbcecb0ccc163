"""taskiq with its Redis list broker.  It keeps no results, as by default."""

from __future__ import annotations

import asyncio
import os

from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker

from tests.bench.peers.record import CONCURRENCY, SLEEP_S, Record, Send, main

broker = ListQueueBroker(os.environ["BENCH_REDIS"])
record = Record()


@broker.task
async def noop(number: int) -> None:
    """Do nothing."""
    record.note("began", number)
    record.note("ended", number)


@broker.task
async def sleep(number: int) -> None:
    """Wait as a provider's call does."""
    record.note("began", number)
    await asyncio.sleep(SLEEP_S)
    record.note("ended", number)


async def work(record: Record) -> None:
    """Receive until the process is stopped."""
    await broker.startup()
    record.ready()
    await run_receiver_task(broker, max_async_tasks=CONCURRENCY)


async def sender() -> Send:
    """Each task is one push: the broker has no call for many."""
    await broker.startup()

    async def send(kind: str, numbers: range) -> None:
        task = {"noop": noop, "sleep": sleep}[kind]
        for number in numbers:
            await task.kiq(number)

    return send


if __name__ == "__main__":
    main(work, sender)
