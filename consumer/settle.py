"""Settling: an execution's end, its task's next state and the money, in one atomic batch that carries the fence.

`Ended` is an execution with its outcome and what was known when it was judged.  `row` decides and prices it,
`statements` writes a group, `verdicts` reads what became of each.  An execution whose fence had moved is judged
again with fresh facts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from consumer import doorbells, prices, publish
from consumer.core.decide import Decision, ExecutionView, Position, Situation, TaskView, decide
from consumer.core.errors import BadInput
from consumer.core.lifecycle import EXECUTION_FINAL, TASK_FINAL, ExecutionState, TaskState
from consumer.core.money import UNKNOWN, Cost
from consumer.core.outcome import Failed, Outcome
from consumer.core.schema import clean, dump_json
from consumer.core.template import Candidate, Limits, Route, Stage
from consumer.core.times import iso
from consumer.perform import read_plan
from consumer.ports import PortError, Refused
from consumer.store import people, webhooks, work
from consumer.store.commit import commit
from consumer.store.sql import chunks, integer, optional_integer, optional_text
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.core.profile import Account
    from consumer.core.template import Plan
    from consumer.ports import Result, Row, Statement
    from consumer.world import World
    from providers.contract import Provider

COMFORT_BYTES: Final = 64_000
"""A result longer than this lives with the blobs, keyed by its execution."""
MAX_WORDS: Final = 2_000
"""Characters of a reason or a feedback that are kept."""
MAX_USAGE: Final = 16_000
"""Characters of the raw usage that are kept."""
JUDGED_AGAIN: Final = 5
"""How often a moved fence is followed before the rest is left to the next worker."""


class Verdict(StrEnum):
    """What became of a settle.  LATE: somebody else had ended the execution.  STALE: the fence had moved."""

    MINE = "mine"
    LATE = "late"
    STALE = "stale"


@dataclass(slots=True)
class Ended:
    """An execution and its outcome.  `bound`: nothing more will be known, charge the reservation.

    `billed`: the outcome that the provider charges for, where another one had to take its place.
    `charged_micro`: what the provider said it charged before this outcome, while the execution was open."""

    situation: Situation
    outcome: Outcome
    account: Account | None
    organization: int | None
    profile: str | None
    reserved_micro: int = 0
    has_budget: bool = False
    bound: bool = False
    billed: Outcome | None = None
    charged_micro: int | None = None
    decision: Decision = field(init=False)
    cost: Cost = UNKNOWN

    @property
    def execution(self) -> ExecutionView:
        return self.situation.execution

    @property
    def task(self) -> TaskView | None:
        return self.situation.task

    def unstorable(self) -> None:
        """No row can hold what came back: a failure, at the price of what it was."""
        self.billed, self.outcome = self.outcome, Failed("unstorable")


async def row(world: World, ended: Ended, task_id: int) -> dict[str, Any]:
    """Decide, price, store a large result; the row that the statements read."""
    try:
        return await _row(world, ended, task_id)
    except (BadInput, TypeError, ValueError, AttributeError) as error:  # an adapter is a stranger's code
        log().error(Event.UNSTORABLE, execution=ended.execution.id, error=type(error).__name__)
        ended.unstorable()
        return await _row(world, ended, task_id)


async def _row(world: World, ended: Ended, task_id: int) -> dict[str, Any]:
    decision = ended.decision = decide(ended.situation, ended.outcome)
    is_open = decision.execution not in EXECUTION_FINAL
    ended.cost = _cost_so_far(ended) if is_open else _cost(ended)
    result, result_key = await _result(world, ended.execution.id, decision)
    values: dict[str, Any] = {
        "e": ended.execution.id,
        "t": task_id,
        "v": ended.task.version if ended.task else 0,
        "state": decision.execution,
        "result": result,
        "key": result_key,
        "cost": ended.cost.micro,
        "source": ended.cost.source,
        "usage": _usage(ended),
        "why": _short(decision.reason),
        "external": _short(getattr(ended.outcome, "external_id", None)),
        "wake": decision.wake_at_ms,
        "resolve": decision.resolve_by_ms,
        "done": None if is_open else iso(ended.situation.now_ms),
    }
    move = decision.task
    if move is None:
        return values | {"to": None, "crowded": False}
    position = move.position
    before = ended.task.position.replaces if ended.task else None
    return values | {
        "crowded": not ended.execution.newest or before is not None,
        "to": move.state,
        "stage": position.stage,
        "candidate": position.candidate,
        "attempt": position.attempt,
        "repairs": position.repairs,
        "redos": position.redos,
        "replaces": position.replaces,
        "fed": 1 if move.fed else 0,
        "run_at": move.run_at_ms,
        "reason": _short(move.reason),
        "feedback": _short(move.feedback),
    }


def _short(words: str | None) -> str | None:
    """Words from outside, as a row can hold them."""
    return None if words is None else clean(words[:MAX_WORDS])


def _cost_so_far(ended: Ended) -> Cost:
    """What is known to be charged though nothing has ended."""
    charged = ended.outcome.charged
    if ended.account is not None and charged is not None:
        return prices.rate(ended.account, ended.outcome, ended.execution.started_ms)
    return UNKNOWN if ended.charged_micro is None else Cost(ended.charged_micro, "provider")


def _cost(ended: Ended) -> Cost:
    if ended.charged_micro is not None and (ended.billed or ended.outcome).charged is None:
        return Cost(ended.charged_micro, "provider")
    if ended.bound:
        return Cost(ended.reserved_micro, "bound")
    if ended.account is None:
        return UNKNOWN
    cost = prices.rate(ended.account, ended.billed or ended.outcome, ended.execution.started_ms)
    if ended.has_budget and cost.micro is not None and cost.micro > ended.reserved_micro:
        log().warning(
            Event.OVERRUN, execution=ended.execution.id, profile=ended.profile, cost_micro=cost.micro
        )
    return cost


def _usage(ended: Ended) -> str | None:
    """What the provider said it used; nothing of it where a row cannot hold that."""
    usage = (ended.billed or ended.outcome).usage
    if usage is None:
        return None
    try:
        stored = dump_json(usage.raw)
    except (BadInput, TypeError, ValueError):
        return "{}"
    return stored if len(stored) <= MAX_USAGE else "{}"


async def _result(world: World, execution: int, decision: Decision) -> tuple[str | None, str | None]:
    """The result for the row, or its key among the blobs."""
    if not decision.has_result:
        return None, None
    text = dump_json(decision.keeps)
    data = text.encode()
    if len(data) <= COMFORT_BYTES:
        return text, None
    key = f"results/{execution}"
    try:
        await world.blobs.put(key, data)
    except PortError as error:
        # A paid answer is not lost, nor do others wait for it: the row takes it, or the database refuses it alone.
        log().error(Event.UNSTORABLE, execution=execution, error=str(error)[:200])
        return text, None
    return None, key


def statements(group: Sequence[Mapping[str, Any]], now_ms: int, *, publish_later: bool) -> list[Statement]:
    """The batch that settles a group, the reading of its verdicts last in each chunk."""
    written: list[Statement] = []
    for part in chunks(group):
        written += [work.SETTLE_EXECUTIONS(rows=part), work.SETTLE_TASKS(rows=part, at=iso(now_ms))]
        written.append(work.SETTLED(rows=part))
    accepted = [
        {"e": r["e"], "external": r["external"]} for r in group if r["state"] == ExecutionState.WAITING
    ]
    for part in chunks(accepted):
        written.append(webhooks.WAKE_FOR_EARLY(rows=part))
    crowded = [r for r in group if r["crowded"]]
    for part in chunks({"e": r["e"], "t": r["t"], "v": r["v"]} for r in crowded):
        written.append(work.SETTLE_SIBLINGS(rows=part))
    if publish_later:
        for part in chunks({"e": r["e"], "t": r["t"], "v": r["v"]} for r in group if r["to"]):
            written.append(work.SETTLE_OUTBOX(rows=part, due=now_ms))
    return written


def verdicts(
    group: Sequence[Mapping[str, Any]], results: Iterable[Result]
) -> dict[int, tuple[Verdict, Row | None]]:
    """What became of each execution, from what the batch read back."""
    seen = {row["id"]: row for result in results for row in result.rows if "last_execution" in row}
    return {r["e"]: (_verdict(r, seen.get(r["e"])), seen.get(r["e"])) for r in group}


def told_early(results: Iterable[Result]) -> bool:
    """Whether a webhook had come before its acceptance was written: it is handled at the next claim."""
    return any("woken" in found for result in results for found in result.rows)


def _verdict(wanted: Mapping[str, Any], seen: Row | None) -> Verdict:
    if seen is None:
        return Verdict.LATE
    moved = wanted["to"] is None or (
        seen["version"] == wanted["v"] + 1
        and seen["last_execution"] == wanted["e"]
        and seen["status"] == wanted["to"]
    )
    if seen["state"] == wanted["state"] and moved:
        return Verdict.MINE
    return Verdict.LATE if seen["state"] in EXECUTION_FINAL else Verdict.STALE


# --- one execution at a time: webhooks, forms, attention, and what a group left over -------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """An open or ended execution with all that is known of its task, read at one moment."""

    row: Row
    situation: Situation
    plan: Plan | None
    account: Account | None
    provider: Provider | None

    @property
    def task_id(self) -> int:
        return integer(self.row, "task_id")

    def ended(self, outcome: Outcome, *, bound: bool = False) -> Ended:
        """The same execution, with an outcome."""
        return Ended(
            self.situation,
            outcome,
            self.account,
            optional_integer(self.row, "organization_id"),
            optional_text(self.row, "profile"),
            integer(self.row, "reserved_micro"),
            has_budget=self.row["budgets"] is not None,
            bound=bound,
            charged_micro=optional_integer(self.row, "cost_micro"),
        )


async def facts(world: World, executions: Iterable[int]) -> list[Facts]:
    """What is known of these executions.  The ones that are gone are left out."""
    wanted = json.dumps(list(executions))
    (result,) = await commit(world.database, world.entropy, [work.SITUATIONS(executions=wanted)])
    now, draw = world.clock.now_ms(), world.entropy.draw()
    return [_facts(world, row, now, draw) for row in result.rows]


def _facts(world: World, row: Row, now_ms: int, draw: float) -> Facts:
    account = world.accounts.get(optional_text(row, "profile") or "")
    provider = world.providers.get(optional_text(row, "provider") or "")
    try:
        plan = read_plan(row)
    except BadInput:
        plan = None  # the template was changed or deleted under a running task: a paid answer still counts
    stage = integer(row, "execution_stage")
    abilities = provider.abilities if provider else None
    execution = ExecutionView(
        id=integer(row, "id"),
        state=ExecutionState(str(row["state"])),
        stage=stage,
        started_ms=integer(row, "started_ms"),
        newest=row["newest"] == row["id"],
        person=provider is not None and provider.kind == "human",
        repeatable=abilities is not None and abilities.honours_key,
        evidence=abilities is not None and abilities.evidence,
        resolve_by_ms=optional_integer(row, "resolve_by_ms"),
    )
    route = plan.route if plan else _blind_route(stage)
    limits = plan.limits if plan else Limits()
    return Facts(
        row, Situation(_task_view(row), execution, route, limits, now_ms, draw), plan, account, provider
    )


def _blind_route(stage: int) -> Route:
    """A route that ends at this stage."""
    candidate = Candidate(profile="unknown")
    return Route(stages=tuple(Stage(kind="ai", candidates=(candidate,)) for _ in range(stage + 1)))


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


def position(row: Row) -> Position:
    """Where a task's row says it stands."""
    return Position(
        stage=integer(row, "stage"),
        candidate=integer(row, "candidate"),
        attempt=integer(row, "attempt"),
        repairs=integer(row, "repairs"),
        redos=integer(row, "redos"),
        replaces=optional_integer(row, "replaces"),
    )


