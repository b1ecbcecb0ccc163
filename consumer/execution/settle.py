"""Settling: writing a settlement, in one atomic batch that carries the fence.

`settle` adds a group of settlements to a batch; `Settling.read` says what became of each.  A run settles many calls in
the batch that also begins the next ones.  `settle_without_lease` settles one execution, judges it again when the fence
has moved, and publishes the task.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.core.lifecycle import EXECUTION_FINAL, TASK_FINAL, ExecutionState, TaskState
from consumer.core.outcome import Failed, Invalid, Retry
from consumer.core.policy import WOKEN_FOR
from consumer.core.times import iso
from consumer.execution import doorbells, large, publish
from consumer.execution.facts import Facts, same
from consumer.execution.settlement import (
    Ended,
    Settlement,
    SettleRow,
    bill_for,
    cost,
    decide_and_price,
    is_overrun,
    leaves_room,
    may_have_siblings,
    row_of,
    usage_text,
)
from consumer.ports import PortError, Refused
from consumer.store import settle as sql
from consumer.store import webhooks
from consumer.store.batch import NOTHING, Batch, Handle, Results
from consumer.store.room import WAKE_SETTLED
from consumer.store.sql import chunks, integer, optional_integer, optional_text
from consumer.telemetry import Event, log, reason_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.core.money import Cost
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.ports import Row, Statement, Value
    from consumer.world import World

INLINE_RESULT_MAX: Final = 64_000
"""Bytes of a result that its row keeps; a longer one goes to the blob store, keyed by its execution."""
ROW_RESULT_MAX: Final = 1_500_000
"""Bytes of a result that its row takes while the blob store is away; a longer one is parked in parts."""
WAKE_MOST: Final = 50
"""Tasks that a settle wakes for one budget at most: a few batches.  Their own settles wake the next ones."""
MAX_SETTLE_ATTEMPTS: Final = 5
"""How often a settle follows a moved fence before it leaves the execution to the next worker."""


class Verdict(StrEnum):
    """What became of a settle.  OVERTAKEN: another writer had ended the execution.  STALE: the fence had moved."""

    MINE = "mine"
    OVERTAKEN = "overtaken"
    STALE = "stale"


class Publisher(NamedTuple):
    """A process without a lease that publishes what it settles, and when another process does that in its place."""

    holder: str
    due_ms: int


class Stored(NamedTuple):
    """A settlement whose large result is in the blob store, and the row that the statements read."""

    settlement: Settlement
    row: SettleRow


async def store_result(world: World, settlement: Settlement) -> Stored:
    """Put a large result into the blob store, before anything refers to it."""
    if settlement.refused is not None:
        log().error(Event.UNSTORABLE, execution=settlement.execution, error=settlement.refused)
    result = settlement.result
    if result is None:
        return Stored(settlement, row_of(settlement, None, None))
    return Stored(settlement, row_of(settlement, *await place_result(world, settlement.execution, result)))


async def place_result(world: World, execution: int, result: str) -> tuple[str | None, str | None]:
    """The result as its row keeps it, or the key under which it is stored."""
    data = result.encode()
    if len(data) <= INLINE_RESULT_MAX:
        return result, None
    # The key carries a digest of the content: two answers of one execution never share a key, whichever is used.
    key = f"results/{execution}-{hashlib.sha256(data).hexdigest()[:16]}"
    try:
        await world.within(world.blobs.put(key, data))
    except PortError as error:
        log().error(Event.UNSTORABLE, execution=execution, error=str(error)[:200])
        if len(data) <= ROW_RESULT_MAX:  # the row takes the paid answer, so that it is not lost
            return result, None
        try:
            await large.park(world, key, result)
        except PortError:  # the database is away too, or refuses it: the settle will say so
            return result, None
    return None, key


def stored_in_row(settlement: Settlement) -> Stored:
    """The settlement with its result in its row, however large it is."""
    return Stored(settlement, row_of(settlement, settlement.result, None))


# --- writing a group ----------------------------------------------------------------------------------------------


class Settling(NamedTuple):
    """A group in a batch, and where the batch's results say what became of it."""

    group: Sequence[Stored]
    settled: Handle
    woken: Handle
    unhandled: Handle

    def read(self, results: Results) -> Settled:
        seen = {row["id"]: row for row in results.rows(self.settled)}
        return Settled(
            {stored.row["execution"]: _verdict(stored.row, seen) for stored in self.group},
            seen,
            woken=bool(results.rows(self.woken)),
            unhandled=frozenset(integer(row, "task_id") for row in results.rows(self.unhandled)),
        )


class Settled(NamedTuple):
    """What became of a group, by execution.

    `woken`: a webhook had come before its acceptance was written, or tasks that a budget blocked are due, because the
    group cost less than was reserved for it; the next claim takes them.
    `unhandled`: tasks for which a webhook came while their execution was being settled."""

    verdicts: dict[int, Verdict]
    seen: Mapping[Value, Row]
    woken: bool
    unhandled: frozenset[int]

    def total_micro(self, execution: int) -> object:
        """What the execution's task has cost in total; None if that is unknown."""
        row = self.seen.get(execution)
        return row["total_micro"] if row is not None else None


