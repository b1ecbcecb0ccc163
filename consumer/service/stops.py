"""The stop of all spending, by an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.core.errors import Conflict
from consumer.execution import doorbells
from consumer.service.organizations import line
from consumer.store import installation, stops
from consumer.store.sql import one
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from consumer.ports import Value
    from consumer.world import World


async def stop(world: World, reason: str, actor: str) -> dict[str, Any]:
    """Stop all spending immediately: no worker claims a task or begins an execution.  Executions in flight end, and are
    settled.  Returns the stop that is in force: this one, or an earlier one.  Raises BadInput."""
    values: dict[str, Value] = {"now": world.clock.now_ms(), "actor": actor}
    batch = world.batch()
    inserted = batch.add(stops.STOP(**values, reason=line(reason, "reason")))
    batch.add(stops.STOP_AUDIT(**values))
    in_force = batch.add(stops.STOPPED())
    results = await batch.commit_once()
    if results.rows(inserted):
        log().warning(Event.SPENDING_STOPPED)
    (row,) = results.rows(in_force)
    return dict(row)


async def resume(world: World, actor: str) -> bool:
    """End the stop.  False when there was none.  Raises Conflict during an installation, which ends its stop itself."""
    in_force = await stopped(world)
    if in_force is not None and in_force["actor"] == installation.ACTOR:
        why = "tasks that are older than the worker are still being marked"
        raise Conflict(f"the installation is not finished: {why}; cron ends this stop when it is done")
    batch = world.batch()
    batch.add(stops.RESUME_AUDIT(now=world.clock.now_ms(), actor=actor))
    ended = batch.add(stops.RESUME())
    results = await batch.commit_once()
    if not results.rows(ended):
        return False
    log().warning(Event.SPENDING_RESUMED)
    await doorbells.ring(world)
    return True


async def stopped(world: World) -> dict[str, Any] | None:
    """The stop of all spending (`at_ms`, `actor`, `reason`); None when spending is not stopped."""
    row = one(await world.rows(stops.STOPPED()))
    return None if row is None else dict(row)
