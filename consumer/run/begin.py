"""Beginning: an execution is written as an intent, with its reservation, before anything is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from consumer.core import policy
from consumer.core.budget import Period, period_of
from consumer.core.errors import BadInput
from consumer.core.lifecycle import TaskState
from consumer.core.money import show
from consumer.core.template import MAX_EXECUTIONS
from consumer.core.times import iso
from consumer.execution import prices
from consumer.execution.call import (
    NoSuchCandidate,
    build_call,
    find_candidate,
    first_step,
    immediate_outcome,
    most,
)
from consumer.store import begin
from consumer.store import stops as stops_sql
from consumer.store.batch import commit
from consumer.store.sql import chunks, execution_id, integer, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.execution.call import Step
    from consumer.ports import Row, Statement
    from consumer.provider import Call, Provider
    from consumer.run.claim import Claimed
    from consumer.world import World

RECHECK_MS: Final = 15 * policy.MINUTE
"""When a task that this deployment cannot do now is looked at again."""


@dataclass(slots=True)
class Intent:
    """An execution about to begin, and the step that will be taken for it."""

    task: Claimed
    execution: int
    provider: Provider
    account: Account
    call: Call
    step: Step
    reserved_micro: int
    periods: list[Period]
    started_ms: int

    @property
    def immediate_outcome(self) -> Outcome | None:
        """Its outcome, where nothing is sent and no time passes."""
        return immediate_outcome(self.step)

    def row(self) -> dict[str, Any]:
        """What BEGIN reads."""
        assert self.task.plan is not None  # noqa: S101  # an intent is made from a plan
        stage = self.task.plan.route.stages[self.task.position.stage]
        return {
            "e": self.execution,
            "t": self.task.id,
            "v": self.task.version,
            "lease": self.task.token,
            "type": stage.execution_type,
            "provider": self.provider.name,
            "profile": self.account.name,
            "reserve": self.reserved_micro,
            "budgets": json.dumps([period.id for period in self.periods]) if self.periods else None,
            "who": self.provider.person(self.call),
        }


@dataclass(frozen=True, slots=True)
class Release:
    """A claimed task given up unbegun: back to `pending` with what blocks it, on to `waiting`, or `failed`.

    `needs_micro`: the room that it needs in the budget that blocks it.  `unsent`: its execution that was refused."""

    task: Claimed
    to: TaskState
    run_at_ms: int | None = None
    blocked_by: str | None = None
    reason: str | None = None
    needs_micro: int | None = None
    unsent: int | None = None

    def row(self) -> dict[str, Any]:
        """What RELEASE reads."""
        return {
            "t": self.task.id,
            "v": self.task.version,
            "to": self.to,
            "run_at": self.run_at_ms,
            "blocked_by": self.blocked_by,
            "needs": self.needs_micro,
            "reason": self.reason,
            "e": self.unsent,
            "lease": self.task.token,
        }


def prepare(world: World, task: Claimed, now_ms: int) -> Intent | Release:
    """The next execution of a claimed task, or why there is none."""
    release = _impossible(task, now_ms)
    if release is not None or task.plan is None:
        return release or Release(task, TaskState.PENDING, policy.NEVER, task.why_not)
    number = number_of(task.newest) + 1 if task.newest else 1
    if number > MAX_EXECUTIONS:
        return Release(task, TaskState.FAILED, reason=f"more than {MAX_EXECUTIONS} executions")
    at = task.position
    if at.stage >= len(task.plan.route.stages) or at.candidate >= len(
        task.plan.route.stages[at.stage].candidates
    ):
        return Release(task, TaskState.FAILED, reason="the route was shortened: no candidate is left")
    try:
        return _intent(world, task, execution_id(task.id, number), now_ms)
    except NoSuchCandidate as error:
        return Release(task, TaskState.PENDING, now_ms + RECHECK_MS, f"no_candidate:{error}"[:200])
    except BadInput as error:
        return Release(task, TaskState.PENDING, now_ms + RECHECK_MS, f"bad_settings:{error}"[:200])


def _impossible(task: Claimed, now_ms: int) -> Release | None:
    """What keeps a task from being begun, whatever its route says."""
    if task.open_execution is not None:
        return Release(task, TaskState.WAITING, reason="waits for the execution that is open")
    if task.deadline_ms is not None and now_ms >= task.deadline_ms:
        return Release(task, TaskState.FAILED, reason="deadline")
    if task.unreadable is not None:
        return Release(task, TaskState.FAILED, reason=task.unreadable)
    if task.unreachable is not None:
        return Release(task, TaskState.PENDING, now_ms + policy.MINUTE, f"storage:{task.unreachable}")
    return None


def _intent(world: World, task: Claimed, execution: int, now_ms: int) -> Intent | Release:
    assert task.plan is not None  # noqa: S101  # asked before
    at = task.position
    provider, account = find_candidate(world, task.plan, at.stage, at.candidate, task.organization)
    chosen = task.plan.route.stages[at.stage].candidates[at.candidate]
    call = build_call(
        world, task.plan, provider, account, execution, at.stage, at.candidate, chosen, task, now_ms
    )
    bound = prices.bound(account, most(provider, call), chosen.max_cost, now_ms)
    periods = [period_of(integer(b, "id"), str(b["period"]), now_ms) for b in task.budgets]
    if periods and bound is None:
        return Release(task, TaskState.PENDING, now_ms + RECHECK_MS, f"unpriced:{account.name}")
    return Intent(
        task, execution, provider, account, call, first_step(provider, call), bound or 0, periods, now_ms
    )


def statements(intents: Sequence[Intent], now_ms: int) -> list[Statement]:
    """The batch that begins a group; BEGUN reads which of them were admitted."""
    periods = {period.id: period for intent in intents for period in intent.periods}
    rows = (
        {"id": p.id, "budget": p.budget, "starts": p.starts_ms, "ends": p.ends_ms} for p in periods.values()
    )
    written = [begin.BEGIN_PERIODS(periods=part) for part in chunks(rows)]
    for part in chunks(intent.row() for intent in intents):
        written += [begin.BEGIN(rows=part, now=now_ms, at=iso(now_ms)), begin.BEGUN(rows=part)]
    return written


def given_up(releases: Sequence[Release], now_ms: int) -> list[Statement]:
    """The batch that gives claimed tasks up."""
    at = iso(now_ms)
    refused = [one.row() for one in releases if one.unsent is not None]
    unsent = [begin.UNSENT(rows=part, at=at) for part in chunks(refused)]
    return unsent + [begin.RELEASE(rows=part, at=at) for part in chunks(one.row() for one in releases)]


async def refused(world: World, intents: Sequence[Intent]) -> list[Release]:
    """Why begins were not admitted: a stop, or a budget without room.  Without either, they may try again at once: the
    room has come back, or somebody else has moved the task, and then the fence keeps this from doing anything."""
    wanted = json.dumps([period.id for intent in intents for period in intent.periods])
    asked = [stops_sql.STOPPED(), begin.FULL_PERIODS(periods=wanted)]
    stops, periods = await commit(world.database, world.entropy, asked)
    now = world.clock.now_ms()
    released = [
        Release(intent.task, TaskState.PENDING) if stops.rows else _refused(intent, periods.rows, now)
        for intent in intents
    ]
    return [replace(one, unsent=intent.execution) for one, intent in zip(released, intents, strict=True)]


def _refused(intent: Intent, periods: Iterable[Row], now_ms: int) -> Release:
    """What the budgets without room say, all of them: that it fails, or else when the last of them has room again."""
    wanted = {period.id for period in intent.periods}
    needs = intent.reserved_micro
    full = [
        row
        for row in periods
        if row["id"] in wanted
        and integer(row, "spent_micro") + integer(row, "reserved_micro") + needs > integer(row, "cap_micro")
    ]
    for row in full:
        cap = integer(row, "cap_micro")
        if needs > cap > 0:  # a cap of nothing holds work back
            reason = f"budget {row['budget']}: an estimate of {show(needs)} exceeds its cap of {show(cap)}"
            return Release(intent.task, TaskState.FAILED, reason=reason)
        if row["refused"] == "fail":
            reason = f"budget {row['budget']} has no room for {show(needs)}"
            return Release(intent.task, TaskState.FAILED, reason=reason)
    if not full:
        return Release(intent.task, TaskState.PENDING, now_ms)
    last = max(full, key=lambda row: integer(row, "ends_ms"))
    blocker, ends = f"budget:{last['id']}", integer(last, "ends_ms")
    return Release(intent.task, TaskState.PENDING, ends, blocker, needs_micro=needs)
