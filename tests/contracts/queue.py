"""What every `Queue` must accept and refuse, and how its messages are delivered.

`QueueContract` takes the fixture `queue`.  `DeliveryContract` also takes `serve`: an async function
`serve(handler, dead_letters)`. After it, the batches of that queue go to the first handler and those of its dead
letter queue to the second.  A batch has up to 10 messages and is delivered immediately; a message is retried at most
twice, without a delay unless the handler asks for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from consumer.ports import (
    MAX_BATCH_MESSAGES,
    MAX_DELAY_S,
    MAX_INTEGER,
    MAX_MESSAGE_BYTES,
    Message,
    Refused,
)

if TYPE_CHECKING:
    from consumer.ports import Queue

Handler = Callable[[list[Message]], Awaitable[None]]
Serve = Callable[[Handler, Handler], Awaitable[None]]

DEADLINE_S = 10
"""Reached only if a message does not come.  In seconds."""

BODY = {
    "text": "naïve 🧠 '\"\\ \r\n",
    "empty": "",
    "number": 7,
    "largest": MAX_INTEGER,
    "smallest": -MAX_INTEGER,
    "fraction": 0.5,
    "yes": True,
    "no": False,
    "nothing": None,
    "list": [1, "two", None, [], {}],
    "object": {"nested": {"deep": [{}]}},
}


def sized(size: int, filling: str = "x") -> dict[str, object]:
    """A message whose JSON has this number of bytes."""
    rest = size - len('{"v":""}')
    return {"v": filling * (rest // len(filling.encode())) + "y" * (rest % len(filling.encode()))}


class QueueContract:
    async def test_a_full_batch_is_accepted(self, queue: Queue) -> None:
        await queue.send([{"number": number} for number in range(MAX_BATCH_MESSAGES)])

    async def test_every_kind_of_json_is_accepted(self, queue: Queue) -> None:
        await queue.send([BODY])

    @pytest.mark.parametrize("count", [0, MAX_BATCH_MESSAGES + 1])
    async def test_an_empty_or_oversized_batch_is_refused(self, queue: Queue, count: int) -> None:
        with pytest.raises(Refused):
            await queue.send([{"number": number} for number in range(count)])

    @pytest.mark.parametrize("filling", ["x", "é", "🧠"])
    async def test_the_size_of_a_message_is_counted_in_bytes(self, queue: Queue, filling: str) -> None:
        await queue.send([sized(MAX_MESSAGE_BYTES, filling)])

        with pytest.raises(Refused):
            await queue.send([sized(MAX_MESSAGE_BYTES + 1, filling)])

    async def test_the_size_of_a_batch_is_limited(self, queue: Queue) -> None:
        await queue.send([sized(120_000), sized(120_000)])

        with pytest.raises(Refused):
            await queue.send([sized(120_000), sized(120_000), sized(20_000)])

    @pytest.mark.parametrize("delay_s", [0, 1, MAX_DELAY_S])
    async def test_a_delay_within_a_day_is_accepted(self, queue: Queue, delay_s: int) -> None:
        await queue.send([{}], delay_s)

    @pytest.mark.parametrize("delay_s", [-1, MAX_DELAY_S + 1, 0.5, None, "1", True])
    async def test_a_delay_outside_the_limits_is_refused(self, queue: Queue, delay_s: Any) -> None:
        with pytest.raises(Refused):
            await queue.send([{}], delay_s)

    @pytest.mark.parametrize(
        "value",
        [
            b"bytes",
            bytearray(b"bytes"),
            {1, 2},
            (1, 2),
            {1: "a"},
            {None: "a"},
            MAX_INTEGER + 1,
            -MAX_INTEGER - 1,
            float("nan"),
            float("inf"),
            1j,
            object(),
            "\ud800",
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_a_body_that_would_not_arrive_unchanged_is_refused(self, queue: Queue, value: Any) -> None:
        with pytest.raises(Refused):
            await queue.send([{"v": value}])
        with pytest.raises(Refused):
            await queue.send([{"v": [{"deep": value}]}])

    @pytest.mark.parametrize("body", ["text", 1, None, ["list"], b"bytes"])
    async def test_a_body_is_an_object(self, queue: Queue, body: Any) -> None:
        with pytest.raises(Refused):
            await queue.send([body])

    async def test_the_backlog_is_a_count_or_unknown(self, queue: Queue) -> None:
        assert await queue.backlog() in {None, 0}

        await queue.send([{}, {}], MAX_DELAY_S)

        assert await queue.backlog() in {None, 0, 2}


class Deliveries:
    """Records the delivered messages; `verdict` decides on each of them."""

    def __init__(self, verdict: Callable[[Message], None]) -> None:
        self.seen: list[tuple[Any, int]] = []
        """Body and attempt, in order of delivery."""
        self.ids: list[str] = []
        self.dead: list[tuple[Any, int]] = []
        self.dead_ids: list[str] = []
        self._verdict = verdict
        self._changed = asyncio.Event()

    async def handle(self, messages: list[Message]) -> None:
        try:
            for message in messages:
                self.seen.append((message.body, message.attempts))
                self.ids.append(message.id)
            for message in messages:
                self._verdict(message)
        finally:
            self._changed.set()

    async def bury(self, messages: list[Message]) -> None:
        for message in messages:
            self.dead.append((message.body, message.attempts))
            self.dead_ids.append(message.id)
            message.ack()
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class DeliveryContract:
    async def test_a_message_arrives_as_it_was_sent(self, queue: Queue, serve: Serve) -> None:
        deliveries = Deliveries(Message.ack)
        await serve(deliveries.handle, deliveries.bury)

        await queue.send([BODY])
        await deliveries.until(lambda: deliveries.seen)

        assert deliveries.seen == [(BODY, 1)]
        assert type(deliveries.ids[0]) is str

    async def test_every_message_of_a_batch_arrives_once(self, queue: Queue, serve: Serve) -> None:
        deliveries = Deliveries(Message.ack)
        await serve(deliveries.handle, deliveries.bury)

        await queue.send([{"n": number} for number in range(25)])
        await deliveries.until(lambda: len(deliveries.seen) >= 25)

        assert sorted(body["n"] for body, _ in deliveries.seen) == list(range(25))
        assert len(set(deliveries.ids)) == 25

    async def test_a_message_without_a_verdict_is_acknowledged_when_the_handler_returns(
        self, queue: Queue, serve: Serve
    ) -> None:
        deliveries = Deliveries(lambda _message: None)
        await serve(deliveries.handle, deliveries.bury)

        await queue.send([{"n": 1}])
        await deliveries.until(lambda: deliveries.seen)
        await queue.send([{"n": 2}])
        await deliveries.until(lambda: ({"n": 2}, 1) in deliveries.seen)

        assert deliveries.seen == [({"n": 1}, 1), ({"n": 2}, 1)]

    async def test_a_retried_message_comes_again_as_the_next_attempt(
        self, queue: Queue, serve: Serve
    ) -> None:
        deliveries = Deliveries(lambda message: message.retry(0) if message.attempts == 1 else message.ack())
        await serve(deliveries.handle, deliveries.bury)

        await queue.send([{"n": 1}])
        await deliveries.until(lambda: len(deliveries.seen) == 2)

        assert deliveries.seen == [({"n": 1}, 1), ({"n": 1}, 2)]
        assert deliveries.ids[0] == deliveries.ids[1]

    async def test_the_first_verdict_counts(self, queue: Queue, serve: Serve) -> None:
        def both(message: Message) -> None:
            body: Any = message.body
            if body["first"] == "ack":
                message.ack()
                message.retry(0)
            elif message.attempts == 1:
                message.retry(0)
                message.ack()

        deliveries = Deliveries(both)
        await serve(deliveries.handle, deliveries.bury)

        await queue.send([{"first": "ack"}, {"first": "retry"}])
        await deliveries.until(lambda: ({"first": "retry"}, 2) in deliveries.seen)

        assert ({"first": "ack"}, 2) not in deliveries.seen

    async def test_a_handler_that_raises_gets_its_undecided_messages_again(
        self, queue: Queue, serve: Serve
    ) -> None:
        """Cloudflare keeps what was acknowledged before; its local simulator (Miniflare 5) retries that too."""
        deliveries = Deliveries(Message.ack)

        async def acknowledge_one_then_raise(messages: list[Message]) -> None:
            if any(message.attempts > 1 for message in messages):
                await deliveries.handle(messages)
                return
            for message in messages:
                if message.body == {"n": 1}:
                    message.ack()
            raise RuntimeError("the handler failed, as this test wants it to")

        await serve(acknowledge_one_then_raise, deliveries.bury)

        await queue.send([{"n": number} for number in (1, 2, 3)])
        await deliveries.until(lambda: ({"n": 2}, 2) in deliveries.seen and ({"n": 3}, 2) in deliveries.seen)

    @pytest.mark.parametrize("way", ["retry", "raise"])
    async def test_the_third_failure_is_a_dead_letter(self, queue: Queue, serve: Serve, way: str) -> None:
        def fail(message: Message) -> None:
            if way == "raise":
                raise RuntimeError("the handler failed, as this test wants it to")
            message.retry(0)

        deliveries = Deliveries(fail)
        await serve(deliveries.handle, deliveries.bury)

        await queue.send([{"n": 1}])
        await deliveries.until(lambda: deliveries.dead)

        assert deliveries.seen == [({"n": 1}, 1), ({"n": 1}, 2), ({"n": 1}, 3)]
        assert deliveries.dead == [({"n": 1}, 1)]
        assert deliveries.dead_ids == deliveries.ids[:1]
