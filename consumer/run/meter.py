"""The statements of one invocation, counted where they are sent, with every repetition and every follow-up.

And the time of its beginning, from which the platform counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.ports import Exhausted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Database, Result, Statement
    from consumer.world import World


class Metered:
    """`Database` for one invocation, which began at `began_ms`.

    It refuses statements beyond `most`, as D1 does, on every host."""

    def __init__(self, database: Database, most: int, began_ms: int) -> None:
        self.began_ms = began_ms
        self._database = database
        self._most = most
        self.sent = 0

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        """Run all statements in order, atomically.  Raises as the database does, and `Exhausted`."""
        if self.sent + len(statements) > self._most:
            raise Exhausted(f"an invocation sends at most {self._most} statements")
        self.sent += len(statements)
        return await self._database.batch(statements)


def meter(world: World) -> Metered:
    """The database of an invocation that begins now, or of the one that this world belongs to."""
    known = world.database
    if isinstance(known, Metered):
        return known
    return Metered(known, world.config.all_statements, world.clock.now_ms())
