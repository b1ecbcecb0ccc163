"""Everything that is known of executions at one moment, read without a lease: for webhooks, forms and follow-ups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from consumer.core.decide import ExecutionView, Situation, TaskView, cause_in, was_asked
from consumer.core.errors import BadInput
from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.core.template import Candidate, Limits, Route, Stage
from consumer.execution.call import read_plan
from consumer.execution.inputs import has_input, position
from consumer.store import facts as facts_sql
from consumer.store.sql import bad_column, integer, optional_integer, optional_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumer.core.profile import Account
    from consumer.core.template import Plan
    from consumer.ports import Row
    from consumer.provider import Provider
    from consumer.world import World


CALL_TEXTS: Final = ("title", "description", "input", "feedback")
"""The columns of a task that its calls show."""


class Facts(NamedTuple):
    """An open or ended execution with all that is known of its task, read at one moment."""

    row: Row
    situation: Situation
    plan: Plan | None
    account: Account | None
    provider: Provider | None

    @property
    def task_id(self) -> int:
        return integer(self.row, "task_id")

    @property
    def lease(self) -> str | None:
        """The lease under which the execution began.  It tells the execution from an earlier one with its id."""
        return optional_text(self.row, "lease")


async def facts(world: World, executions: Iterable[int]) -> list[Facts]:
    """The facts of these executions; executions that no longer exist are left out."""
    wanted = json.dumps(list(executions))
    found = await world.rows(facts_sql.SITUATIONS(executions=wanted))
    now, draw = world.clock.now_ms(), world.entropy.draw()
    return [_facts(world, row, now, draw) for row in found]


async def same(world: World, execution: int, lease: str | None) -> Facts | None:
    """The facts of an execution that was read before; None if it no longer exists, or if another one has its id now."""
    found = await facts(world, [execution])
    return found[0] if found and found[0].lease == lease else None


def _facts(world: World, row: Row, now_ms: int, draw: float) -> Facts:
    account = world.accounts.get(optional_text(row, "profile") or "")
    provider = world.providers.get(optional_text(row, "provider") or "")
    if account is not None and provider is not None and account.profile.provider == provider.name:
        provider = world.adapters[account.name]
    try:
        plan = read_plan(row)
    except BadInput:
        plan = None  # the template was changed or deleted under a running task: a paid answer still counts
    stage, reason = integer(row, "execution_stage"), optional_text(row, "execution_reason")
    execution = ExecutionView(
        id=integer(row, "id"),
        state=ExecutionState(str(row["state"])),
        stage=stage,
        started_ms=integer(row, "started_ms"),
        newest=row["newest"] == row["id"],
        resolve_by_ms=optional_integer(row, "resolve_by_ms"),
        passed=bool(row["passed"]),
        accepted=row["external_id"] is not None,
        asked=was_asked(reason),
        cause=cause_in(reason),
        **_traits(row, provider),
    )
    route = plan.route if plan else _blind_route(stage, gone=row["template"] is None)
    limits = plan.limits if plan else Limits()
    return Facts(
        row, Situation(_task_view(row), execution, route, limits, now_ms, draw), plan, account, provider
    )


def _traits(row: Row, provider: Provider | None) -> Traits:
    """The traits of an execution.  A call is not repeated under its key with values that cannot be read."""
    known = traits(provider, has_job=row["external_id"] is not None)
    if bad_column(row, CALL_TEXTS, ()) is not None or not has_input(row):
        known["repeatable"] = False
    return known


class Traits(TypedDict):
    """What an execution's provider adds to the view of it."""

    person: bool
    repeatable: bool
    evidence: bool


def traits(provider: Provider | None, *, has_job: bool) -> Traits:
    """The traits of an execution of this provider; None: the deployment no longer knows it.

    `has_job`: the provider gave its own id, so that it can be polled."""
    if provider is None:
        return Traits(person=False, repeatable=False, evidence=False)
    abilities = provider.abilities
    return Traits(
        person=provider.kind == "human",
        repeatable=abilities.honours_key,
        evidence=abilities.evidence or (abilities.poll and has_job),
    )


def _blind_route(stage: int, *, gone: bool) -> Route:
    """A route that ends at this stage if the template is gone.

    A template that cannot be read may be corrected, and a review may follow.  So after an answer the task goes on, and
    is blocked (`no_route`) until then."""
    blind = Stage(kind="ai", candidates=(Candidate(profile="unknown"),))
    return Route.model_construct(stages=(blind,) * (stage + (1 if gone else 2)))


def _task_view(row: Row) -> TaskView | None:
    if row["present"] is None:
        return None
    return TaskView(
        id=integer(row, "task_id"),
        version=integer(row, "version"),
        state=TaskState(str(row["status"])),
        position=position(row),
        deadline_ms=optional_integer(row, "deadline_ms"),
        held=False,
    )