def settle(
    batch: Batch,
    group: Sequence[Stored],
    now_ms: int,
    publisher: Publisher | None = None,
    also: Sequence[Statement] = (),
) -> Settling:
    """Add a group of settlements to a batch.

    `publisher`: who holds the outbox rows that a caller without a lease needs.  If it dies before it publishes,
    such a row leads another worker to the status.  `also` follows the settle in the same batch."""
    parts = list(chunks(stored.row for stored in group))
    batch.each(sql.SETTLE_EXECUTIONS, parts)
    batch.each(sql.SETTLE_TASKS, parts, at=iso(now_ms))
    settled = batch.each(sql.SETTLED, parts)
    accepted = (
        {"execution": stored.row["execution"], "external_id": stored.row["external_id"]}
        for stored in group
        if stored.row["state"] is ExecutionState.WAITING
    )
    early = batch.each(webhooks.WAKE_FOR_EARLY, chunks(accepted))
    freed = ({"execution": s.row["execution"]} for s in group if leaves_room(s.settlement))
    since = now_ms - WOKEN_FOR
    room = batch.each(WAKE_SETTLED, chunks(freed), now=now_ms, since=since, most=WAKE_MOST)
    batch.each(sql.SETTLE_SIBLINGS, chunks(_fence(s.row) for s in group if may_have_siblings(s.settlement)))
    if publisher is not None:
        moved = (_fence(stored.row) for stored in group if "status" in stored.row)
        # The publisher publishes immediately; its row becomes due only if it dies before that.
        batch.each(sql.SETTLE_OUTBOX, chunks(moved), holder=publisher.holder, due=publisher.due_ms)
    batch.add(*also)
    ended = [
        s.settlement.execution for s in group if s.settlement.ended.calls_back and not s.settlement.is_open
    ]
    unhandled = NOTHING
    if ended:
        unhandled = batch.add(webhooks.QUEUE_UNHANDLED(executions=json.dumps(ended), now=now_ms))
    return Settling(group, settled, Handle(early.first, room.end), unhandled)


def _fence(row: SettleRow) -> dict[str, int]:
    return {"execution": row["execution"], "task": row["task"], "version": row["version"]}


def _verdict(wanted: SettleRow, seen: Mapping[Value, Row]) -> Verdict:
    found = seen.get(wanted["execution"])
    if found is None:
        return Verdict.OVERTAKEN
    moved = "status" not in wanted or (
        found["version"] == wanted["version"] + 1
        and found["last_execution"] == wanted["execution"]
        and found["status"] == wanted["status"]
    )
    if found["state"] == wanted["state"] and moved:
        return Verdict.MINE
    return Verdict.OVERTAKEN if found["state"] in EXECUTION_FINAL else Verdict.STALE


async def settle_alone(
    world: World,
    stored: Stored,
    publisher: Publisher | None = None,
    also: Sequence[Statement] = (),
    *,
    or_fail: bool = True,
) -> tuple[Stored, Settled]:
    """Settle one execution in a batch of its own.

    An answer that the database refuses becomes a failure that keeps its cost, or, without `or_fail`, changes nothing:
    a person can send another one.  Raises Refused when no form is accepted, and `Unavailable`."""
    try:
        return stored, await _write(world, stored, publisher, also)
    except Refused as error:
        if not or_fail:
            raise
        log().error(Event.UNSTORABLE, execution=stored.settlement.execution, error=str(error)[:200])
    stored = await store_result(world, decide_and_price(stored.settlement.ended.unstorable()))
    return stored, await _write(world, stored, publisher, also)


async def _write(
    world: World, stored: Stored, publisher: Publisher | None, also: Sequence[Statement]
) -> Settled:
    batch = world.batch()
    settling = settle(batch, [stored], stored.settlement.ended.situation.now_ms, publisher, also)
    return settling.read(await batch.commit())


# --- one execution without a lease --------------------------------------------------------------------------------


class Ending(NamedTuple):
    """What became of one execution.  `unhandled`: a webhook came for it while it was being settled."""

    verdict: Verdict
    unhandled: bool = False


def ended_by(world: World, fact: Facts, outcome: Outcome, *, bound: bool = False) -> Ended:
    """The execution with this outcome.  `bound`: nothing more will be known, so that the reservation is charged."""
    is_open = fact.situation.execution.state not in EXECUTION_FINAL
    reported_micro = optional_integer(fact.row, "cost_micro") if is_open else None
    return Ended(
        fact.situation,
        outcome,
        bill_for(outcome, reported_micro, bound=bound),
        outcome.usage,
        fact.task_id,
        fact.account,
        optional_integer(fact.row, "organization_id"),
        optional_text(fact.row, "profile"),
        integer(fact.row, "reserved_micro"),
        has_budget=fact.row["budgets"] is not None,
        calls_back=calls_back(world, fact.account),
        lease=fact.lease,
    )


