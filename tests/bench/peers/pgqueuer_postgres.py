"""PgQueuer on PostgreSQL through asyncpg."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries

from tests.bench.peers.record import CONCURRENCY, SLEEP_S, Record, Send, main


async def work(record: Record) -> None:
    """Install the tables, and work until the process is stopped."""
    driver = AsyncpgDriver(await asyncpg.connect(os.environ["BENCH_POSTGRES"]))
    if not await Queries(driver).has_table("pgqueuer"):
        await Queries(driver).install()
    queuer = PgQueuer(driver)

    @queuer.entrypoint("noop")
    async def noop(job: Job) -> None:
        number = int(job.payload or b"0")
        record.note("began", number)
        record.note("ended", number)

    @queuer.entrypoint("sleep")
    async def sleep(job: Job) -> None:
        number = int(job.payload or b"0")
        record.note("began", number)
        await asyncio.sleep(SLEEP_S)
        record.note("ended", number)

    record.ready()
    await queuer.run(
        dequeue_timeout=timedelta(seconds=5), batch_size=CONCURRENCY // 2, max_concurrent_tasks=CONCURRENCY
    )


async def sender() -> Send:
    """Many tasks are one insert."""
    queries = Queries(AsyncpgDriver(await asyncpg.connect(os.environ["BENCH_POSTGRES"])))

    async def send(kind: str, numbers: range) -> None:
        count = len(numbers)
        await queries.enqueue([kind] * count, [str(number).encode() for number in numbers], [0] * count)

    return send


if __name__ == "__main__":
    main(work, sender)
