"""The check of the database's schema that precedes every claim and every sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.core.errors import BizQError
from consumer.core.policy import MINUTE
from consumer.store.schema.check import broken
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from consumer.world import World

SCHEMA_TRUSTED_MS: Final = 10 * MINUTE
"""How long a successful check is trusted."""


class BrokenSchema(BizQError):
    """The database lacks triggers or indexes that the guarantees depend on, so the worker claims nothing."""


@dataclass(slots=True, eq=False, repr=False)
class SchemaTrust:
    """Until when a successful check of the schema is trusted: `until_ms`, milliseconds since 1970, UTC.

    It is plain data, so that an isolate of the Workers runtime may keep it from one event to the next."""

    until_ms: int = 0

    async def check(self, world: World) -> None:
        """Check the schema, unless a recent check was successful.  Raises `Unavailable`, BrokenSchema.

        The check is repeated, because an ORM that rebuilds a table drops its triggers and partial indexes."""
        now = world.clock.now_ms()
        if now < self.until_ms:
            return
        problems = await broken(world.database, world.entropy)
        if problems:
            log().error(Event.SCHEMA_BROKEN, count=len(problems), reason=problems[0])
            raise BrokenSchema("; ".join(problems))
        self.until_ms = now + SCHEMA_TRUSTED_MS
