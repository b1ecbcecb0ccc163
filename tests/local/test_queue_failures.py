"""The local queue survives processes that die, files that are locked, and disks that are full."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from consumer.local.mailbox import RETENTION_S, VISIBILITY_S
from consumer.ports import Message, Unavailable
from tests.local.virtual_queue import Bench, number, virtual


@virtual
async def test_messages_of_a_dead_process_come_again_at_the_next_start(bench: Bench) -> None:
    await bench.send(1, 2)
    died = bench.queue("jobs")
    died.mailbox.take(10)
    handler = bench.recorder()

    bench.start(handler)
    await asyncio.sleep(1)

    assert handler.batches == [[1, 2]]
    assert handler.attempts == [[2, 2]]
    assert handler.at_s == [0]


@virtual
async def test_a_running_process_takes_over_messages_that_another_no_longer_holds(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler)
    other = bench.queue("jobs")
    other.mailbox.send(['{"n":1}'], 0)
    (held,) = other.mailbox.take(10)

    await asyncio.sleep(VISIBILITY_S / 3)
    other.mailbox.renew([held])
    await asyncio.sleep(VISIBILITY_S * 3)

    assert handler.attempts == [[2]]
    assert handler.at_s == [VISIBILITY_S / 3 + VISIBILITY_S]


@virtual
async def test_a_verdict_that_comes_too_late_moves_nothing(bench: Bench) -> None:
    """The message was taken over, and its new owner decides."""
    await bench.send(1)
    first, second = bench.queue("jobs").mailbox, bench.queue("jobs").mailbox
    (late,) = first.take(10)
    await asyncio.sleep(VISIBILITY_S)
    (current,) = second.take(10)

    first.settle([], [(late, 0)], [], None)
    first.settle([], [], [late], bench.dead.mailbox)
    first.renew([late])

    assert second.wait_ms(1, 0) == VISIBILITY_S * 1_000
    assert await bench.dead.backlog() == 0
    second.settle([], [(current, 0)], [], None)
    assert await bench.jobs.backlog() == 1


@virtual
async def test_a_message_that_kills_its_process_becomes_a_dead_letter(bench: Bench) -> None:
    await bench.send(1)
    handler = bench.recorder()
    graveyard = bench.recorder()
    for _ in range(3):
        bench.queue("jobs").mailbox.take(10)
        bench.jobs.mailbox.recover()

    bench.start(handler, max_retries=2, dead_letter=bench.dead)
    bench.start(graveyard, bench.dead)
    await bench.send(2)
    await asyncio.sleep(1)

    assert handler.batches == [[2]]
    assert graveyard.batches == [[1]]


@virtual
async def test_stopping_waits_for_the_handlers(bench: Bench) -> None:
    ended = []

    async def slow(messages: list[Message]) -> None:
        await asyncio.sleep(5)
        ended.append(number(messages[0]))

    consumer = bench.start(slow)
    await bench.send(1)
    await asyncio.sleep(1)
    await bench.send(2)
    await consumer.stop()
    await bench.send(3)
    await asyncio.sleep(60)

    assert ended == [1]
    assert await bench.jobs.backlog() == 2


@virtual
async def test_messages_cut_off_by_a_stop_are_retried(bench: Bench) -> None:
    cancelled = []

    async def endless(messages: list[Message]) -> None:
        messages[0].ack()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append(bench.loop.now_s)
            raise

    consumer = bench.start(endless)
    await bench.send(1, 2)
    await asyncio.sleep(1)
    await consumer.stop(grace_s=5)
    await consumer.stop()
    handler = bench.recorder()
    bench.start(handler)
    await asyncio.sleep(1)

    assert cancelled == [6]
    assert handler.batches == [[2]]
    assert handler.attempts == [[2]]


@virtual
async def test_a_consumer_can_be_started_again(bench: Bench) -> None:
    handler = bench.recorder()
    consumer = bench.start(handler)
    with pytest.raises(RuntimeError):
        consumer.start()
    await consumer.stop()
    consumer.start()

    await bench.send(1)
    await asyncio.sleep(1)

    assert handler.batches == [[1]]


@virtual
async def test_an_idle_consumer_does_nothing(bench: Bench) -> None:
    bench.start(bench.recorder(), batch_timeout_s=5)
    bench.start(bench.recorder(), bench.dead)
    await asyncio.sleep(1)
    before = bench.loop.turns

    await asyncio.sleep(86_400)

    assert bench.loop.turns - before <= 3


@virtual
async def test_queues_of_one_file_do_not_mix(bench: Bench) -> None:
    jobs, dead = bench.recorder(), bench.recorder()
    bench.start(jobs)
    bench.start(dead, bench.dead)

    await bench.send(1)
    await bench.dead.send([{"n": 2}])
    await asyncio.sleep(1)

    assert (jobs.batches, dead.batches) == ([[1]], [[2]])


@virtual
async def test_the_backlog_counts_what_waits(bench: Bench) -> None:
    seen: list[int] = []

    async def handler(_messages: list[Message]) -> None:
        seen.append(await bench.jobs.backlog())

    await bench.send(1, 2, 3)
    await bench.send(4, delay_s=60)
    before = await bench.jobs.backlog()
    bench.start(handler, batch_size=2)
    await asyncio.sleep(1)

    assert before == 4
    assert seen == [2, 1]
    assert await bench.jobs.backlog() == 1


@virtual
async def test_messages_that_no_consumer_took_are_deleted_after_four_days(bench: Bench) -> None:
    await bench.send(1)
    await asyncio.sleep(RETENTION_S - 10)
    await bench.send(2)
    await asyncio.sleep(10)
    handler = bench.recorder()

    bench.start(handler)
    await asyncio.sleep(1)

    assert handler.batches == [[2]]


@virtual
async def test_a_locked_file_delays_delivery_but_does_not_end_it(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler)
    bench.jobs.mailbox._connection.execute("PRAGMA busy_timeout = 0")
    await bench.send(1)
    other = sqlite3.connect(bench.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable, match="locked"):
        await bench.send(2)
    await asyncio.sleep(10)
    assert handler.batches == []
    other.execute("ROLLBACK")
    other.close()
    await asyncio.sleep(1)

    assert handler.batches == [[1]]


@virtual
async def test_verdicts_that_cannot_be_written_bring_the_messages_again(bench: Bench) -> None:
    handler = bench.recorder()
    other = sqlite3.connect(bench.path, isolation_level=None)
    bench.jobs.mailbox._connection.execute("PRAGMA busy_timeout = 0")

    async def lock_the_file(messages: list[Message]) -> None:
        await handler(messages)
        if messages[0].attempts == 1:
            other.execute("BEGIN IMMEDIATE")
            asyncio.get_running_loop().call_later(5, other.execute, "ROLLBACK")

    bench.start(lock_the_file)
    await bench.send(1)
    await asyncio.sleep(100)
    other.close()

    assert handler.attempts == [[1], [2]]
    assert handler.at_s == [0, VISIBILITY_S]


@virtual
async def test_a_full_disk_refuses_the_whole_batch(bench: Bench) -> None:
    bench.jobs.mailbox._connection.execute("PRAGMA max_page_count = 10")

    with pytest.raises(Unavailable, match="full"):
        await bench.jobs.send([{"n": 1}, {"n": 2, "filling": "x" * 100_000}])

    assert await bench.jobs.backlog() == 0
    await bench.send(3)


@virtual
async def test_a_batch_that_cannot_be_held_is_held_the_next_time(bench: Bench) -> None:
    batches = []
    bench.jobs.mailbox._connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(bench.path, isolation_level=None)

    async def slow(messages: list[Message]) -> None:
        batches.append([number(message) for message in messages])
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(VISIBILITY_S / 2)
        other.execute("ROLLBACK")
        await asyncio.sleep(3 * VISIBILITY_S)

    bench.start(slow, max_concurrency=2)
    await bench.send(1)
    await asyncio.sleep(10 * VISIBILITY_S)
    other.close()

    assert batches == [[1]]