async def settle(
    world: World, fact: Facts, outcome: Outcome, *, bound: bool = False
) -> tuple[Verdict, Ended]:
    """Settle one execution without a lease, following a moved fence; publish, and ring for what is due."""
    ended = fact.ended(outcome, bound=bound)
    verdict: Verdict = Verdict.STALE
    for _ in range(JUDGED_AGAIN):
        verdict = await _write(world, ended, fact.task_id)
        if verdict is not Verdict.STALE:
            break
        fresh = await facts(world, [ended.execution.id])
        if not fresh or fresh[0].situation.execution.state in EXECUTION_FINAL:
            verdict = Verdict.LATE
            break
        fact = fresh[0]
        ended = fact.ended(ended.outcome, bound=bound)
    if verdict is Verdict.LATE:
        await rebill(world, ended)
    if verdict is Verdict.MINE:
        report(ended)
        if ended.decision.task is not None:
            await _tell(world, fact.task_id, ended.decision)
    return verdict, ended


async def harvest(world: World, fact: Facts, outcome: Outcome) -> bool:
    """Use an answer whose execution has ended without one: as an execution of its own, in the same batch.

    False when the task no longer waits at that stage."""
    late, task = fact.situation.execution, fact.situation.task
    if task is None:
        return False
    new = integer(fact.row, "newest") + 1
    insert = people.HARVEST(execution=new, late=late.id, version=task.version)
    view = replace(late, id=new, state=ExecutionState.UNKNOWN, newest=False)
    ended = fact.ended(outcome)
    ended.situation = replace(fact.situation, execution=view)
    group = [await row(world, ended, fact.task_id)]
    batch = [insert, *statements(group, ended.situation.now_ms, publish_later=True)]
    results = await commit(world.database, world.entropy, batch)
    if verdicts(group, results)[new][0] is not Verdict.MINE:
        return False
    report(ended)
    await _tell(world, fact.task_id, ended.decision)
    return True


