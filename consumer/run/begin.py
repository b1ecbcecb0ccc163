"""Beginning: write an execution as an intent, with its reservation, before anything is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumer.core import policy
from consumer.core.budget import OPERATOR, Period, blocker, period_of
from consumer.core.decide import ExecutionView, Situation, TaskView
from consumer.core.errors import BadInput
from consumer.core.lifecycle import TASK_FINAL, ExecutionState, TaskState
from consumer.core.money import show
from consumer.core.outcome import Unknown
from consumer.core.prompt import Unfillable
from consumer.core.template import MAX_EXECUTIONS
from consumer.core.times import iso
from consumer.execution import prices
from consumer.execution.call import (
    Attempt,
    NoSuchCandidate,
    build_call,
    find_candidate,
    first_step,
    immediate_outcome,
    quote_of,
)
from consumer.execution.call import judge as judge_output
from consumer.execution.facts import traits
from consumer.execution.settle import calls_back
from consumer.execution.settlement import Ended, Rated
from consumer.provider import Pause
from consumer.store import begin as sql
from consumer.store import stops as stops_sql
from consumer.store.sql import chunks, execution_id, integer, number_of, text
from consumer.telemetry import Event, log, reason_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumer.core.checker import Work
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.execution.call import FirstStep
    from consumer.ports import Row
    from consumer.provider import Call, Provider
    from consumer.run.claim import Claimed
    from consumer.store.batch import Batch, Handle
    from consumer.world import World

RESTORED: Final = "the database was restored: this call may have been made before"
"""Why the outcome of an execution is unknown that a restore may have removed.  The follow-up asks the provider."""
BLOCKED_BY_REST: Final = "rest"
"""The blocker of a task that waits for a profile; the name of the profile follows."""
RECHECK_MS: Final = 15 * policy.MINUTE
"""When a task that this deployment cannot do now is tried again."""


@dataclass(slots=True, eq=False, repr=False)
class Intent:
    """An execution that is about to begin, with its call."""

    task: Claimed
    execution: int
    provider: Provider
    account: Account
    call: Call
    step: FirstStep
    reserved_micro: int
    periods: list[Period]
    started_ms: int
    ticket: str | None = None
    """The write of its profile's state that must have been applied (`run/traffic.py`)."""

    @property
    def immediate_outcome(self) -> Outcome | None:
        """The outcome, if the call needs neither a request nor time."""
        return immediate_outcome(self.step)

    def row(self) -> dict[str, Any]:
        """The row that BEGIN reads."""
        assert self.task.plan is not None  # noqa: S101  # an intent is made from a plan
        stage = self.task.plan.route.stages[self.task.position.stage]
        return {
            "execution": self.execution,
            "task": self.task.id,
            "version": self.task.version,
            "lease": self.task.token,
            "execution_type": stage.execution_type,
            "provider": self.provider.name,
            "profile": self.account.name,
            "reserved_micro": self.reserved_micro,
            "budgets": json.dumps([period.id for period in self.periods]) if self.periods else None,
            "assigned_to": self.provider.person(self.call),
            "candidate": self.task.position.candidate,
            "attempt": self.task.position.attempt,
            "ticket": self.ticket,
        }


class Release(NamedTuple):
    """A claimed task that is given up unbegun: back to `pending` with its blocker, on to `waiting`, or ended.

    `last_execution`: the execution whose answer is the result of a task that completes.
    `needs_micro`: the room in micro-dollars that it needs in the budget that blocks it.  `unsent`: the execution whose
    begin was refused."""

    task: Claimed
    to: TaskState
    run_at_ms: int | None = None
    blocked_by: str | None = None
    reason: str | None = None
    needs_micro: int | None = None
    unsent: int | None = None
    last_execution: int | None = None

    @property
    def is_news(self) -> bool:
        """Whether readers of the live status should know.  A rest of a profile leaves a task as pending as before."""
        rests = self.blocked_by is not None and self.blocked_by.startswith(f"{BLOCKED_BY_REST}:")
        return bool(self.blocked_by or self.reason) and not rests

    @property
    def sets_aside(self) -> bool:
        """Whether the task waits until its row or its template is corrected."""
        return self.run_at_ms == policy.NEVER and (self.task.bad_row or self.task.why_not) is not None

    def row(self) -> dict[str, Any]:
        """The row that RELEASE, UNSENT, UNSENT_AWAITED and CORRECTED read."""
        return {
            "task": self.task.id,
            "version": self.task.version,
            "status": self.to,
            "run_at_ms": self.run_at_ms,
            "blocked_by": self.blocked_by,
            "needs_micro": self.needs_micro,
            "reason": self.reason,
            "execution": self.unsent,
            "lease": self.task.token,
            "last_execution": self.last_execution,
            "template_version": self.task.template_version,
        }


