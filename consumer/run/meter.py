"""The statements of one invocation, counted where they are sent, with every repetition and every follow-up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from consumer.ports import Exhausted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Database, Result, Statement
    from consumer.world import World


class Metered:
    """`Database` for one run.  It refuses statements beyond `most`, as D1 does, on every host."""

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self.sent = 0

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        """Run all statements in order, atomically.  Raises as the database does, and `Exhausted`."""
        if self.sent + len(statements) > self._most:
            raise Exhausted(f"an invocation sends at most {self._most} statements")
        self.sent += len(statements)
        return await self._database.batch(statements)


def metered(world: World) -> World:
    """The world of one invocation: every statement that is sent in it counts."""
    return replace(world, database=Metered(world.database, world.config.all_statements))
