"""Outcomes that come for an execution that has ended: use the answer if the task still needs one, else keep it.

The cost is recorded in both cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.core.errors import BadInput
from consumer.core.lifecycle import ExecutionState
from consumer.core.outcome import Invalid, Outcome, Succeeded
from consumer.core.strictjson import dump_json
from consumer.execution.facts import Facts, same
from consumer.execution.settle import (
    MAX_SETTLE_ATTEMPTS,
    Stored,
    Verdict,
    announce,
    ended_by,
    place_result,
    publisher_of,
    rebill,
    rebilling,
    report_overrun,
    settle,
    settle_without_lease,
    store_result,
)
from consumer.execution.settlement import Elsewhere, Ended, SettleRow, cost, decide_and_price
from consumer.ports import Refused
from consumer.store import settle as sql
from consumer.store.sql import integer
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from consumer.world import World


async def handle_late_outcome(world: World, execution: int, lease: str | None, outcome: Outcome) -> None:
    """Handle an outcome for an execution that already ended.

    Its answer is used if the task still needs one, and else kept with the execution.  Its cost is always recorded.
    Raises `Unavailable`."""
    for _ in range(MAX_SETTLE_ATTEMPTS):
        fact = await same(world, execution, lease)
        if fact is None:
            return
        unanswered = fact.situation.execution.state in (ExecutionState.FAILED, ExecutionState.CANCELLED)
        try:
            usable = isinstance(outcome, Succeeded) and unanswered and fact.situation.needed
            if usable and await use_late_answer(world, fact, outcome):
                return
        except Refused as error:  # no row can hold the answer
            log().error(Event.UNSTORABLE, execution=execution, error=str(error)[:200])
            usable = False
        if not usable:
            await rebill(world, ended_by(world, fact, outcome))
            if unanswered:
                await keep_unused(world, execution, outcome)
            return
    gave_up = f"gave up after {MAX_SETTLE_ATTEMPTS} concurrent changes of the task"
    log().error(Event.UNSTORABLE, execution=execution, error=gave_up)


async def overtaken(world: World, ended: Ended, verdict: Verdict) -> None:
    """Another writer moved the task or ended the execution: judge again with fresh facts, keep the cost."""
    if verdict is Verdict.STALE:
        found = await same(world, ended.execution.id, ended.lease)
        if found is None:
            return
        verdict = (await settle_without_lease(world, found, ended.outcome)).verdict
    if verdict is Verdict.OVERTAKEN:
        await handle_late_outcome(world, ended.execution.id, ended.lease, ended.outcome)


async def keep_unused(world: World, execution: int, outcome: Outcome) -> None:
    """Keep a paid answer that its task does not need any more, or that does not fit, with its execution."""
    if not isinstance(outcome, Succeeded | Invalid) or outcome.output is None:
        return
    try:
        result, key = await place_result(world, execution, dump_json(outcome.output))
        await world.write(sql.KEEP_UNUSED(execution=execution, result=result, key=key))
    except (BadInput, TypeError, ValueError, Refused) as error:  # no row can hold it
        log().error(Event.UNSTORABLE, execution=execution, error=str(error)[:200])


async def use_late_answer(world: World, fact: Facts, outcome: Outcome) -> bool:
    """Use an answer whose execution has ended without one.

    One batch inserts an execution of its own for the answer, and settles it.  The cost goes to the execution that
    ended, which was charged its bound or nothing so far.  False when the task no longer waits at that stage."""
    late, task = fact.situation.execution, fact.situation.task
    if task is None:
        return False
    billed = ended_by(world, fact, outcome)
    new = integer(fact.row, "newest") + 1
    view = late._replace(id=new, state=ExecutionState.UNKNOWN, newest=False)
    answer = billed._replace(situation=fact.situation._replace(execution=view), bill=Elsewhere(), lease=None)
    stored = await store_result(world, decide_and_price(answer))
    row: SettleRow = {**stored.row, "late_of": late.id}
    publisher = publisher_of(world)
    batch = world.batch()
    batch.add(sql.INSERT_LATE_ANSWER(execution=new, late=late.id, version=task.version))
    settling = settle(batch, [Stored(stored.settlement, row)], fact.situation.now_ms, publisher)
    batch.add(*rebilling(billed))
    settled = settling.read(await batch.commit())
    if settled.verdicts[new] is not Verdict.MINE:
        return False
    report_overrun(billed, cost(billed))
    await announce(world, stored.settlement, publisher)
    return True