def prepare(world: World, task: Claimed, now_ms: int) -> Intent | Release:
    """The next execution of a claimed task, or the release that says why there is none."""
    release = impossible(task, now_ms)
    if release is not None or task.plan is None:
        return release or Release(task, TaskState.PENDING, policy.NEVER, task.why_not)
    number = number_of(task.newest) + 1 if task.newest else 1
    if number > MAX_EXECUTIONS:
        return Release(task, TaskState.FAILED, reason=f"too_many_executions: more than {MAX_EXECUTIONS}")
    at = task.position
    stages = task.plan.route.stages
    if at.stage >= len(stages) and task.input_from is not None and task.plan.mismatch(task.previous) is None:
        reason = "route_shortened: the last stage that is left has answered"
        return Release(task, TaskState.COMPLETED, reason=reason, last_execution=task.input_from)
    if at.stage >= len(stages) or at.candidate >= len(stages[at.stage].candidates):
        return Release(task, TaskState.FAILED, reason="no_candidate: the route was shortened")
    try:
        return _intent(world, task, execution_id(task.id, number), now_ms)
    except NoSuchCandidate as error:
        return Release(task, TaskState.PENDING, now_ms + RECHECK_MS, f"no_candidate:{error}"[:200])
    except Unfillable as error:
        return Release(task, TaskState.FAILED, reason=f"bad_input: {error}"[:1000])
    except BadInput as error:
        return Release(task, TaskState.PENDING, now_ms + RECHECK_MS, f"bad_settings:{error}"[:200])


def impossible(task: Claimed, now_ms: int) -> Release | None:
    """The release of a task that cannot begin, independent of its route."""
    if task.open_execution is not None:
        return Release(task, TaskState.WAITING, reason="open_execution: waits for an open execution")
    if task.deadline_ms is not None and now_ms >= task.deadline_ms:
        return Release(task, TaskState.FAILED, reason="deadline")
    if task.bad_row is not None:
        return Release(task, TaskState.PENDING, policy.NEVER, f"bad_row:{task.bad_row}")
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
    attempt = Attempt(
        execution,
        task.identity,
        task.token,
        now_ms,
        at.stage,
        at.candidate,
        at.attempt,
        chosen,
        provider,
        account,
    )
    call = build_call(world, task.plan, attempt, task, now_ms)
    bound = prices.bound(account, quote_of(provider, call), chosen.max_cost, now_ms)
    periods = [period_of(integer(b, "id"), str(b["period"]), now_ms) for b in task.budgets]
    if periods and bound is None:
        return Release(task, TaskState.PENDING, now_ms + RECHECK_MS, f"unpriced:{account.name}")
    step = first_step(provider, call)
    if execution == task.restored and provider.abilities.lookup:
        step = Pause(Unknown(RESTORED))
    return Intent(task, execution, provider, account, call, step, bound or 0, periods, now_ms)


def begin(batch: Batch, intents: Sequence[Intent], now_ms: int) -> Handle:
    """Add a group of begins to a batch.  The handle reads the id and the status of each execution that was admitted."""
    periods = {period.id: period for intent in intents for period in intent.periods}
    rows = (
        {"id": p.id, "budget": p.budget, "starts_ms": p.starts_ms, "ends_ms": p.ends_ms}
        for p in periods.values()
    )
    batch.each(sql.BEGIN_PERIODS, chunks(rows))
    parts = list(chunks(intent.row() for intent in intents))
    batch.each(sql.BEGIN, parts, now=now_ms, at=iso(now_ms))
    return batch.each(sql.BEGUN, parts)


def release(batch: Batch, releases: Sequence[Release], now_ms: int) -> None:
    """Add the releases of claimed tasks to a batch, after statements that cancel executions whose begin was refused."""
    at = iso(now_ms)
    refused = list(chunks(release.row() for release in releases if release.unsent is not None))
    batch.each(sql.UNSENT, refused, at=at)
    batch.each(sql.UNSENT_AWAITED, refused)
    batch.each(sql.RELEASE, chunks(release.row() for release in releases), at=at)
    batch.each(sql.CORRECTED, chunks(one.row() for one in releases if one.sets_aside), now=now_ms)


