"""Settling one execution without a lease: for webhooks, forms and attention.

The same batch as a run's, with its follow-ups: the status is published by the outbox too, and what is due is rung for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from consumer.core.lifecycle import EXECUTION_FINAL, ExecutionState, TaskState
from consumer.core.outcome import Succeeded
from consumer.execution import doorbells, publish
from consumer.execution.facts import Facts, facts
from consumer.execution.settle import (
    MAX_SETTLE_ATTEMPTS,
    Ended,
    Verdict,
    bill,
    rebill,
    report,
    row,
    statements,
    told_early,
    told_meanwhile,
    verdicts,
)
from consumer.ports import Refused
from consumer.store import settle as settle_sql
from consumer.store.batch import commit
from consumer.store.sql import integer, optional_integer, optional_text
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.core.decide import Decision
    from consumer.core.outcome import Outcome
    from consumer.ports import Statement
    from consumer.world import World


def ended_by(fact: Facts, outcome: Outcome, *, bound: bool = False) -> Ended:
    """The same execution, with an outcome.  While it is open its cost is what its provider said so far."""
    is_open = fact.situation.execution.state not in EXECUTION_FINAL
    return Ended(
        fact.situation,
        outcome,
        fact.account,
        optional_integer(fact.row, "organization_id"),
        optional_text(fact.row, "profile"),
        integer(fact.row, "reserved_micro"),
        has_budget=fact.row["budgets"] is not None,
        bound=bound,
        charged_micro=optional_integer(fact.row, "cost_micro") if is_open else None,
    )


async def settle(
    world: World, fact: Facts, outcome: Outcome, *, bound: bool = False, also: Sequence[Statement] = ()
) -> tuple[Verdict, Ended]:
    """Settle one execution without a lease, following a moved fence; publish, and ring for what is due."""
    ended = ended_by(fact, outcome, bound=bound)
    verdict: Verdict = Verdict.STALE
    publisher = world.entropy.token()
    for _ in range(MAX_SETTLE_ATTEMPTS):
        if fact.situation.execution.state in EXECUTION_FINAL:
            verdict = Verdict.LATE
            break
        verdict = await _write(world, ended, fact.task_id, publisher, also)
        if verdict is not Verdict.STALE:
            break
        fresh = await facts(world, [ended.execution.id])
        if not fresh:
            verdict = Verdict.LATE
            break
        fact = fresh[0]
        ended = ended_by(fact, ended.outcome, bound=bound)
    if verdict is Verdict.LATE and not bound:  # a bound is no bill: whoever came first knew better
        await rebill(world, ended)
    if verdict is Verdict.MINE:
        report(ended)
        if ended.decision.task is not None:
            await _tell(world, fact.task_id, publisher, ended.decision)
        elif ended.cost.micro:  # readers of a task that had ended see what it cost in the end
            await publish.cost_changed(world, fact.task_id)
    return verdict, ended


async def keep(world: World, execution: int, outcome: Outcome) -> None:
    """What comes for an execution that has ended: its answer where one is still needed, its bill always."""
    for _ in range(MAX_SETTLE_ATTEMPTS):
        found = await facts(world, [execution])
        if not found:
            return
        (fact,) = found
        unanswered = fact.situation.execution.state in (ExecutionState.FAILED, ExecutionState.CANCELLED)
        if not (isinstance(outcome, Succeeded) and unanswered and fact.situation.needed):
            await rebill(world, ended_by(fact, outcome))
            return
        if await use_late_answer(world, fact, outcome):
            return
    log().error(Event.UNSTORABLE, execution=execution, error="its task never stood still")


async def use_late_answer(world: World, fact: Facts, outcome: Outcome) -> bool:
    """Use an answer whose execution has ended without one: as an execution of its own, in the same batch.  What it
    cost is billed to the one that ended, which was charged its bound or nothing until now.

    False when the task no longer waits at that stage."""
    late, task = fact.situation.execution, fact.situation.task
    if task is None:
        return False
    new = integer(fact.row, "newest") + 1
    insert = settle_sql.INSERT_LATE_ANSWER(execution=new, late=late.id, version=task.version)
    view = replace(late, id=new, state=ExecutionState.UNKNOWN, newest=False)
    ended = ended_by(fact, outcome)
    cost = bill(ended)
    ended.billed_elsewhere = True
    ended.situation = replace(fact.situation, execution=view)
    group = [await row(world, ended, fact.task_id) | {"late": late.id}]
    publisher = world.entropy.token()
    batch = [insert, *statements(group, ended.situation.now_ms, publisher), *cost]
    results = await commit(world.database, world.entropy, batch)
    if verdicts(group, results)[new][0] is not Verdict.MINE:
        return False
    report(ended)
    await _tell(world, fact.task_id, publisher, ended.decision)
    return True


async def _write(
    world: World, ended: Ended, task_id: int, publisher: str, also: Sequence[Statement]
) -> Verdict:
    """One batch for one execution; an answer that no row can hold becomes a failure that keeps its cost."""
    now = ended.situation.now_ms
    group = [await row(world, ended, task_id)]
    try:
        batch = statements(group, now, publisher, also)
        results = await commit(world.database, world.entropy, batch)
    except Refused as error:
        log().error(Event.UNSTORABLE, execution=ended.execution.id, error=str(error)[:200])
        ended.unstorable()
        group = [await row(world, ended, task_id)]
        batch = statements(group, now, publisher, also)
        results = await commit(world.database, world.entropy, batch)
    if told_early(results):
        await doorbells.ring(world)
    ended.told_meanwhile = task_id in told_meanwhile(results)
    return verdicts(group, results)[ended.execution.id][0]


async def _tell(world: World, task_id: int, publisher: str, decision: Decision) -> None:
    """The status store and the queue; both are repaired by the sweep when this fails."""
    await publish.republish(world, [task_id])
    await publish.check_later(world, task_id, publisher)
    move = decision.task
    if move is not None and move.state is TaskState.PENDING:
        await doorbells.ring_at(world, move.run_at_ms)
