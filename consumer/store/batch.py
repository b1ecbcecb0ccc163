"""Sending a batch: again after an ambiguous failure, because every batch here may be sent twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from consumer.ports import Unavailable
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Database, Entropy, Result, Row, Statement

TRIES: Final = 5
FIRST_DELAY_S: Final = 0.1


async def commit(database: Database, entropy: Entropy, statements: Sequence[Statement]) -> list[Result]:
    """Run a repeatable batch.  Raises `Unavailable` after 5 tries with full jitter, `Refused` at once."""
    for attempt in range(1, TRIES):
        try:
            return await database.batch(statements)
        except Unavailable as error:
            log().warning(Event.DATABASE_RETRIED, attempt=attempt, error=str(error))
            await asyncio.sleep(entropy.draw() * FIRST_DELAY_S * 2**attempt)
    return await database.batch(statements)


async def rows(database: Database, entropy: Entropy, statement: Statement) -> Sequence[Row]:
    """The rows of one repeatable statement."""
    (result,) = await commit(database, entropy, [statement])
    return result.rows
