"""Batches: statements that the database applies together, and results that are read by handle.

A batch that `commit` sends may be sent twice.  That is why a batch whose fate is unknown is simply sent again: five
times for a caller who waits, and for a run that holds paid answers as long as it can still write them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.ports import Exhausted, Unavailable
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from consumer.ports import Database, Entropy, Result, Row, Statement, Value
    from consumer.store.sql import Query

TRIES: Final = 5
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 20.0
"""Longest wait between two tries.  D1 may count each of them against the statements of an invocation."""
LONGEST_BATCH_S: Final = 60.0
"""Seconds after which a batch without an answer counts as failed.  D1 itself ends a statement after 30 seconds."""


def five_tries() -> bool:
    """Whether to try again after the fifth time: no.  This is the patience of a caller who waits for the answer."""
    return False


async def commit(
    database: Database,
    entropy: Entropy,
    statements: Sequence[Statement],
    keep_trying: Callable[[], bool] = five_tries,
) -> list[Result]:
    """Apply a batch that may be sent twice, with full jitter between the tries.

    Raises `Refused` immediately, and `Unavailable` after 5 tries, or later when `keep_trying` returns False."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return await _batch(database, statements)
        except Exhausted:
            raise
        except Unavailable as error:
            if attempt >= TRIES and not keep_trying():
                raise
            log().warning(Event.DATABASE_RETRIED, attempt=attempt, error=str(error))
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempt, 20))
        await asyncio.sleep(entropy.draw() * longest)


async def _batch(database: Database, statements: Sequence[Statement]) -> list[Result]:
    try:
        async with asyncio.timeout(LONGEST_BATCH_S):
            return await database.batch(statements)
    except TimeoutError:
        raise Unavailable(f"the database did not answer within {LONGEST_BATCH_S:g} s") from None


class Handle(NamedTuple):
    """Consecutive statements of one batch, whose rows are read together."""

    first: int
    end: int


NOTHING: Final = Handle(0, 0)
"""No statement: it has no rows."""


class Results(NamedTuple):
    """What a batch brought back."""

    results: Sequence[Result]

    def rows(self, handle: Handle) -> Sequence[Row]:
        """The rows of the handle's statements, in order."""
        if handle.end - handle.first == 1:
            return self.results[handle.first].rows
        return [row for result in self.results[handle.first : handle.end] for row in result.rows]

    def first(self, handle: Handle) -> Row | None:
        """The first row of the handle's statements; None if there is none."""
        rows = self.rows(handle)
        return rows[0] if rows else None


class Batch:
    """Collects statements, and sends them as one atomic batch.

    `add` and `each` return the handle by which the caller reads the rows of what it added."""

    __slots__ = ("_database", "_entropy", "_keep_trying", "_statements")

    def __init__(
        self, database: Database, entropy: Entropy, keep_trying: Callable[[], bool] = five_tries
    ) -> None:
        self._database = database
        self._entropy = entropy
        self._keep_trying = keep_trying
        self._statements: list[Statement] = []

    def __len__(self) -> int:
        return len(self._statements)

    @property
    def statements(self) -> Sequence[Statement]:
        """The statements so far, in order."""
        return self._statements

    def add(self, *statements: Statement) -> Handle:
        """Add statements, which run in this order."""
        first = len(self._statements)
        self._statements += statements
        return Handle(first, len(self._statements))

    def each(self, query: Query, parts: Iterable[str], **values: Value) -> Handle:
        """Add a query once for each part of its `rows` (see `store.sql.chunks`)."""
        return self.add(*(query(rows=part, **values) for part in parts))

    async def commit(self) -> Results:
        """Send the batch; an empty one is not sent.  Raises as `commit` does."""
        if not self._statements:
            return Results(())
        return Results(await commit(self._database, self._entropy, self._statements, self._keep_trying))

    async def commit_once(self) -> Results:
        """Send a batch that must not be sent twice, such as an insert without a key.

        Raises `Unavailable`, after which the batch may have been applied; `Refused`."""
        return Results(await _batch(self._database, self._statements))
