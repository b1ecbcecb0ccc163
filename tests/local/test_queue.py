"""The local queue's consumer: when it delivers, and the effect of a verdict.  Time is virtual."""

from __future__ import annotations

import asyncio

from consumer.local.mailbox import VISIBILITY_S
from consumer.local.queue import WALL_S
from consumer.ports import Message
from tests.local.virtual_queue import Bench, fail, number, virtual


@virtual
async def test_a_full_batch_is_delivered_immediately(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler, batch_size=3, batch_timeout_s=5)

    await bench.send(1, 2, 3, 4, 5, 6, 7)
    await asyncio.sleep(60)

    assert handler.batches == [[1, 2, 3], [4, 5, 6], [7]]
    assert handler.at_s == [0, 0, 5]


@virtual
async def test_a_batch_waits_for_more_until_its_oldest_message_is_old_enough(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler, batch_timeout_s=5)

    await bench.send(1)
    await asyncio.sleep(3)
    await bench.send(2)
    await asyncio.sleep(60)

    assert handler.batches == [[1, 2]]
    assert handler.at_s == [5]


@virtual
async def test_without_a_timeout_every_message_is_delivered_immediately(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler)

    for one in range(3):
        await bench.send(one)
        await asyncio.sleep(1)

    assert handler.batches == [[0], [1], [2]]
    assert handler.at_s == [0, 1, 2]


@virtual
async def test_messages_sent_before_the_start_are_delivered(bench: Bench) -> None:
    await bench.send(1, 2)
    handler = bench.recorder()
    bench.start(handler)

    await asyncio.sleep(1)

    assert handler.batches == [[1, 2]]


@virtual
async def test_a_delayed_message_comes_in_its_time(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler)

    await bench.send(1, delay_s=86_400)
    await bench.send(2, delay_s=90)
    await bench.send(3)
    await asyncio.sleep(90_000)

    assert handler.batches == [[3], [2], [1]]
    assert handler.at_s == [0, 90, 86_400]


@virtual
async def test_a_batch_is_full_when_delayed_messages_fill_it(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler, batch_size=2, batch_timeout_s=60)

    await bench.send(1)
    await bench.send(2, delay_s=7)
    await asyncio.sleep(100)

    assert handler.batches == [[1, 2]]
    assert handler.at_s == [7]


@virtual
async def test_a_retried_message_waits_for_its_delay(bench: Bench) -> None:
    def verdict(message: Message) -> None:
        if message.attempts == 1:
            message.retry(40 if number(message) == 1 else 0)

    handler = bench.recorder(verdict)
    bench.start(handler, retry_delay_s=10)

    await bench.send(1, 2, 3)
    await asyncio.sleep(100)

    assert handler.batches == [[1, 2, 3], [2, 3], [1]]
    assert handler.attempts == [[1, 1, 1], [2, 2], [2]]
    assert handler.at_s == [0, 0, 40]


@virtual
async def test_a_failed_batch_waits_as_long_as_the_consumer_says(bench: Bench) -> None:
    handler = bench.recorder(lambda message: fail(message) if message.attempts == 1 else None)
    bench.start(handler, retry_delay_s=10)

    await bench.send(1, 2)
    await asyncio.sleep(100)

    assert handler.batches == [[1, 2], [1, 2]]
    assert handler.at_s == [0, 10]


@virtual
async def test_a_handler_that_raises_keeps_what_it_acknowledged_and_delayed(bench: Bench) -> None:
    handler = bench.recorder()

    async def decide_two_then_raise(messages: list[Message]) -> None:
        await handler(messages) if messages[0].attempts > 1 else None
        if messages[0].attempts == 1:
            messages[0].ack()
            messages[1].retry(20)
            fail(messages[2])

    bench.start(decide_two_then_raise, retry_delay_s=10)

    await bench.send(1, 2, 3)
    await asyncio.sleep(100)

    assert handler.batches == [[3], [2]]
    assert handler.at_s == [10, 20]


@virtual
async def test_a_message_that_fails_too_often_becomes_a_dead_letter(bench: Bench) -> None:
    handler = bench.recorder(fail)
    graveyard = bench.recorder()
    bench.start(handler, max_retries=2, retry_delay_s=5, dead_letter=bench.dead)
    bench.start(graveyard, bench.dead)

    await bench.send(1)
    await asyncio.sleep(100)

    assert handler.attempts == [[1], [2], [3]]
    assert graveyard.batches == [[1]]
    assert graveyard.attempts == [[1]]
    assert graveyard.at_s == [10]
    assert graveyard.ids == handler.ids[:1]
    assert await bench.jobs.backlog() == await bench.dead.backlog() == 0


@virtual
async def test_without_a_dead_letter_queue_it_is_deleted(bench: Bench) -> None:
    handler = bench.recorder(lambda message: message.retry(0))
    bench.start(handler, max_retries=0)

    await bench.send(1)
    await asyncio.sleep(100)

    assert handler.attempts == [[1]]
    assert await bench.jobs.backlog() == 0


@virtual
async def test_a_message_stays_with_its_handler_however_long_that_takes(bench: Bench) -> None:
    batches = []

    async def slow(messages: list[Message]) -> None:
        batches.append([number(message) for message in messages])
        await asyncio.sleep(10 * VISIBILITY_S)

    bench.start(slow, max_concurrency=2)
    await bench.send(1)
    await asyncio.sleep(20 * VISIBILITY_S)

    assert batches == [[1]]
    assert await bench.jobs.backlog() == 0


@virtual
async def test_a_handler_may_not_take_longer_than_on_cloudflare(bench: Bench) -> None:
    ended_s = []

    async def endless(messages: list[Message]) -> None:
        if messages[0].attempts == 1:
            try:
                await asyncio.sleep(10 * WALL_S)
            finally:
                ended_s.append(bench.loop.now_s)

    bench.start(endless)
    await bench.send(1)
    await asyncio.sleep(2 * WALL_S)

    assert ended_s == [WALL_S]
    assert await bench.jobs.backlog() == 0


@virtual
async def test_batches_are_handled_at_the_same_time_up_to_a_limit(bench: Bench) -> None:
    running = 0
    most = 0

    async def slow(_messages: list[Message]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    bench.start(slow, batch_size=1, max_concurrency=3)
    await bench.send(*range(7))
    await asyncio.sleep(2.5)
    assert await bench.jobs.backlog() == 0
    await asyncio.sleep(1)

    assert most == 3
    assert running == 0
