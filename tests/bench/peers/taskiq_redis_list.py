"""taskiq with its Redis list broker.  It keeps results for ten minutes."""

from __future__ import annotations

import asyncio
import os

from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from tests.bench.peers.record import CONCURRENCY, RESULT, SLEEP_S, Record, Send, main

results = RedisAsyncResultBackend[dict[str, str]](os.environ["BENCH_REDIS"], result_ex_time=600)
broker = ListQueueBroker(os.environ["BENCH_REDIS"]).with_result_backend(results)
record = Record()


@broker.task
async def noop(number: int) -> dict[str, str]:
    """Do nothing."""
    record.note("began", number)
    record.note("ended", number)
    return RESULT


@broker.task
async def sleep(number: int) -> dict[str, str]:
    """Wait as a provider's call does."""
    record.note("began", number)
    await asyncio.sleep(SLEEP_S)
    record.note("ended", number)
    return RESULT


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
