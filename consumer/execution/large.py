"""Large texts: in the blob store or, while that is away, in parts in the database.

A paid answer that no row can hold would otherwise be lost with an outage of the blob store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.ports import PortError, Unavailable
from consumer.store import blobs as sql
from consumer.store.sql import text

if TYPE_CHECKING:
    from consumer.world import World

PART_CHARS: Final = 250_000
"""Characters of a part: at most a megabyte in UTF-8, where a row of D1 holds two."""


async def keep(world: World, key: str, content: str) -> None:
    """Store a text under a key that carries its digest.  Raises PortError if neither store can take it."""
    try:
        await world.within(world.blobs.put(key, content.encode()))
    except PortError:
        await park(world, key, content)


async def park(world: World, key: str, content: str) -> None:
    """Store a text in parts in the database.  Raises PortError."""
    starts = range(0, len(content), PART_CHARS)
    await world.write(
        *(
            sql.PARK(key=key, part=number, data=content[start : start + PART_CHARS])
            for number, start in enumerate(starts)
        )
    )


async def read(world: World, key: str) -> bytes | None:
    """The bytes of a text; None if no store has it.  Raises `Unavailable` while it may be in one that is away."""
    away: Unavailable | None = None
    try:
        data = await world.within(world.blobs.get(key))
    except Unavailable as error:
        data, away = None, error
    if data is not None:
        return data
    parts = [text(row, "data") for row in await world.rows(sql.PARKED(key=key))]
    if not parts and away is not None:
        raise away
    return "".join(parts).encode() if parts else None