async def why_refused(world: World, intents: Sequence[Intent]) -> list[Release]:
    """Release tasks whose begins were not admitted, each with the reason: a stop, or a budget without room.

    If there is neither, the task may try again immediately, because room came back.  Or another writer moved the task:
    then the fence keeps the release from changing anything."""
    wanted = json.dumps([period.id for intent in intents for period in intent.periods])
    batch = world.batch()
    stops = batch.add(stops_sql.STOPPED())
    periods = batch.add(sql.FULL_PERIODS(periods=wanted))
    results = await batch.commit()
    now = world.clock.now_ms()
    released = [
        Release(intent.task, TaskState.PENDING)
        if results.rows(stops)
        else _refused(intent, results.rows(periods), now)
        for intent in intents
    ]
    return [
        release._replace(unsent=intent.execution) for release, intent in zip(released, intents, strict=True)
    ]


def _refused(intent: Intent, periods: Iterable[Row], now_ms: int) -> Release:
    """The release of a task that its budgets have no room for: it fails, or waits for the one that is full for longest.

    It is due at no time: room makes it due (`store.room`).  A reason says nothing about a budget of the operator,
    because callers of the tenant read it."""
    wanted = {period.id for period in intent.periods}
    needs = intent.reserved_micro
    full = [
        row
        for row in periods
        if row["id"] in wanted
        and integer(row, "spent_micro") + integer(row, "reserved_micro") + needs > integer(row, "cap_micro")
    ]
    for row in full:
        if row["refused"] == "fail":
            return Release(intent.task, TaskState.FAILED, reason=_why_failed(row, needs))
    if not full:
        if intent.ticket is not None:  # another worker counted a call of the profile at the same time
            rests = f"{BLOCKED_BY_REST}:{intent.account.name}"
            return Release(intent.task, TaskState.PENDING, policy.NEVER, rests)
        return Release(intent.task, TaskState.PENDING, now_ms)
    last = max(full, key=lambda row: integer(row, "ends_ms"))
    blocked_by = blocker(text(last, "tier"), integer(last, "budget"))
    return Release(intent.task, TaskState.PENDING, policy.NEVER, blocked_by, needs_micro=needs)


def _why_failed(row: Row, needs: int) -> str:
    budget, cap = integer(row, "budget"), integer(row, "cap_micro")
    if row["tier"] == OPERATOR:
        return f"budget: the operator's limit has no room for {show(needs)}"
    if needs > cap:
        return f"budget: {budget}: an estimate of {show(needs)} exceeds its cap of {show(cap)}"
    return f"budget: {budget} has no room for {show(needs)}"


def ended_by_call(
    world: World,
    intent: Intent,
    outcome: Outcome,
    now_ms: int,
    rests_until_ms: int = 0,
    work: Work | None = None,
) -> Ended:
    """An execution that this run began, with the outcome of its call.

    `rests_until_ms`: until when its profile rests or waits, after this outcome."""
    task = intent.task
    assert task.plan is not None  # noqa: S101  # an intent is made from a plan
    execution = ExecutionView(
        id=intent.execution,
        state=ExecutionState.RUNNING,
        stage=task.position.stage,
        started_ms=intent.started_ms,
        newest=True,
        resolve_by_ms=None,
        **traits(intent.provider, has_job=False),
    )
    view = TaskView(task.id, task.version, TaskState.RUNNING, task.position, task.deadline_ms, held=True)
    draw = world.entropy.draw()
    judged = judge_output(task.plan, outcome, work)
    return Ended(
        Situation(view, execution, task.plan.route, task.plan.limits, now_ms, draw, rests_until_ms),
        judged,
        Rated(judged),
        judged.usage,
        task.id,
        intent.account,
        task.organization,
        intent.account.name,
        intent.reserved_micro,
        has_budget=bool(intent.periods),
        calls_back=calls_back(world, intent.account),
        lease=task.token,
    )


def report_release(released: Release) -> None:
    """Log the end of a task that ended without a call."""
    if released.to in TASK_FINAL:
        task, reason = released.task, reason_code(released.reason)
        fields = {"task": task.id, "organization": task.organization, "reason": reason}
        log().info(Event.TASK_ENDED, status=released.to.value, **fields)
