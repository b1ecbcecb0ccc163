"""Webhooks: keep a verified one, wake its execution, and read what the unhandled ones of an execution mean together.

A webhook may come before its acceptance was written, twice, out of order, or after its execution has ended.  It is kept
before it is answered, so that each of these has one effect.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.core.follow_up import in_time
from consumer.core.lifecycle import EXECUTION_FINAL
from consumer.core.outcome import Accepted, Outcome, Succeeded, Unknown
from consumer.execution import large
from consumer.execution.call import judge
from consumer.execution.facts import Facts, facts
from consumer.execution.late import handle_late_outcome
from consumer.execution.rebuild import call_of, exchange
from consumer.execution.secrets import without_secrets
from consumer.ports import Unavailable
from consumer.provider import Verb
from consumer.store import webhooks as sql
from consumer.store.sql import integer, mark_of, optional_text, text
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Row, Value
    from consumer.provider import Call
    from consumer.world import World

INLINE_BODY_MAX: Final = 250_000
"""Characters of a webhook's body that its row keeps: at most a megabyte in UTF-8.  A longer one goes to the blobs."""


class Named(NamedTuple):
    """The execution in a callback address, with the mark that tells it from an earlier one with the same id."""

    execution: int
    mark: str


async def receive(  # an event has this many names
    world: World, profile: str, execution: int | None, event: str, external: str | None, body: str
) -> int:
    """Keep a verified webhook once and wake its execution, in one batch.  Returns how many executions were woken.

    A webhook for an execution that has ended is handled immediately, because no worker follows that one up again.
    Raises `Unavailable` when the webhook cannot be read at the moment: it is kept, and its sender will try again."""
    names: dict[str, Value] = {"profile": profile, "execution": execution, "external": external}
    kept, key = body, None
    if len(body) > INLINE_BODY_MAX:
        kept, key = "", f"webhooks/{hashlib.sha256(body.encode()).hexdigest()}"
        await large.keep(world, key, body)
    batch = world.batch()
    batch.add(sql.RECEIVE(**names, event=event, now=world.clock.now_ms(), body=kept, body_key=key))
    waking = batch.add(sql.WAKE(**names, event=event))
    woken = (await batch.commit()).rows(waking)
    if not woken and execution is None and external is not None:
        found = await world.rows(sql.EXECUTION_NAMED(profile=profile, external=external))
        execution = integer(found[0], "id") if found else None
    if not woken and execution is not None and not await handle_late(world, execution):
        raise Unavailable("the template or the profile that could read it is missing")
    return len(woken)


async def present(world: World, named: Named | None, external: str | None) -> tuple[int | None, str | None]:
    """The names by which a webhook may find its execution: ours if the database has that very execution, else the
    provider's.

    After a restore or a deletion, another execution may have the id in the address.  The provider's name may then find
    the execution that continues the job.  If it finds none, the webhook is kept, and the doctor reports it."""
    if named is None:
        return None, external
    found = await world.rows(sql.LEASE_OF(execution=named.execution))
    if found and mark_of(text(found[0], "lease")) == named.mark:
        return named.execution, external
    return None, external or f"forgotten:{named.execution}"


async def handle_late(world: World, execution: int) -> bool:
    """Handle the webhooks of an execution that has ended: use an answer that is still needed, record the cost.

    False when they cannot be read at the moment."""
    found = await facts(world, [execution])
    if not found or found[0].situation.execution.state not in EXECUTION_FINAL:
        return True
    return await handle_ended(world, found[0])


async def handle_ended(world: World, fact: Facts) -> bool:
    """The same with facts that were just read."""
    events = await unhandled(world, fact)
    if not events:
        return True
    call, outcome = read(fact, await call_of(world, fact), events)
    if call is None or fact.provider is None:
        return False
    if outcome is None and fact.provider.abilities.poll and call.external_id is not None:
        outcome = await exchange(world, fact, call, Verb.POLL)
    if outcome is not None and not isinstance(outcome, Accepted | Unknown):
        await handle_late_outcome(world, call.execution_id, fact.lease, judged(fact, outcome))
    await mark_handled(world, events)
    return True


async def unhandled(world: World, fact: Facts) -> Sequence[Row]:
    """The webhooks of an execution that were not handled yet, in the order of their arrival."""
    statement = sql.UNHANDLED(
        execution=fact.situation.execution.id,
        profile=optional_text(fact.row, "profile"),
        external=optional_text(fact.row, "external_id"),
    )
    return [await _with_body(world, row) for row in await world.rows(statement)]


async def _with_body(world: World, event: Row) -> Row:
    """The webhook with its body, which is in the blob store if it is large.  Raises PortError."""
    key = optional_text(event, "body_key")
    if key is None:
        return event
    body = await large.read(world, key)
    return {**event, "body": "" if body is None else body.decode()}


def names(world: World, events: Sequence[Row]) -> dict[str, Value]:
    """The values by which statements name these webhooks, which are all of one profile."""
    ids = json.dumps([event["event_id"] for event in events])
    return {"now": world.clock.now_ms(), "profile": text(events[0], "profile"), "events": ids}


async def mark_handled(world: World, events: Sequence[Row]) -> None:
    """Mark webhooks as handled."""
    await world.write(sql.HANDLED(**names(world, events)))


def read(fact: Facts, call: Call | None, events: Sequence[Row]) -> tuple[Call | None, Outcome | None]:
    """What webhooks mean together.  The call gets the job id that they name, if none was known before."""
    named = next((name for event in events if (name := optional_text(event, "external_id"))), None)
    if call is not None and call.external_id is None:
        call = call._replace(external_id=named)
    outcome = combine([_read_one(fact, call, text(event, "body")) for event in events])
    if isinstance(outcome, Accepted) and outcome.external_id is None:
        outcome = replace(outcome, external_id=named)
    return call, outcome


def combine(outcomes: Sequence[Outcome | None]) -> Outcome | None:
    """The outcome that counts: an answer, else any other end, else a report.  Webhooks may come in any order."""
    known = [outcome for outcome in outcomes if outcome is not None]
    ended = [outcome for outcome in known if not isinstance(outcome, Accepted | Unknown)]
    answers = [outcome for outcome in ended if isinstance(outcome, Succeeded)]
    return next(iter(answers or ended or known), None)


def _read_one(fact: Facts, call: Call | None, body: str) -> Outcome | None:
    if call is None or fact.provider is None:
        return None
    try:
        outcome = fact.provider.read_webhook(call, body.encode())
        return None if outcome is None else judged(fact, without_secrets(call.account, outcome))
    except Exception as error:  # noqa: BLE001  # an adapter may raise anything
        log().error(Event.ADAPTER_ERROR, provider=fact.provider.name, error=type(error).__name__)
        return None


def judged(fact: Facts, outcome: Outcome) -> Outcome:
    """The outcome after the checks of its time and of its template's output schema."""
    outcome = in_time(fact.situation, outcome)
    return judge(fact.plan, outcome) if fact.plan is not None else outcome
