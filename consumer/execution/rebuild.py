"""Rebuilding the call of an execution that began earlier, from its facts, and sending one more request for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from consumer.core.errors import BadInput
from consumer.core.template import Candidate
from consumer.execution.call import Attempt, build_call, first_step, perform
from consumer.execution.inputs import known_input, previous_result, refused_answer
from consumer.store.sql import integer, known_integer, optional_text, text

if TYPE_CHECKING:
    from consumer.core.outcome import Outcome
    from consumer.core.template import Plan
    from consumer.execution.facts import Facts
    from consumer.provider import Call, Verb
    from consumer.world import World


class RebuiltTask(NamedTuple):
    """The parts of a task that a call needs."""

    title: str
    description: str
    assigned_to: int | None
    deadline_ms: int | None
    value: Any
    previous: Any
    feedback: str | None
    refused: Any
    repairs: int


async def call_of(world: World, fact: Facts) -> Call | None:
    """The call of an execution.

    None when the deployment no longer knows its profile, or its template can no longer be read.  Raises PortError."""
    if fact.plan is None or fact.account is None or fact.provider is None:
        return None
    stage, candidate = integer(fact.row, "execution_stage"), integer(fact.row, "execution_candidate")
    attempt = Attempt(
        execution=fact.situation.execution.id,
        identity=text(fact.row, "identity"),
        lease=text(fact.row, "lease"),
        started_ms=fact.situation.execution.started_ms,
        stage=stage,
        candidate=candidate,
        number=integer(fact.row, "execution_attempt"),
        chosen=_as_begun(fact.plan, stage, candidate, fact.account.name),
        provider=fact.provider,
        account=fact.account,
        external_id=optional_text(fact.row, "external_id"),
    )
    now = world.clock.now_ms()
    try:
        subject = RebuiltTask(
            title=text(fact.row, "title"),
            description=text(fact.row, "description"),
            assigned_to=known_integer(fact.row, "assigned_to"),
            deadline_ms=known_integer(fact.row, "deadline_ms"),
            value=known_input(fact.row),
            previous=await previous_result(world, fact.row),
            feedback=optional_text(fact.row, "feedback"),
            refused=refused_answer(fact.row),
            repairs=known_integer(fact.row, "repairs") or 0,
        )
        return build_call(world, fact.plan, attempt, subject, now, begun=True)
    except BadInput:
        return None


async def exchange(world: World, fact: Facts, call: Call, verb: Verb) -> Outcome:
    """Send one request about an execution whose call could be rebuilt, and read its outcome."""
    assert fact.provider is not None  # noqa: S101  # a call was rebuilt, so its provider is known
    return await perform(world, fact.provider, call, verb, first_step(fact.provider, call, verb))


def _as_begun(plan: Plan, stage: int, candidate: int, profile: str) -> Candidate:
    """The candidate of an execution, although its route may have changed since.

    The candidate at its place counts if it has the same profile, else any other candidate with this profile, else one
    without settings."""
    stages = plan.route.stages
    here = stages[stage].candidates if stage < len(stages) else ()
    known = [*here[candidate : candidate + 1], *here, *(each for step in stages for each in step.candidates)]
    return next((each for each in known if each.profile == profile), Candidate(profile=profile))