async def _write(world: World, ended: Ended, task_id: int) -> Verdict:
    """One batch for one execution; an answer that no row can hold becomes a failure that keeps its cost."""
    now = ended.situation.now_ms
    group = [await row(world, ended, task_id)]
    try:
        results = await commit(world.database, world.entropy, statements(group, now, publish_later=True))
    except Refused as error:
        log().error(Event.UNSTORABLE, execution=ended.execution.id, error=str(error)[:200])
        ended.unstorable()
        group = [await row(world, ended, task_id)]
        results = await commit(world.database, world.entropy, statements(group, now, publish_later=True))
    if told_early(results):
        await doorbells.ring(world)
    return verdicts(group, results)[ended.execution.id][0]


async def _tell(world: World, task_id: int, decision: Decision) -> None:
    """The status store and the queue; both are repaired by the sweep when this fails."""
    done = await publish.again(world, [task_id])
    if done:
        await publish.later(world, done)
    move = decision.task
    if move is not None and move.state is TaskState.PENDING:
        await doorbells.ring_at(world, move.run_at_ms)


async def rebill(world: World, ended: Ended) -> None:
    """A bill for an execution that somebody else has ended: kept when nothing better is known."""
    cost = _cost(ended)
    if cost.micro is None:
        return
    statement = work.REBILL(
        execution=ended.execution.id, cost=cost.micro, source=cost.source, usage=_usage(ended)
    )
    await commit(world.database, world.entropy, [statement])


def report(ended: Ended) -> None:
    """One line for a task at its end; unknown outcomes are worth one of their own."""
    decision, move = ended.decision, ended.decision.task
    fields = {
        "task": ended.task.id if ended.task else None,
        "execution": ended.execution.id,
        "organization": ended.organization,
        "profile": ended.profile,
        "cost_micro": ended.cost.micro,
        "reason": (decision.reason or "").partition(":")[0] or None,
    }
    if decision.execution is ExecutionState.UNKNOWN:
        log().warning(Event.EXECUTION_UNKNOWN, **fields)
    if move is not None and move.state in TASK_FINAL:
        log().info(
            Event.TASK_ENDED,
            status=move.state.value,
            attempt=move.position.attempt,
            stage=move.position.stage,
            ms=ended.situation.now_ms - ended.execution.started_ms,
            **fields,
        )
