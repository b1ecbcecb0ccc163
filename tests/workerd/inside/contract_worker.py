"""The Worker under which the contracts run: what its queues deliver is handled by the test that listens.

An event may not touch what belongs to another event.  So the test, which is one long event, never meets the
platform's messages: they are described to it, it decides in its own time, and its calls are repeated here.
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
"""How often each side looks whether the other is done: neither can wake the other."""


@dataclass
class Described:
    """What `DeliveredMessage` needs of the platform's message, and what it called."""

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
            except Exception as error:  # noqa: BLE001  # whatever a handler raises is the platform's to judge
                delivery.error = error
            delivery.done = True
        await asyncio.sleep(_GLANCE_S)


class Default(WorkerEntrypoint):
    """Passes batches on; what nobody listens for is acknowledged."""

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
