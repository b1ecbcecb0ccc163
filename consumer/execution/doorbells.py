"""Ringing: a due row needs no outbox, so a doorbell may get lost; the sweep rings for what was not heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.core.message import Doorbell
from consumer.core.policy import MINUTE
from consumer.ports import PortError

if TYPE_CHECKING:
    from consumer.world import World

RING_WITHIN_MS: Final = 15 * MINUTE
"""What is due later than this is left to the sweep."""


async def ring(world: World, count: int = 1, *, task: int | None = None, delay_s: int = 0) -> None:
    """Say that there is work.  Losing a doorbell loses nothing, so a failure is not an error."""
    try:
        await world.queue.send([Doorbell(task).body()] * count, delay_s)
    except PortError:
        return


async def ring_at(world: World, due_ms: int) -> None:
    """Ring when something becomes due; not at all when that is far off."""
    wait = due_ms - world.clock.now_ms()
    if wait <= RING_WITHIN_MS:
        await ring(world, delay_s=max(0, -(-wait // 1000)))
