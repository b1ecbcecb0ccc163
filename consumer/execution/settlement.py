"""A settlement: what the outcome of a call means for its execution, its task and the money.  Pure.

`Ended` holds the facts: an execution, the outcome of its call, and the bill.  `decide_and_price` makes a `Settlement`
of them: the decision, the cost, and the texts as a row can hold them.  `consumer.execution.settle` writes it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, NotRequired, TypedDict

from consumer.core.decide import Decision, ExecutionView, Situation, TaskView, decide
from consumer.core.errors import BadInput
from consumer.core.lifecycle import EXECUTION_FINAL, ExecutionState, TaskState
from consumer.core.money import UNKNOWN, Cost, Usage
from consumer.core.outcome import Accepted, Failed, Invalid, Outcome
from consumer.core.strictjson import clean, dump_json
from consumer.core.times import iso
from consumer.execution import prices

if TYPE_CHECKING:
    from consumer.core.profile import Account

MAX_TEXT_CHARS: Final = 2_000
"""Characters of a reason or of feedback that a row keeps."""
MAX_USAGE_CHARS: Final = 16_000
"""Characters of the raw usage that a row keeps; a longer one is left out."""


# --- the bill: which statement about the cost counts ---------------------------------------------------------------


class Rated(NamedTuple):
    """The cost is what this outcome reports, else its usage at the known price."""

    outcome: Outcome


class Reported(NamedTuple):
    """The provider reported this charge while the execution was open, and nothing newer since."""

    micro: int


class Bound:
    """No better number will ever be known: charge the reservation."""


class Elsewhere:
    """Another execution's row carries the cost."""


Bill = Rated | Reported | Bound | Elsewhere


def bill_for(outcome: Outcome, reported_micro: int | None, *, bound: bool) -> Bill:
    """The bill of an outcome, after the provider had reported `reported_micro` (None: nothing)."""
    if reported_micro is not None and outcome.charged is None:
        return Reported(reported_micro)
    return Bound() if bound else Rated(outcome)


class Ended(NamedTuple):
    """An execution, the outcome of its call, and who pays.

    `bill` and `usage` come from the outcome that the provider gave, even where another outcome replaced it.
    `calls_back`: the provider sends webhooks, so that one may have come while the execution was being settled.
    `lease`: the one under which the execution began; an execution with another one is not this one."""

    situation: Situation
    outcome: Outcome
    bill: Bill
    usage: Usage | None
    task_id: int
    account: Account | None
    organization: int | None
    profile: str | None
    reserved_micro: int
    has_budget: bool
    calls_back: bool
    lease: str | None

    @property
    def execution(self) -> ExecutionView:
        return self.situation.execution

    @property
    def task(self) -> TaskView | None:
        return self.situation.task

    def unstorable(self) -> Ended:
        """The same execution with a failure as its outcome, because no row can hold its answer.  The bill stays."""
        if isinstance(self.outcome, Invalid):  # it fails anyway, and only its answer is lost
            return self._replace(outcome=replace(self.outcome, output=None))
        return self._replace(outcome=Failed("unstorable"))


class Settlement(NamedTuple):
    """A judged and priced end of a call, ready to be written.

    `result`: the JSON text of the result, None if there is none.
    `refused`: the type of the error that an answer raised which no row can hold; the settlement is then a failure."""

    ended: Ended
    decision: Decision
    cost: Cost
    result: str | None
    usage: str | None
    reason: str | None
    feedback: str | None
    external_id: str | None
    refused: str | None = None

    @property
    def execution(self) -> int:
        return self.ended.execution.id

    @property
    def is_open(self) -> bool:
        return self.decision.execution not in EXECUTION_FINAL


def decide_and_price(ended: Ended) -> Settlement:
    """Decide and price.  An answer that no row can hold, whatever an adapter made of it, becomes a failure."""
    try:
        return _decide_and_price(ended)
    except (BadInput, TypeError, ValueError, AttributeError) as error:
        return _decide_and_price(ended.unstorable())._replace(refused=type(error).__name__)


def _decide_and_price(ended: Ended) -> Settlement:
    decision = decide(ended.situation, ended.outcome)
    move = decision.task
    return Settlement(
        ended,
        decision,
        cost=cost_so_far(ended) if decision.execution not in EXECUTION_FINAL else cost(ended),
        result=dump_json(decision.result) if decision.has_result else None,
        usage=usage_text(ended.usage),
        reason=_short(decision.reason),
        feedback=_short(move.feedback) if move else None,
        external_id=_short(getattr(ended.outcome, "external_id", None)),
    )


