"""The worker, whatever it runs on: what a batch of messages, a dead letter and a tick mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from structlog.contextvars import bound_contextvars

from consumer.core import message
from consumer.core.errors import BadInput, BizQError
from consumer.core.policy import MINUTE
from consumer.ports import PortError
from consumer.run.run import Run, Summary
from consumer.run.sweep import Swept, sweep
from consumer.store import webhooks
from consumer.store.batch import commit
from consumer.store.schema.check import broken
from consumer.store.sql import chunks
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.ports import Message
    from consumer.world import World

RETRY_S: Final = 30
"""A message whose batch could not be worked on comes back within this time."""
KEPT_CHARACTERS: Final = 10_000
"""How much of an unreadable message is kept."""
SCHEMA_TRUSTED_MS: Final = 10 * MINUTE


class BrokenSchema(BizQError):
    """The database lacks triggers or indexes that the promises stand on: nothing is claimed."""


@dataclass(slots=True)
class Trust:
    """Until when the schema, once found whole, is not looked at.  Plain data: an isolate keeps it between events."""

    until_ms: int = 0


@dataclass(slots=True)
class App:
    """`stopping` says whether the process was asked to end: then nothing new is started."""

    world: World
    stopping: Callable[[], bool] = lambda: False
    trust: Trust = field(default_factory=Trust)

    async def on_messages(self, messages: Sequence[Message]) -> Summary:
        """A doorbell rang: work until nothing is due.  Each message gets exactly one verdict, whatever happens."""
        readable = await self._set_aside_unreadable(messages)
        if not readable:
            return Summary()
        try:
            with bound_contextvars(message=readable[0].id):
                await self._check_schema()
                summary = await Run(self.world, self.stopping).drain()
        except BaseException as error:
            self._retry(readable)
            if isinstance(error, PortError | BrokenSchema):
                log().error(Event.MESSAGES_RETRIED, count=len(readable), error=type(error).__name__)
                return Summary(more=True)
            raise
        if summary.left:  # what they rang for is not committed
            self._retry(readable)
            return summary
        for one in readable:
            one.ack()
        return summary

    async def on_dead_letters(self, messages: Sequence[Message]) -> None:
        """Messages that were delivered too often: kept in the database before they are acknowledged."""
        await self._keep(messages, ["delivered too often"] * len(messages))

    async def on_tick(self) -> Swept:
        """Cron: the sweep.  Raises `Unavailable`, `BrokenSchema`."""
        await self._check_schema()
        return await sweep(self.world)

    async def _set_aside_unreadable(self, messages: Sequence[Message]) -> list[Message]:
        readable: list[Message] = []
        unreadable: list[Message] = []
        reasons: list[str] = []
        for one in messages:
            try:
                message.parse(one.body)
            except BadInput as error:
                unreadable.append(one)
                reasons.append(str(error))
            else:
                readable.append(one)
        if unreadable:
            await self._keep(unreadable, reasons)
        return readable

    async def _keep(self, messages: Sequence[Message], reasons: Sequence[str]) -> None:
        """Store, then acknowledge; what cannot be stored comes back."""
        letters = [
            {"id": one.id, "reason": reason, "body": repr(one.body)[:KEPT_CHARACTERS]}
            for one, reason in zip(messages, reasons, strict=True)
        ]
        now = self.world.clock.now_ms()
        try:
            batch = [webhooks.DEAD_LETTER(rows=part, now=now) for part in chunks(letters)]
            await commit(self.world.database, self.world.entropy, batch)
        except PortError as error:
            log().error(Event.MESSAGES_RETRIED, count=len(messages), error=type(error).__name__)
            self._retry(messages)
            return
        for one, reason in zip(messages, reasons, strict=True):
            log().warning(Event.DEAD_LETTER, message=one.id, reason=reason)
            one.ack()

    def _retry(self, messages: Sequence[Message]) -> None:
        for one in messages:
            one.retry(1 + int(self.world.entropy.draw() * RETRY_S))

    async def _check_schema(self) -> None:
        """Looked at once in a while: an ORM's rebuild of a table drops its triggers and partial indexes."""
        now = self.world.clock.now_ms()
        if now < self.trust.until_ms:
            return
        problems = await broken(self.world.database, self.world.entropy)
        if problems:
            log().error(Event.SCHEMA_BROKEN, count=len(problems), reason=problems[0])
            raise BrokenSchema("; ".join(problems))
        self.trust.until_ms = now + SCHEMA_TRUSTED_MS
