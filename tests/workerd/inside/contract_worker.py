"""The Worker under which the contracts run: the listening test handles the messages of its queues.

An event may not use objects of another event.  So the test, which is one long event, never gets the platform's
messages: it gets descriptions of them, decides, and its calls are repeated here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from workers import WorkerEntrypoint

from consumer.cloudflare.queue import DeliveredMessage

Handler = Callable[[list[Any]], Awaitable[None]]

_GLANCE_S = 0.002
"""The interval at which each side checks whether the other is done: neither can wake the other."""


@dataclass
class Described:
    """The parts of a platform's message that `DeliveredMessage` needs, and its calls."""

    id: str
    body: Any
    attempts: int
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ack(self) -> None:
        self.calls.append(("ack", {}))

    def retry(self, **options: Any) -> None:
        self.calls.append(("retry", options))


@dataclass
class Delivery:
    """One batch on its way to the test and back."""

    queue: str
    messages: list[Described]
    done: bool = False
    error: Exception | None = None


listening: dict[str, Handler] = {}
waiting: list[Delivery] = []


async def listen() -> None:
    """Hand out batches for as long as this runs: the test's half."""
    while True:
        while waiting:
            delivery = waiting.pop(0)
            try:
                await listening[delivery.queue]([DeliveredMessage(message) for message in delivery.messages])
            except Exception as error:  # noqa: BLE001  # the platform decides about every exception of a handler
                delivery.error = error
            delivery.done = True
        await asyncio.sleep(_GLANCE_S)


class Default(WorkerEntrypoint):
    """Passes batches on; a batch without a listening test is acknowledged."""

    async def queue(self, batch: Any, _env: object, _ctx: object) -> None:
        """Deliver one batch to the test, and repeat its verdicts."""
        if batch.queue not in listening:
            return
        described = [Described(message.id, message.body, message.attempts) for message in batch.messages]
        delivery = Delivery(batch.queue, described)
        waiting.append(delivery)
        while not delivery.done and batch.queue in listening:  # noqa: ASYNC110  # see the module's docstring
            await asyncio.sleep(_GLANCE_S)
        for message, decided in zip(batch.messages, described, strict=True):
            for name, options in decided.calls:
                getattr(message, name)(**options)
        if delivery.error:
            raise delivery.error
