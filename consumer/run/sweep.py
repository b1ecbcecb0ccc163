"""The sweep, which cron starts once a minute: one function for each duty, all of them in one batch.

It uses SQL and doorbells only.  Work that needs a call to a provider or a store is made due, and a run claims it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.core import policy
from consumer.core.strictjson import dump_flat
from consumer.core.times import iso
from consumer.execution import doorbells
from consumer.execution.secrets import fingerprint
from consumer.ports import PortError
from consumer.store import rests as rests_sql
from consumer.store import room
from consumer.store import sweep as sweep_sql
from consumer.store.sql import integer
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from consumer.ports import Statement
    from consumer.world import World


FORGET_AFTER_MS: Final = 2 * policy.HOUR
"""How long the state of a profile is kept after its last change: longer than the period of any rate."""
ALERT_PERCENT: Final = 80
"""The percentage of its cap at which a budget raises an alert."""


WAKE_MOST: Final = 1_000
"""Tasks that a sweep wakes for one budget at most."""


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
    """Do all duties once.  It may run twice, late, or not for an hour, without harm.  Raises `Unavailable`."""
    now = world.clock.now_ms()
    batch = world.batch()
    leases = batch.add(*repair_leases(now))
    raised = batch.add(*raise_ranks(now))
    ended = batch.add(*end_overdue(now))
    unblocked = batch.add(*unblock(now), *take_back(now))
    alerts = batch.add(*alert(now))
    batch.add(*end_rests(world, now))
    counted = batch.add(_due(world, now))
    batch.add(sweep_sql.TICKED(now=now))
    results = await batch.commit()
    due = integer(results.rows(counted)[0], "due")
    rung = await ring_for_due(world, due)
    for row in results.rows(alerts):
        log().warning(Event.BUDGET_ALERT, budget=row["budget_id"], percent=ALERT_PERCENT)
    swept = Swept(
        leases=len(results.rows(leases)),
        raised=len(results.rows(raised)),
        ended=len(results.rows(ended)),
        unblocked=len(results.rows(unblocked)),
        alerts=len(results.rows(alerts)),
        due=due,
        rung=rung,
    )
    if swept.leases or swept.ended:
        log().warning(Event.SWEPT, count=swept.leases + swept.ended, rung=rung)
    return swept


def repair_leases(now: int) -> list[Statement]:
    """Repair the tasks of expired leases.

    Calls in flight become unknown, and their tasks wait.  Tasks for which nothing was sent are due again."""
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
    """Raise tasks that are near their due date, or have been due for long, by one rank, once."""
    since = now - policy.WAITING_LONG
    return [
        sweep_sql.RAISE_NEAR_DUE(now=now),
        *(query(since=since) for query in sweep_sql.RAISE_WAITING_LONG),
    ]


def end_overdue(now: int) -> list[Statement]:
    """Fail tasks whose deadline has passed, and have their open executions followed up."""
    return [
        sweep_sql.OVERDUE_STATUS(now=now),
        sweep_sql.OVERDUE_CALLS(now=now),
        sweep_sql.OVERDUE_TASKS(now=now, at=iso(now)),
    ]


def unblock(now: int) -> list[Statement]:
    """Make tasks due that were blocked by a budget which has room again, or which was deleted."""
    since = now - policy.WOKEN_FOR
    return [room.WAKE(now=now, since=since, most=WAKE_MOST), room.WAKE_GONE(now=now, most=WAKE_MOST)]


def end_rests(world: World, now: int) -> list[Statement]:
    """Make tasks due that wait for profiles which may be called again, and forget profiles that are well."""
    present = {name: fingerprint(world, account) for name, account in world.accounts.items()}
    return [
        rests_sql.WAKE_FIRST(now=now, accounts=dump_flat(present)),
        rests_sql.WAKE_FORGOTTEN(now=now),
        rests_sql.FORGET(idle=now - FORGET_AFTER_MS),
    ]


def take_back(now: int) -> list[Statement]:
    """Make tasks due that another application set to running a while ago."""
    since = now - policy.TAKEN
    return [
        sweep_sql.TAKEN_STATUS(now=now, since=since),
        sweep_sql.TAKEN_AUDIT(now=now, since=since),
        sweep_sql.TAKEN_BACK(now=now, since=since, at=iso(now)),
    ]


def alert(now: int) -> list[Statement]:
    """Alert about budgets that are nearly full, once in a period, in the log and in the audit log."""
    return [
        sweep_sql.ALERT_AGAIN(now=now),
        sweep_sql.ALERT_AUDIT(now=now, percent=ALERT_PERCENT),
        sweep_sql.ALERT(now=now, percent=ALERT_PERCENT),
    ]


def _due(world: World, now: int) -> Statement:
    return sweep_sql.DUE(now=now, most=world.config.doorbells_per_tick * world.config.batch_size)


async def ring_for_due(world: World, due: int) -> int:
    """Ring a doorbell for each batch of due work, less those that are in the queue already.

    Returns the number that were rung.  If anything is due, at least one is rung, because the doorbells in the queue may
    all be delayed ones."""
    wanted = min(-(-due // world.config.batch_size), world.config.doorbells_per_tick)
    if wanted == 0:
        return 0
    try:
        backlog = await world.within(world.queue.backlog()) or 0
    except PortError:
        backlog = 0
    rung = max(1, wanted - backlog)
    await doorbells.ring(world, rung)
    return rung
