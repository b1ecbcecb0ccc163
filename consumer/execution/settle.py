"""Settling: an execution's end, its task's next state and the money, in one atomic batch that carries the fence.

`Ended` is an execution with its outcome and what was known when it was judged.  `row` decides and prices it,
`statements` writes a group, `verdicts` reads what became of each.  An execution whose fence had moved is judged
again with fresh facts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from consumer.core.decide import Decision, ExecutionView, Situation, TaskView, decide
from consumer.core.errors import BadInput
from consumer.core.lifecycle import EXECUTION_FINAL, TASK_FINAL, ExecutionState
from consumer.core.money import UNKNOWN, Cost
from consumer.core.outcome import Accepted, Failed, Outcome
from consumer.core.policy import LEASE
from consumer.core.strictjson import clean, dump_json
from consumer.core.times import iso
from consumer.execution import prices, publish
from consumer.ports import PortError
from consumer.store import settle, webhooks
from consumer.store.batch import commit
from consumer.store.sql import chunks, integer
from consumer.telemetry import Event, log, word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.core.profile import Account
    from consumer.ports import Result, Row, Statement
    from consumer.world import World

INLINE_RESULT_MAX: Final = 64_000
"""A result longer than this lives with the blobs, keyed by its execution."""
MAX_TEXT_CHARS: Final = 2_000
"""Characters of a reason or a feedback that are kept."""
MAX_USAGE: Final = 16_000
"""Characters of the raw usage that are kept."""
MAX_SETTLE_ATTEMPTS: Final = 5
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
    `charged_micro`: what the provider said it charged before this outcome, while the execution was open.
    `billed_elsewhere`: another execution's row has the cost.
    `told_meanwhile`: a webhook told of it while it was being ended."""

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
    billed_elsewhere: bool = False
    told_meanwhile: bool = False
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
        "told": not is_open and _is_told(world, ended.account),
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
        "fed": 1 if move.feeds_next else 0,
        "run_at": move.run_at_ms,
        "reason": _short(move.reason),
        "feedback": _short(move.feedback),
    }


def _is_told(world: World, account: Account | None) -> bool:
    """Whether its provider calls back."""
    provider = None if account is None else world.providers.get(account.profile.provider)
    return provider is not None and provider.abilities.webhook


def _short(words: str | None) -> str | None:
    """Words from outside, as a row can hold them."""
    return None if words is None else clean(words[:MAX_TEXT_CHARS])


def _cost_so_far(ended: Ended) -> Cost:
    """What is known to be charged though nothing has ended: while more may come, no less than what is reserved."""
    charged = ended.outcome.charged
    if ended.account is not None and charged is not None:
        cost = prices.rate(ended.account, ended.outcome, ended.execution.started_ms)
        if isinstance(ended.outcome, Accepted) and (cost.micro or 0) <= ended.reserved_micro:
            return UNKNOWN
        return _flagged(ended, cost)
    return UNKNOWN if ended.charged_micro is None else Cost(ended.charged_micro, "provider")


def _cost(ended: Ended) -> Cost:
    if ended.billed_elsewhere:
        return Cost(0, "none")
    if ended.charged_micro is not None and (ended.billed or ended.outcome).charged is None:
        return Cost(ended.charged_micro, "provider")
    if ended.bound:
        return prices.by_bound(ended.account, ended.reserved_micro)
    if ended.account is None:
        return UNKNOWN
    return _flagged(
        ended, prices.rate(ended.account, ended.billed or ended.outcome, ended.execution.started_ms)
    )


def _flagged(ended: Ended, cost: Cost) -> Cost:
    """There is a word about what costs more than its reservation."""
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
    text = dump_json(decision.result)
    data = text.encode()
    if len(data) <= INLINE_RESULT_MAX:
        return text, None
    # With its content's name: two answers for one execution never share a key, whichever of them is used.
    key = f"results/{execution}-{hashlib.sha256(data).hexdigest()[:16]}"
    try:
        await world.blobs.put(key, data)
    except PortError as error:
        # A paid answer is not lost, nor do others wait for it: the row takes it, or the database refuses it alone.
        log().error(Event.UNSTORABLE, execution=execution, error=str(error)[:200])
        return text, None
    return None, key


def statements(
    group: Sequence[Mapping[str, Any]],
    now_ms: int,
    publisher: str | None = None,
    also: Sequence[Statement] = (),
) -> list[Statement]:
    """The batch that settles a group, the reading of its verdicts last in each chunk.

    `publisher` holds the outbox's rows, where no lease leads to what was not published; `also` follows the settle."""
    written: list[Statement] = []
    for part in chunks(group):
        written += [settle.SETTLE_EXECUTIONS(rows=part), settle.SETTLE_TASKS(rows=part, at=iso(now_ms))]
        written.append(settle.SETTLED(rows=part))
    accepted = [
        {"e": r["e"], "external": r["external"]} for r in group if r["state"] == ExecutionState.WAITING
    ]
    for part in chunks(accepted):
        written.append(webhooks.WAKE_FOR_EARLY(rows=part))
    crowded = [r for r in group if r["crowded"]]
    for part in chunks({"e": r["e"], "t": r["t"], "v": r["v"]} for r in crowded):
        written.append(settle.SETTLE_SIBLINGS(rows=part))
    if publisher is not None:
        for part in chunks({"e": r["e"], "t": r["t"], "v": r["v"]} for r in group if r["to"]):
            # Who writes this publishes at once, and says so; the row is for its death, while its put is on the way.
            written.append(settle.SETTLE_OUTBOX(rows=part, holder=publisher, due=now_ms + LEASE))
    written += also
    ended = json.dumps([r["e"] for r in group if r["told"]])
    return written if ended == "[]" else [*written, webhooks.QUEUE_UNHANDLED(executions=ended, now=now_ms)]


def verdicts(
    group: Sequence[Mapping[str, Any]], results: Iterable[Result]
) -> dict[int, tuple[Verdict, Row | None]]:
    """What became of each execution, from what the batch read back."""
    seen = {row["id"]: row for result in results for row in result.rows if "last_execution" in row}
    return {r["e"]: (_verdict(r, seen.get(r["e"])), seen.get(r["e"])) for r in group}


def told_early(results: Iterable[Result]) -> bool:
    """Whether a webhook had come before its acceptance was written: it is handled at the next claim."""
    return any("woken" in found for result in results for found in result.rows)


def told_meanwhile(results: Iterable[Result]) -> set[int]:
    """Tasks of which a webhook told while what it tells of was being ended: it comes before what they do next."""
    return {integer(found, "told") for result in results for found in result.rows if "told" in found}


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


def bill(ended: Ended) -> list[Statement]:
    """What an execution that has ended without this outcome cost: kept when nothing better is known."""
    cost = _cost(ended)
    if cost.micro is None:
        return []
    values = {"cost": cost.micro, "source": cost.source, "usage": _usage(ended)}
    return [settle.REBILL(execution=ended.execution.id, **values)]


async def rebill(world: World, ended: Ended) -> None:
    """A bill for an execution that somebody else has ended."""
    if statements := bill(ended):
        (changed,) = await commit(world.database, world.entropy, statements)
        for row in changed.rows:
            await publish.cost_changed(world, integer(row, "task_id"))


def report(ended: Ended) -> None:
    """One line for a task at its end; unknown outcomes are worth one of their own."""
    decision, move = ended.decision, ended.decision.task
    fields = {
        "task": ended.task.id if ended.task else None,
        "execution": ended.execution.id,
        "organization": ended.organization,
        "profile": ended.profile,
        "cost_micro": ended.cost.micro,
        "reason": word(decision.reason),
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
