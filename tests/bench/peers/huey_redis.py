"""huey on Redis, with threads."""

from __future__ import annotations

import asyncio
import os
import time

from huey import RedisHuey

from tests.bench.peers.record import CONCURRENCY, RESULT, SLEEP_S, Record, Send, main

huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"])
record = Record()


@huey.task()
def noop(number: int) -> dict[str, str]:
    """Do nothing."""
    record.note("began", number)
    record.note("ended", number)
    return RESULT


@huey.task()
def sleep(number: int) -> dict[str, str]:
    """Wait as a provider's call does."""
    record.note("began", number)
    time.sleep(SLEEP_S)
    record.note("ended", number)
    return RESULT


async def work(record: Record) -> None:
    """Work until the process is stopped."""
    consumer = huey.create_consumer(workers=CONCURRENCY, worker_type="thread")
    consumer.start()
    record.ready()
    await asyncio.Event().wait()


async def sender() -> Send:
    """Each task is one push."""

    async def send(kind: str, numbers: range) -> None:
        for number in numbers:
            {"noop": noop, "sleep": sleep}[kind](number)

    return send


if __name__ == "__main__":
    main(work, sender)
