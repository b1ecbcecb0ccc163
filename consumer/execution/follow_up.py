"""Following up open executions whose wake time has come, and publishing from the outbox.

`core/follow_up.py` decides; this module carries out the action and settles its outcome.  The claim moved each
execution's wake time on by the length of a lease: if a worker dies here, another one follows up later.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from consumer.core.follow_up import Action, Ask, Nothing, Settle, View, after, given_up, next_action
from consumer.core.lifecycle import EXECUTION_FINAL
from consumer.core.outcome import Accepted, Unknown
from consumer.execution import publish, webhooks
from consumer.execution.facts import Facts, facts
from consumer.execution.late import handle_late_outcome
from consumer.execution.rebuild import call_of, exchange
from consumer.execution.settle import Verdict, settle_without_lease
from consumer.ports import PortError
from consumer.provider import Verb
from consumer.store import follow_up as sql
from consumer.store import publish as publish_sql
from consumer.store import webhooks as webhooks_sql
from consumer.store.sql import integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from consumer.ports import Row, Statement
    from consumer.provider import Call
    from consumer.world import World

VERBS: Final = {
    Ask.POLL: Verb.POLL,
    Ask.LOOKUP: Verb.LOOKUP,
    Ask.CANCEL: Verb.CANCEL,
    Ask.REPEAT: Verb.SUBMIT,
}
"""The request that an adapter makes for each action; a repeat is the same submission under the same key."""


async def publish_outbox(world: World, token: str, tasks: Sequence[int]) -> None:
    """Publish tasks that a process without a lease has changed.  A row stays until its status is written."""
    done = await publish.republish(world, tasks)
    written = json.dumps([{"task": task, "version": version} for task, version in done.items()])
    due = world.clock.now_ms() + publish.REPAIR_AFTER_MS
    await world.write(
        publish_sql.DONE_OUTBOX(rows=written, token=token), publish_sql.OVERTAKEN(rows=written, due=due)
    )


def give_back(executions: Iterable[int], now_ms: int) -> Statement:
    """A statement that gives back executions that were claimed and not followed up."""
    return sql.GIVE_BACK(executions=json.dumps(list(executions)), now=now_ms)


async def with_unhandled_webhooks(world: World, tasks: Sequence[int]) -> list[int]:
    """The ended executions of these tasks that have unhandled webhooks.  Tasks without any leave the outbox."""
    found = await world.rows(webhooks_sql.UNHANDLED_OF_TASKS(tasks=json.dumps(tasks)))
    if handled := set(tasks) - {integer(row, "task_id") for row in found}:
        await world.write(webhooks_sql.UNQUEUE(tasks=json.dumps(sorted(handled))))
    return [integer(row, "id") for row in found]


async def handle_webhooks(world: World, executions: Iterable[int]) -> None:
    """Handle webhooks that came while their executions were being settled.  The outbox keeps what fails here."""
    for execution in executions:
        with suppress(PortError):
            await follow_up(world, execution)


def always() -> bool:
    """Whether a request may still be sent: yes."""
    return True


async def follow_up(world: World, execution: int, may_ask: Callable[[], bool] = always) -> None:
    """Bring one open execution a step further: by its webhooks, else by the next action.  Raises PortError.

    `may_ask`: whether there is still time for a request to the provider."""
    found = await facts(world, [execution])
    if not found:
        return
    (fact,) = found
    if fact.situation.execution.state in EXECUTION_FINAL:
        if await webhooks.handle_ended(world, fact):  # otherwise the outbox keeps them until they can be read
            await world.write(webhooks_sql.UNQUEUE(tasks=json.dumps([fact.task_id])))
        return
    last = given_up(view_of(fact, None))
    if isinstance(last, Settle):
        await settle_without_lease(world, fact, last.outcome, bound=last.bound)
        await webhooks.handle_late(world, execution)  # from now on no worker has to follow it up
    if last is None:
        await _follow_up(world, fact, may_ask)


async def _follow_up(world: World, fact: Facts, may_ask: Callable[[], bool]) -> None:
    execution = fact.situation.execution.id
    try:
        call = await call_of(world, fact)
    except PortError:
        await _reset_counter(world, execution)
        raise
    events = await webhooks.unhandled(world, fact)
    call, outcome = webhooks.read(fact, call, events)
    view = view_of(fact, call)
    if outcome is None or (isinstance(outcome, Accepted | Unknown) and view.expired):
        action = await _act(world, fact, call, view, may_ask)
    else:
        action = Settle(outcome)
    if isinstance(action, Settle):
        # Without a call the webhooks could not be read; they stay unhandled, so that they can be read later.
        await _settle(world, fact, action, events if call is not None else ())
    else:
        await _reset_counter(world, execution)


async def _act(
    world: World, fact: Facts, call: Call | None, view: View, may_ask: Callable[[], bool]
) -> Action:
    """Carry out the next action, and what follows from its reply, until there is something to settle."""
    action = next_action(view)
    while isinstance(action, Ask) and call is not None:
        if not may_ask():
            return Nothing()
        action = after(view, action, await exchange(world, fact, call, VERBS[action]))
    return action


async def _settle(world: World, fact: Facts, action: Settle, events: Sequence[Row]) -> None:
    """Settle, and mark the webhooks that brought the outcome as handled."""
    execution = fact.situation.execution.id
    outcome = webhooks.judged(fact, action.outcome)
    also = (
        [webhooks_sql.HANDLED_AT_END(**webhooks.names(world, events), execution=execution)] if events else []
    )
    ending = await settle_without_lease(world, fact, outcome, bound=action.bound, also=also)
    if ending.verdict is Verdict.OVERTAKEN and not action.bound:
        await handle_late_outcome(world, execution, fact.lease, outcome)
    if events and ending.verdict is not Verdict.STALE:
        await webhooks.mark_handled(world, events)
    if ending.unhandled:
        await handle_webhooks(world, [execution])


def view_of(fact: Facts, call: Call | None) -> View:
    """What the choice of an action depends on.  `call` is None when it cannot be rebuilt."""
    follow_ups, stopped = integer(fact.row, "follow_ups"), bool(fact.row["stopped"])
    if fact.provider is None:
        return View(fact.situation, follow_ups, callable=False, stopped=stopped)
    abilities = fact.provider.abilities
    return View(
        fact.situation,
        follow_ups,
        callable=call is not None,
        has_job=call is not None and call.external_id is not None,
        poll=abilities.poll,
        lookup=abilities.lookup,
        cancel=abilities.cancel,
        reachable=abilities.poll or abilities.evidence,
        local=not fact.provider.needs_base_url,
        stopped=stopped,
    )


async def _reset_counter(world: World, execution: int) -> None:
    """The counter counts only follow-ups that killed their worker, and this one did not."""
    await world.write(sql.RESET_FOLLOW_UPS(executions=json.dumps([execution])))
