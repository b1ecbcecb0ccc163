"""Attending to open executions whose time has come, and to the outbox: everything that calls outside but a submit.

The claim moved each execution's time on, which is its lease: a worker that dies here is followed by another.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from consumer.core import policy
from consumer.core.decide import ASKED, asks
from consumer.core.errors import BadInput
from consumer.core.lifecycle import EXECUTION_FINAL, ExecutionState
from consumer.core.outcome import Accepted, Failed, Outcome, Succeeded, Unknown
from consumer.core.template import Candidate
from consumer.execution import publish
from consumer.execution.call import build_call, first_step, judge, perform
from consumer.execution.facts import Facts, facts
from consumer.execution.inputs import fed, task_input
from consumer.execution.late import keep
from consumer.execution.settle import Verdict
from consumer.execution.settle import settle_without_lease as settle
from consumer.ports import PortError, Unavailable
from consumer.provider import Verb
from consumer.store import follow_up as follow_up_sql
from consumer.store import publish as publish_sql
from consumer.store import webhooks
from consumer.store.batch import commit
from consumer.store.sql import integer, optional_integer, optional_text, text
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumer.core.template import Plan
    from consumer.ports import Row, Statement, Value
    from consumer.provider import Call
    from consumer.world import World

CANCELLED: Final = "cancelled"
UNKNOWN_OUTCOME: Final = "unknown_outcome"
MOST_LOOKS: Final = policy.LOST_LEASES
"""After so many looks of which nothing came, not even a failure, only its time is waited for."""
LAST_LOOK: Final = 15 * policy.MINUTE
"""How long after its time an execution is still asked about: a look that kills its worker must not be the end of it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a call needs of the task that an open execution belongs to."""

    title: str
    description: str
    assigned_to: int | None
    value: Any
    fed: Any
    feedback: str | None


async def publish_outbox(world: World, token: str, tasks: Sequence[int]) -> None:
    """Publish what somebody without a lease has changed; a row stays until its status is written."""
    done = await publish.republish(world, tasks)
    written = json.dumps([{"t": task, "v": version} for task, version in done.items()])
    due = world.clock.now_ms() + publish.REPAIR_AFTER_MS
    batch = [publish_sql.DONE_OUTBOX(rows=written, token=token), publish_sql.OVERTAKEN(rows=written, due=due)]
    await commit(world.database, world.entropy, batch)


def give_back(executions: Iterable[int], now_ms: int) -> Statement:
    """Executions that were taken, and not looked at."""
    return follow_up_sql.GIVE_BACK(executions=json.dumps(list(executions)), now=now_ms)


async def with_unhandled_webhooks(world: World, tasks: Sequence[int]) -> list[int]:
    """The executions of these tasks that were ended while a webhook told of them: `attend` hears it."""
    statement = webhooks.UNHANDLED_OF_TASKS(tasks=json.dumps(tasks))
    found = await world.rows(statement)
    if silent := set(tasks) - {integer(row, "task_id") for row in found}:
        await world.write(webhooks.UNQUEUE(tasks=json.dumps(sorted(silent))))
    return [integer(row, "id") for row in found]


async def follow_up(world: World, execution: int) -> None:
    """Bring one open execution a step further: by what a webhook told, by asking, by cancelling, by its time."""
    found = await facts(world, [execution])
    if not found:
        return
    fact = found[0]
    if fact.situation.execution.state in EXECUTION_FINAL:  # what was told of it while it was being ended
        await _late(world, fact)
        await world.write(webhooks.UNQUEUE(tasks=json.dumps([fact.task_id])))
        return
    if integer(fact.row, "follow_ups") > MOST_LOOKS:  # it may be what kills its workers
        if _expires(fact) or fact.situation.execution.resolve_by_ms is None:
            over = _over(fact)
            await settle(world, fact, over, bound=_is_bound(over))
            await late(world, execution)  # what was told of it, now that nobody has to look at it again
        return
    try:
        call = await _call(world, fact)
    except PortError:
        await _survived(world, execution)
        raise
    told = await _unhandled(world, fact)
    call, outcome = _heard(fact, call, told)
    if outcome is None or (isinstance(outcome, Accepted | Unknown) and _expires(fact)):
        outcome = await _ask(world, fact, call)
    if outcome is None:
        await _survived(world, execution)
        return
    await _settle(world, fact, _judged(fact, outcome), told if call is not None else ())


async def handle_webhooks(world: World, executions: Iterable[int]) -> None:
    """What was told of executions while they were being ended; what cannot be read now is in the outbox."""
    for execution in executions:
        with suppress(PortError):
            await follow_up(world, execution)


async def _settle(world: World, fact: Facts, outcome: Outcome, told: Sequence[Row]) -> None:
    """Settle, with the events that told of it.  Without a call nobody could read them: they stay for better times."""
    execution = fact.situation.execution.id
    also = [webhooks.HANDLED_AT_END(**_names(world, told), execution=execution)] if told else []
    ending = await settle(world, fact, outcome, bound=_is_bound(outcome), also=also)
    if ending.verdict is Verdict.LATE and not _is_bound(outcome):
        await keep(world, execution, outcome)
    if told and ending.verdict is not Verdict.STALE:
        await _handled(world, told)
    if ending.unhandled:
        await handle_webhooks(world, [execution])


def _heard(fact: Facts, call: Call | None, told: Sequence[Row]) -> tuple[Call | None, Outcome | None]:
    """What the events say together; the job that they name, where nobody had told its name yet."""
    named = next((name for one in told if (name := optional_text(one, "external_id"))), None)
    if call is not None and call.external_id is None:
        call = replace(call, external_id=named)
    outcome = _together([_told(fact, call, text(webhook, "body")) for webhook in told])
    if isinstance(outcome, Accepted) and outcome.external_id is None:
        outcome = replace(outcome, external_id=named)
    return call, outcome


async def _survived(world: World, execution: int) -> None:
    """Nothing came of a look, but its worker lives: only those that died of it count."""
    await commit(
        world.database, world.entropy, [follow_up_sql.RESET_FOLLOW_UPS(executions=json.dumps([execution]))]
    )


async def receive(  # an event has this many names
    world: World, profile: str, execution: int | None, event: str, external: str | None, body: str
) -> int:
    """Keep a verified webhook, once, and wake its execution in the same batch; how many were woken.

    One that comes after its execution has ended is handled at once: nobody will attend to it again.
    Raises `Unavailable` when it cannot be read just now: it is kept, and its sender will try again."""
    names: dict[str, Value] = {"profile": profile, "execution": execution, "external": external}
    batch = [
        webhooks.RECEIVE(**names, event=event, now=world.clock.now_ms(), body=body),
        webhooks.WAKE(**names, event=event),
    ]
    _, woken = await commit(world.database, world.entropy, batch)
    if not woken.rows and execution is None and external is not None:
        named = webhooks.EXECUTION_NAMED(profile=profile, external=external)
        execution = next((integer(row, "id") for row in await world.rows(named)), None)
    if not woken.rows and execution is not None and not await late(world, execution):
        raise Unavailable("the template or the profile that could read it is not there")
    return len(woken.rows)


async def late(world: World, execution: int) -> bool:
    """What a webhook told of an execution that had ended: its answer where one is still needed, its bill always.

    False when nobody can read it just now."""
    found = await facts(world, [execution])
    if not found or found[0].situation.execution.state not in EXECUTION_FINAL:
        return True
    return await _late(world, found[0])


async def _late(world: World, fact: Facts) -> bool:
    told = await _unhandled(world, fact)
    if not told:
        return True
    call, outcome = _heard(fact, await _call(world, fact), told)
    if call is None or fact.provider is None:
        return False
    if outcome is None and fact.provider.abilities.poll and call.external_id is not None:
        outcome = await _exchange(world, fact, call, Verb.POLL)
    if outcome is not None and not isinstance(outcome, Accepted | Unknown):
        await keep(world, call.execution_id, _judged(fact, outcome))
    await _handled(world, told)
    return True


async def _unhandled(world: World, fact: Facts) -> Sequence[Row]:
    statement = webhooks.UNHANDLED(
        execution=fact.situation.execution.id,
        profile=optional_text(fact.row, "profile"),
        external=optional_text(fact.row, "external_id"),
    )
    return await world.rows(statement)


def _names(world: World, told: Sequence[Row]) -> dict[str, Value]:
    events = json.dumps([webhook["event_id"] for webhook in told])
    return {"now": world.clock.now_ms(), "profile": text(told[0], "profile"), "events": events}


async def _handled(world: World, told: Sequence[Row]) -> None:
    await world.write(webhooks.HANDLED(**_names(world, told)))


async def _call(world: World, fact: Facts) -> Call | None:
    """The call that this execution is; None when the deployment no longer knows it, or its template cannot be read."""
    if fact.plan is None or fact.account is None or fact.provider is None:
        return None
    stage, candidate = integer(fact.row, "execution_stage"), integer(fact.row, "execution_candidate")
    chosen = _as_begun(fact.plan, stage, candidate, fact.account.name)
    now = world.clock.now_ms()
    external = optional_text(fact.row, "external_id")
    execution = fact.situation.execution.id
    try:
        subject = Subject(
            title=text(fact.row, "title"),
            description=text(fact.row, "description"),
            assigned_to=optional_integer(fact.row, "assigned_to"),
            value=task_input(fact.row),
            fed=await fed(world, fact.row),
            feedback=optional_text(fact.row, "feedback"),
        )
        return build_call(
            world,
            fact.plan,
            fact.provider,
            fact.account,
            execution,
            stage,
            candidate,
            chosen,
            subject,
            now,
            external,
        )
    except BadInput:
        return None


def _as_begun(plan: Plan, stage: int, candidate: int, profile: str) -> Candidate:
    """The candidate that an execution is of, whatever became of its route: the one in its place if that is of its
    profile, else another one of its profile, else one without settings."""
    stages = plan.route.stages
    here = stages[stage].candidates if stage < len(stages) else ()
    known = [*here[candidate : candidate + 1], *here, *(each for one in stages for each in one.candidates)]
    return next((each for each in known if each.profile == profile), Candidate(profile=profile))


def _together(said: Sequence[Outcome | None]) -> Outcome | None:
    """What several webhooks say: an answer counts most, then any other end.  They may come in any order."""
    outcomes = [outcome for outcome in said if outcome is not None]
    ended = [outcome for outcome in outcomes if not isinstance(outcome, Accepted | Unknown)]
    answers = [outcome for outcome in ended if isinstance(outcome, Succeeded)]
    return next(iter(answers or ended or outcomes), None)


def _told(fact: Facts, call: Call | None, body: str) -> Outcome | None:
    if call is None or fact.provider is None:
        return None
    try:
        told = fact.provider.read_webhook(call, body.encode())
        return None if told is None else _judged(fact, told)
    except Exception as error:  # noqa: BLE001  # an adapter is a stranger's code
        log().error(Event.ADAPTER_ERROR, provider=fact.provider.name, error=type(error).__name__)
        return None


async def _ask(world: World, fact: Facts, call: Call | None) -> Outcome | None:
    """What is done when nobody told us: None leaves the execution open until its next time."""
    execution = fact.situation.execution
    now = world.clock.now_ms()
    if execution.resolve_by_ms is None and execution.state is ExecutionState.UNKNOWN:
        if fact.provider is not None and not fact.provider.needs_base_url and execution.person:
            return Accepted() if fact.situation.needed else Failed(CANCELLED)  # nothing was sent: it is there
        return Unknown("the worker was lost while the call was in flight")
    if execution.person and not _reachable(fact):
        if not fact.situation.needed:
            return Failed(CANCELLED)
        return Failed("deadline") if _expires(fact) else Accepted()
    if _expires(fact):
        return await _expired(world, fact, call, now)
    if call is None:
        return None
    if not fact.situation.needed and fact.provider is not None and fact.provider.abilities.cancel:
        outcome = await _exchange(world, fact, call, Verb.CANCEL)
        if isinstance(outcome, Failed | Succeeded):
            return outcome
    return await _look(world, fact, call, now)


def _reachable(fact: Facts) -> bool:
    """Whether there is anybody outside to ask."""
    return fact.provider is not None and (fact.provider.abilities.poll or fact.provider.abilities.evidence)


async def _look(world: World, fact: Facts, call: Call, now: int) -> Outcome | None:
    """Ask the provider what became of it, or send it again under its key."""
    assert fact.provider is not None  # noqa: S101  # there is a call, so there is a provider
    abilities, waiting = fact.provider.abilities, fact.situation.execution.state is ExecutionState.WAITING
    if abilities.poll and (waiting or call.external_id is not None):
        outcome = await _exchange(world, fact, call, Verb.POLL)
        return _again(fact, now) if isinstance(outcome, Unknown) else _paced(fact, outcome, now)
    if waiting:
        return _again(fact, now)
    if abilities.lookup:
        return await _exchange(world, fact, call, Verb.LOOKUP)
    # Else it might be done now for nobody, or after all spending was stopped.
    if abilities.honours_key and fact.situation.current and not fact.row["stopped"]:
        outcome = await _exchange(world, fact, call, Verb.SUBMIT)
        if isinstance(outcome, Succeeded | Accepted):
            return outcome
        return Unknown(
            "repeated under its key without an answer"
        )  # a refusal now says nothing of the first time
    return Unknown("no evidence yet")


async def _exchange(world: World, fact: Facts, call: Call, verb: Verb) -> Outcome:
    assert fact.provider is not None  # noqa: S101  # there is a call, so there is a provider
    return await perform(world, fact.provider, call, verb, first_step(fact.provider, call, verb))


async def _expired(world: World, fact: Facts, call: Call | None, now: int) -> Outcome:
    """Its time is over: a job in doubt from now on; a doubt that nothing will resolve."""
    if fact.situation.execution.state is ExecutionState.UNKNOWN:
        last: Outcome = Unknown("")
        if call is not None and now < (fact.situation.execution.resolve_by_ms or 0) + LAST_LOOK:
            last = _judged(fact, await _look(world, fact, call, now) or last)
        if not isinstance(last, Unknown):
            return last
        return _over(fact)
    if call is not None and fact.provider is not None and fact.provider.abilities.cancel:
        outcome = await _exchange(world, fact, call, Verb.CANCEL)
        if isinstance(outcome, Succeeded):
            return outcome
        if isinstance(outcome, Failed):
            return replace(outcome, why="deadline")
    return Unknown("deadline")


def _over(fact: Facts) -> Outcome:
    """Its time is over, and nobody could tell."""
    execution = fact.situation.execution
    if execution.resolve_by_ms is None:
        return Unknown("worker_lost")
    if execution.state is not ExecutionState.UNKNOWN:
        return Unknown("deadline")
    return Unknown(ASKED, asked=True) if asks(fact.situation) else Failed(UNKNOWN_OUTCOME)


def _is_bound(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.why == UNKNOWN_OUTCOME


def _again(fact: Facts, now: int) -> Outcome:
    """Still waiting: the same state, later."""
    if fact.situation.execution.state is ExecutionState.UNKNOWN:
        return Unknown("no evidence yet")
    return _paced(fact, Accepted(), now)


def _paced(fact: Facts, outcome: Outcome, now: int) -> Outcome:
    """A job that goes on is asked about more rarely as it grows older, unless the provider said when."""
    if isinstance(outcome, Accepted) and outcome.check_after_ms is None:
        age = max(0, now - fact.situation.execution.started_ms)
        return replace(outcome, check_after_ms=policy.poll_delay(age, fact.situation.draw))
    return outcome


def _judged(fact: Facts, outcome: Outcome) -> Outcome:
    if isinstance(outcome, Accepted) and _overdue(fact):
        return Unknown("deadline")
    return judge(fact.plan, outcome) if fact.plan is not None else outcome


def _expires(fact: Facts) -> bool:
    resolve_by = fact.situation.execution.resolve_by_ms
    return resolve_by is not None and fact.situation.now_ms >= resolve_by


def _overdue(fact: Facts) -> bool:
    """In doubt since its deadline: that it is still being worked on is no reason to wait for ever."""
    execution, limits = fact.situation.execution, fact.situation.limits
    patience = (limits.person_s if execution.person else limits.job_s) * policy.SECOND
    over = fact.situation.now_ms >= execution.started_ms + patience
    return over and execution.state is ExecutionState.UNKNOWN
