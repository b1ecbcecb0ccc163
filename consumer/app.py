"""The worker on any host: what it does with a batch of messages, with dead letters and at a tick of cron."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from structlog.contextvars import bound_contextvars

from consumer.core import message
from consumer.core.errors import BadInput
from consumer.core.shares import Speeds
from consumer.ports import PortError
from consumer.run.install import install
from consumer.run.meter import meter
from consumer.run.run import Run
from consumer.run.schema import BrokenSchema, SchemaTrust
from consumer.run.summary import Summary
from consumer.run.sweep import Swept, sweep
from consumer.store import webhooks
from consumer.store.sql import chunks
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.ports import Message
    from consumer.world import World

RETRY_S: Final = 30
"""Seconds after which a batch of messages that failed is delivered again, at most.  The exact time is random."""
KEPT_CHARS: Final = 10_000
"""Characters of an unreadable message that are stored."""


@dataclass(slots=True, eq=False, repr=False)
class App:
    """The handlers of a host's events.  `stopping` returns whether the process was asked to end: then the worker
    starts nothing new."""

    world: World
    stopping: Callable[[], bool] = lambda: False
    trust: SchemaTrust = field(default_factory=SchemaTrust)
    speeds: Speeds = field(default_factory=Speeds)

    async def on_messages(self, messages: Sequence[Message]) -> Summary:
        """Handle doorbells: work until no task is due.  Each message is acknowledged or retried, even after an
        error."""
        world = replace(self.world, database=meter(self.world))
        readable = await self._set_aside_unreadable(world, messages)
        if not readable:
            return Summary()
        try:
            with bound_contextvars(message=readable[0].id):
                await self.trust.check(world)
                summary = await Run(world, self.stopping, self.speeds).drain()
        except BaseException as error:
            self._retry(readable)
            if isinstance(error, PortError | BrokenSchema):
                log().error(Event.MESSAGES_RETRIED, count=len(readable), error=type(error).__name__)
                return Summary(more=True)
            raise
        if summary.left:  # the work that these messages announced is not committed
            self._retry(readable)
            return summary
        for doorbell in readable:
            doorbell.ack()
        return summary

    async def on_dead_letters(self, messages: Sequence[Message]) -> None:
        """Store messages that were delivered too often, then acknowledge them."""
        await self._keep(self.world, messages, ["delivered too often"] * len(messages))

    async def on_tick(self) -> Swept:
        """Cron: the sweep.  Raises `Unavailable`, `BrokenSchema`."""
        await self.trust.check(self.world)
        await install(self.world)
        return await sweep(self.world)

    async def _set_aside_unreadable(self, world: World, messages: Sequence[Message]) -> list[Message]:
        """The doorbells among the messages.  All others are stored as dead letters."""
        readable: list[Message] = []
        unreadable: list[Message] = []
        reasons: list[str] = []
        for candidate in messages:
            try:
                message.parse(candidate.body)
            except BadInput as error:
                unreadable.append(candidate)
                reasons.append(str(error))
            else:
                readable.append(candidate)
        if unreadable:
            await self._keep(world, unreadable, reasons)
        return readable

    async def _keep(self, world: World, messages: Sequence[Message], reasons: Sequence[str]) -> None:
        """Store messages as dead letters, then acknowledge them.  If the database is unavailable, retry them."""
        letters = [
            {"id": letter.id, "reason": reason, "body": repr(letter.body)[:KEPT_CHARS]}
            for letter, reason in zip(messages, reasons, strict=True)
        ]
        now = world.clock.now_ms()
        try:
            await world.write(*(webhooks.DEAD_LETTER(rows=part, now=now) for part in chunks(letters)))
        except PortError as error:
            log().error(Event.MESSAGES_RETRIED, count=len(messages), error=type(error).__name__)
            self._retry(messages)
            return
        for letter, reason in zip(messages, reasons, strict=True):
            log().warning(Event.DEAD_LETTER, message=letter.id, reason=reason)
            letter.ack()

    def _retry(self, messages: Sequence[Message]) -> None:
        """Ask for another delivery of each message, at random times so that they do not all arrive together."""
        for failed in messages:
            failed.retry(1 + int(self.world.entropy.draw() * RETRY_S))
