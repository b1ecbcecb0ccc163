"""The rest of an installation into a database with tasks: cron marks them in parts that a crash may interrupt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.store import installation

if TYPE_CHECKING:
    from consumer.world import World

PARTS: Final = 20
"""Parts in one turn of cron."""


async def install(world: World) -> int:
    """Mark tasks that are older than the worker.  Returns the number of parts; 0 once all are marked."""
    for done in range(PARTS):
        if not await world.rows(installation.LEFT()):
            return done
        await world.write(*installation.part())
    return PARTS
