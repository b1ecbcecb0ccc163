"""Ringing doorbells.  A doorbell may get lost, because the rows are the work: the sweep rings again for due rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.core.message import Doorbell
from consumer.core.policy import MINUTE
from consumer.ports import PortError

if TYPE_CHECKING:
    from consumer.world import World

RING_WITHIN_MS: Final = 15 * MINUTE
"""Work that is due later than this is left to the sweep."""


async def ring(world: World, count: int = 1, *, task: int | None = None, delay_s: int = 0) -> None:
    """Send messages that say that there is work.  Losing them loses no work, so a failure is not an error."""
    try:
        await world.within(world.queue.send([Doorbell(task).body()] * count, delay_s))
    except PortError:
        return


async def ring_at(world: World, due_ms: int) -> None:
    """Ring when work becomes due; do nothing when that is later than `RING_WITHIN_MS`."""
    wait = due_ms - world.clock.now_ms()
    if wait <= RING_WITHIN_MS:
        await ring(world, delay_s=max(0, -(-wait // 1000)))
