"""What cron does, in SQL and doorbells only: one function for each duty, all of them in one batch.

Nothing here calls outside; whatever has to, the consumer claims like any other work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.core import policy
from consumer.core.times import iso
from consumer.execution import doorbells
from consumer.ports import PortError
from consumer.store import sweep as sweep_sql
from consumer.store.batch import commit
from consumer.store.sql import integer
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from consumer.ports import Row, Statement
    from consumer.world import World


ALERT_PERCENT: Final = 80
"""The part of a cap at which there is a word about it."""


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows each duty changed, what is due now, and how many doorbells were sent for it."""

    leases: int
    raised: int
    ended: int
    unblocked: int
    alerts: int
    due: int
    rung: int


async def sweep(world: World) -> Swept:
    """Do all duties once.  Running it twice, late, or never for an hour does no harm.  Raises `Unavailable`."""
    now = world.clock.now_ms()
    duties = [
        repair_leases(now),
        raise_ranks(now),
        end_overdue(now),
        unblock(now),
        alert(now),
        [_due(world, now)],
    ]
    results = await commit(
        world.database, world.entropy, [statement for duty in duties for statement in duty]
    )
    due = integer(results[-1].rows[0], "due")
    found: list[list[Row]] = []
    for duty in duties:
        found.append([row for result in results[: len(duty)] for row in result.rows])
        results = results[len(duty) :]
    rung = await ring_for_due(world, due)
    leases, raised, ended, unblocked, alerts = (len(rows) for rows in found[:5])
    for row in found[4]:
        log().warning(Event.BUDGET_ALERT, budget=row["budget_id"], percent=ALERT_PERCENT)
    swept = Swept(leases, raised, ended, unblocked, alerts, due, rung)
    if swept.leases or swept.ended:
        log().warning(Event.SWEPT, count=swept.leases + swept.ended, rung=rung)
    return swept


def repair_leases(now: int) -> list[Statement]:
    """Calls in flight become unknown; their tasks wait; tasks that nothing was sent for are due again."""
    cutoff = now - policy.CLOCK_SLACK
    at = iso(now)
    return [
        sweep_sql.LOST_CALLS(cutoff=cutoff),
        sweep_sql.ORPHANED_TASKS(cutoff=cutoff, at=at),
        sweep_sql.LOST_TASKS(cutoff=cutoff, at=at, now=now, limit=policy.LOST_LEASES),
        sweep_sql.LOST_STATUS(cutoff=cutoff, now=now),
        sweep_sql.EXPIRED_LEASES(cutoff=cutoff),
    ]


def raise_ranks(now: int) -> list[Statement]:
    """Near the due date, or waiting long: one rank higher, once."""
    since = now - policy.WAITING_LONG
    return [
        sweep_sql.RAISE_NEAR_DUE(now=now),
        *(query(since=since) for query in sweep_sql.RAISE_WAITING_LONG),
    ]


def end_overdue(now: int) -> list[Statement]:
    """Tasks whose own deadline has passed fail, whatever they wait for."""
    return [
        sweep_sql.OVERDUE_STATUS(now=now),
        sweep_sql.OVERDUE_CALLS(now=now),
        sweep_sql.OVERDUE_TASKS(now=now, at=iso(now)),
    ]


def unblock(now: int) -> list[Statement]:
    """Budgets with room again, or that are gone: the first of those they blocked may try."""
    return [sweep_sql.UNBLOCK(now=now, budget=None), sweep_sql.UNBLOCK_GONE(now=now)]


def alert(now: int) -> list[Statement]:
    """Budgets that are nearly full: said once in a period, in the log and in the audit log."""
    return [
        sweep_sql.ALERT_AGAIN(now=now),
        sweep_sql.ALERT_AUDIT(now=now, percent=ALERT_PERCENT),
        sweep_sql.ALERT(now=now, percent=ALERT_PERCENT),
    ]


def _due(world: World, now: int) -> Statement:
    return sweep_sql.DUE(now=now, most=world.config.doorbells_per_tick * world.config.batch_size)


async def ring_for_due(world: World, due: int) -> int:
    """As many doorbells as there are batches due, but for those that wait in the queue already.  One in any case: the
    queue does not say which of those it will deliver only later."""
    wanted = min(-(-due // world.config.batch_size), world.config.doorbells_per_tick)
    if wanted == 0:
        return 0
    try:
        backlog = await world.queue.backlog() or 0
    except PortError:
        backlog = 0
    rung = max(1, wanted - backlog)  # those that wait may be delayed ones
    await doorbells.ring(world, rung)
    return rung