def cost(ended: Ended) -> Cost:
    """What an execution cost that has ended."""
    match ended.bill:
        case Elsewhere():
            return Cost(0, "none")
        case Reported(micro=micro):
            return Cost(micro, "provider")
        case Bound():
            return prices.by_bound(ended.account, ended.reserved_micro)
        case Rated(outcome=outcome):
            if ended.account is None:
                return UNKNOWN
            return prices.cost_of_call(ended.account, outcome, ended.execution.started_ms)


def cost_so_far(ended: Ended) -> Cost:
    """The cost so far of an open execution.

    The provider of an accepted job may still charge more.  A charge that it reports within the reservation therefore
    counts as unknown, which keeps the whole reservation charged."""
    match ended.bill:
        case Reported(micro=micro):
            return Cost(micro, "provider")
        case Rated(outcome=outcome) if outcome.charged is not None and ended.account is not None:
            found = prices.cost_of_call(ended.account, outcome, ended.execution.started_ms)
            within = (found.micro or 0) <= ended.reserved_micro
            return UNKNOWN if isinstance(outcome, Accepted) and within else found
        case _:
            return UNKNOWN


def is_overrun(ended: Ended, cost: Cost) -> bool:
    """Whether a cost exceeds the reservation, where a budget made one."""
    rated = isinstance(ended.bill, Rated)
    return rated and ended.has_budget and cost.micro is not None and cost.micro > ended.reserved_micro


def leaves_room(settlement: Settlement) -> bool:
    """Whether the execution cost less than a budget reserved for it."""
    micro, ended = settlement.cost.micro, settlement.ended
    return ended.has_budget and micro is not None and micro < ended.reserved_micro


def _short(text: str | None) -> str | None:
    """Text from outside, as a row can hold it."""
    return None if text is None else clean(text[:MAX_TEXT_CHARS])


def usage_text(usage: Usage | None) -> str | None:
    """The raw usage as JSON text; an empty object where a row cannot hold it."""
    if usage is None or not usage.raw:
        return None if usage is None else "{}"
    try:
        stored = dump_json(usage.raw)
    except (BadInput, TypeError, ValueError):
        return "{}"
    return stored if len(stored) <= MAX_USAGE_CHARS else "{}"


# --- the row that the statements of consumer/store/settle.py read --------------------------------------------------


class SettleRow(TypedDict):
    """One settlement as its statements read it.

    `status` and all below it are absent when the task does not move.  `late_of`: the execution whose late answer this
    one carries."""

    execution: int
    lease: str | None
    task: int
    version: int
    state: ExecutionState
    result: str | None
    result_key: str | None
    cost_micro: int | None
    cost_source: str | None
    usage: str | None
    reason: str | None
    external_id: str | None
    wake_at_ms: int | None
    resolve_by_ms: int | None
    completed_at: str | None
    late_of: NotRequired[int]
    status: NotRequired[TaskState]
    stage: NotRequired[int]
    candidate: NotRequired[int]
    attempt: NotRequired[int]
    repairs: NotRequired[int]
    redos: NotRequired[int]
    replaces: NotRequired[int | None]
    feeds_next: NotRequired[int]
    run_at_ms: NotRequired[int]
    task_reason: NotRequired[str | None]
    feedback: NotRequired[str | None]


def row_of(settlement: Settlement, result: str | None, result_key: str | None) -> SettleRow:
    """The row of a settlement, whose result is either in the row or under a key in the blob store."""
    ended, decision, move = settlement.ended, settlement.decision, settlement.decision.task
    row: SettleRow = {
        "execution": ended.execution.id,
        "lease": ended.lease,
        "task": ended.task_id,
        "version": ended.task.version if ended.task else 0,
        "state": decision.execution,
        "result": result,
        "result_key": result_key,
        "cost_micro": settlement.cost.micro,
        "cost_source": settlement.cost.source,
        "usage": settlement.usage,
        "reason": settlement.reason,
        "external_id": settlement.external_id,
        "wake_at_ms": decision.wake_at_ms,
        "resolve_by_ms": decision.resolve_by_ms,
        "completed_at": None if settlement.is_open else iso(ended.situation.now_ms),
    }
    if move is not None:
        position = move.position
        row["status"] = move.state
        row["stage"] = position.stage
        row["candidate"] = position.candidate
        row["attempt"] = position.attempt
        row["repairs"] = position.repairs
        row["redos"] = position.redos
        row["replaces"] = position.replaces
        row["feeds_next"] = 1 if move.feeds_next else 0
        row["run_at_ms"] = move.run_at_ms
        row["task_reason"] = _short(move.reason)
        row["feedback"] = settlement.feedback
    return row


def may_have_siblings(settlement: Settlement) -> bool:
    """Whether another open execution of the task may have become superfluous by this settlement."""
    ended = settlement.ended
    repeated = ended.task is not None and ended.task.position.replaces is not None
    return settlement.decision.task is not None and (not ended.execution.newest or repeated)