def calls_back(world: World, account: Account | None) -> bool:
    """Whether the account's provider may send webhooks: one that the deployment no longer knows may."""
    provider = None if account is None else world.adapters.get(account.name)
    return provider is None or provider.abilities.webhook


async def settle_without_lease(  # the outcome of one call has this many parts
    world: World,
    fact: Facts,
    outcome: Outcome,
    *,
    bound: bool = False,
    also: Sequence[Statement] = (),
    or_fail: bool = True,
) -> Ending:
    """Settle one execution, following a moved fence; publish its task, and ring for what becomes due.

    `or_fail`: see `settle_alone`.

    Raises `Unavailable`, and Refused when no form of the settlement can be written."""
    publisher = publisher_of(world)
    ended, unhandled = ended_by(world, fact, outcome, bound=bound), False
    for _ in range(MAX_SETTLE_ATTEMPTS):
        if ended.execution.state in EXECUTION_FINAL:
            break
        stored = await store_result(world, decide_and_price(ended))
        stored, settled = await settle_alone(world, stored, publisher, also, or_fail=or_fail)
        if settled.woken:
            await doorbells.ring(world)
        verdict = settled.verdicts[ended.execution.id]
        unhandled = ended.task_id in settled.unhandled
        if verdict is Verdict.MINE:
            await announce(world, stored.settlement, publisher)
            return Ending(verdict, unhandled)
        if verdict is Verdict.OVERTAKEN:
            break
        fresh = await same(world, ended.execution.id, ended.lease)
        if fresh is None:
            break
        ended = ended_by(world, fresh, outcome, bound=bound)
    else:
        return Ending(Verdict.STALE)
    if not bound:  # a bound is an estimate: the cost that the other writer recorded stays
        await rebill(world, ended)
    return Ending(Verdict.OVERTAKEN, unhandled)


def publisher_of(world: World) -> Publisher:
    """The publisher that this process is, for the time of a lease."""
    return Publisher(world.entropy.token(), world.clock.now_ms() + world.config.lease_ms)


async def announce(world: World, settlement: Settlement, publisher: Publisher) -> None:
    """Log a settlement, publish its task and ring for what becomes due.  The sweep repairs what fails here."""
    report(settlement)
    move, task = settlement.decision.task, settlement.ended.task_id
    if move is None:
        if settlement.cost.micro:  # readers of a task that had ended before see its final cost
            await publish.cost_changed(world, task)
        return
    await publish.republish(world, [task])
    await publish.check_later(world, task, publisher.holder)
    if move.state is TaskState.PENDING:
        await doorbells.ring_at(world, move.run_at_ms)


# --- the cost of an execution that another writer ended, and the log ------------------------------------------------


def rebilling(ended: Ended) -> list[Statement]:
    """Statements that record the cost of an execution that has ended.  A cost from a better source is kept."""
    found = cost(ended)
    if found.micro is None:
        return []
    usage = usage_text(ended.usage)
    statement = sql.REBILL(
        execution=ended.execution.id, lease=ended.lease, cost=found.micro, source=found.source, usage=usage
    )
    return [statement]


async def rebill(world: World, ended: Ended) -> None:
    """Record the cost of an execution that another writer has ended, and publish it."""
    report_overrun(ended, cost(ended))
    batch = world.batch()
    changed = batch.add(*rebilling(ended))
    for row in (await batch.commit()).rows(changed):
        await publish.cost_changed(world, integer(row, "task_id"))


def report_overrun(ended: Ended, found: Cost) -> None:
    """Log a warning when a call cost more than was reserved."""
    if is_overrun(ended, found):
        fields = {"execution": ended.execution.id, "profile": ended.profile, "cost_micro": found.micro}
        log().warning(Event.OVERRUN, **fields)


def report(settlement: Settlement) -> None:
    """Log a failed call, an unknown outcome, an overrun, and the end of a task."""
    ended, decision, move = settlement.ended, settlement.decision, settlement.decision.task
    fields = {
        "task": ended.task.id if ended.task else None,
        "execution": ended.execution.id,
        "organization": ended.organization,
        "profile": ended.profile,
        "cost_micro": settlement.cost.micro,
        "reason": reason_code(decision.reason),
    }
    report_overrun(ended, settlement.cost)
    if decision.execution is ExecutionState.UNKNOWN:
        log().warning(Event.EXECUTION_UNKNOWN, **fields)
    if isinstance(ended.outcome, Retry | Failed | Invalid):
        # Before its tasks fail, a provider in trouble is visible in these lines.
        log().info(Event.CALL_FAILED, **{**fields, "reason": _failure_code(ended.outcome)})
    if move is not None and move.state in TASK_FINAL:
        log().info(
            Event.TASK_ENDED,
            status=move.state.value,
            attempt=move.position.attempt,
            stage=move.position.stage,
            ms=ended.situation.now_ms - ended.execution.started_ms,
            **fields,
        )


def _failure_code(outcome: Retry | Failed | Invalid) -> str | None:
    return "invalid_output" if isinstance(outcome, Invalid) else reason_code(outcome.why)
