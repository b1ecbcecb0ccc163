"""What a person does with an assignment, through a signed link: look, accept, answer, review, decline.

A question is an assignment too: a call of which nobody knows what became, and a person who may find out.  To answer
is to say what came of it; to decline is to say that it was not done.

Looking changes nothing.  An answer and a deadline are both a compare-and-set on the execution; the loser is told.
An answer after the deadline is kept, and used if the task still waits at that stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from consumer.core.errors import BadInput, Conflict, NotFound, Problem
from consumer.core.lifecycle import EXECUTION_FINAL, TASK_FINAL, ExecutionState, TaskState
from consumer.core.outcome import Failed, Outcome, Rejected, Retry, Succeeded
from consumer.core.schema import mismatch
from consumer.core.strictjson import clean, dump_json, parse_json
from consumer.core.template import render
from consumer.execution.facts import Facts, facts
from consumer.execution.inputs import fed, task_input
from consumer.execution.resolve import settle, use_late_answer
from consumer.execution.settle import MAX_SETTLE_ATTEMPTS
from consumer.service import links
from consumer.store import people
from consumer.store import settle as settle_sql
from consumer.store.sql import integer, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from consumer.ports import Row
    from consumer.world import World

BUILTIN_INBOX: Final = "inbox"
"""The provider whose executions are assignments by themselves; a link to any other is a question about it."""
DECLINED: Final = "declined"
ACCEPTED: Final = "accepted"
LATE_ANSWER: Final = "late answer: "
LATE: Final = ("deadline", "unknown_outcome", "cancelled")
"""Reasons of an execution that ended for want of an answer."""
MAX_NOTE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a person is asked.  `state`: `open`, `answered` (here is the receipt) or `ended` (for `reason`).

    `kind`: `human`, `review`, or `question` about a call that was made through `profile`."""

    execution: int
    task: int
    state: Annotated[str, Field(json_schema_extra={"enum": ["open", "answered", "ended"]})]
    kind: Annotated[str, Field(json_schema_extra={"enum": ["human", "review", "question"]})]
    title: str
    description: str
    instructions: str
    value: Any
    draft: Any
    output_schema: dict[str, Any]
    deadline_ms: int | None
    reason: str | None
    accepted: bool
    answer: Any
    feedback: str | None
    profile: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an answer.  `used`: it is the task's answer for this stage."""

    execution: int
    task: int
    used: bool
    answer: Any
    message: str


USED: Final = "Thank you. Your answer was recorded and the task goes on."
KNOWN: Final = "Thank you. It has become known meanwhile what came of it; nothing more is needed."
KEPT: Final = "Thank you. Your answer was kept, but the task had gone on without it."
NOT_DONE: Final = "Thank you. It counts as not done: it is tried again, or the task ends."
TURNED_DOWN: Final = "You declined. The task goes to somebody else, or ends."


async def assignment(world: World, token: str) -> Assignment:
    """What the link is for.  Raises NotFound for a forged link, links.Expired."""
    return await _assignment(world, await _facts(world, token))


async def accept(world: World, token: str) -> Assignment:
    """Say that you will do it.  Nothing else changes.  Raises Conflict when it has ended."""
    fact = await _facts(world, token)
    _refuse_ended(fact)
    note = people.NOTE(execution=fact.situation.execution.id, note=ACCEPTED)
    await world.write(note)
    return await assignment(world, token)


async def decline(world: World, token: str, reason: str) -> Receipt:
    """Say that you will not do it.  Raises Conflict when it has ended."""
    fact = await _facts(world, token)
    if _given_reason(fact) == DECLINED:
        return _receipt(fact, None, NOT_DONE if _kind(fact) == "question" else TURNED_DOWN, used=False)
    _refuse_final(fact)
    why = f"{DECLINED}: {_note(reason)}" if reason.strip() else DECLINED
    question = _kind(fact) == "question"
    await settle(world, fact, Retry(why) if question else Failed(why), bound=question)
    fresh = await _fresh(world, fact)
    if _given_reason(fresh) != DECLINED:  # an answer, or the deadline, came first
        raise Conflict(_ended_reason(fresh))
    return _receipt(fresh, None, NOT_DONE if question else TURNED_DOWN, used=False)


async def submit(world: World, token: str, output: Any) -> Receipt:  # JSON is any value
    """Answer.  A repeat gets the receipt of the first.  Raises BadInput naming fields, Conflict when it has ended."""
    fact = await _facts(world, token)
    if _kind(fact) == "review":
        raise BadInput("decision", "this is a review: approve, edit or reject")
    return await _answer(world, fact, output)


async def review(  # a review has this many parts
    world: World,
    token: str,
    decision: str,
    output: Any,  # JSON is any value
    note: str = "",
    redo: bool = False,  # noqa: FBT001, FBT002  # a tick on a form
) -> Receipt:
    """Approve the draft, give an edited one, or reject it and maybe ask for a redo.  Raises as `submit`."""
    fact = await _facts(world, token)
    if _kind(fact) != "review":
        raise BadInput("decision", "there is no draft to review: submit an answer")
    draft = await fed(world, fact.row)
    if decision == "approve":
        return await _answer(world, fact, draft)
    if decision == "edit":
        return await _answer(world, fact, output)
    if decision != "reject":
        raise BadInput("decision", "approve, edit or reject")
    if redo and not note.strip():
        raise BadInput("note", "say what to do better")
    if _given_reason(fact) == "rejected":
        return _receipt(fact, await _given(world, fact), USED, used=True)
    _refuse_final(fact)
    words = {"decision": "reject", "note": _note(note), "redo": redo}
    await settle(world, fact, Rejected(words, _note(note), redo))
    fresh = await _fresh(world, fact)  # as in _settle
    used = _given_reason(fresh) == "rejected"
    return _receipt(fresh, await _given(world, fresh) if used else words, USED if used else KEPT, used=used)


async def _answer(world: World, fact: Facts, output: Any) -> Receipt:  # JSON is any value
    state = fact.situation.execution.state
    if state is ExecutionState.SUCCEEDED or (
        state is ExecutionState.CANCELLED and (fact.row["result"] or fact.row["result_key"]) is not None
    ):
        used, given = state is ExecutionState.SUCCEEDED, await _given(world, fact)
        if _kind(fact) == "question" and given != output and fact.row["cost_source"] != "bound":  # evidence
            return _receipt(fact, given, KNOWN, used=False)
        return _receipt(fact, given, USED if used else KEPT, used=used)
    _check(fact, output)
    if state in EXECUTION_FINAL:
        return await _late(world, fact, output)
    return await _settle(world, fact, Succeeded(output), output)


async def _settle(world: World, fact: Facts, outcome: Outcome, output: Any) -> Receipt:
    task = fact.situation.task
    if task is None or task.state is TaskState.CANCELLED:
        raise Conflict(_ended_reason(fact))
    await settle(world, fact, outcome, bound=_kind(fact) == "question")
    # Read back, whatever the verdict: two answers at the same moment make the same move, so both may call it theirs.
    fresh = await _fresh(world, fact)
    if fresh.situation.execution.state is ExecutionState.SUCCEEDED:
        return _receipt(fresh, await _given(world, fresh), USED, used=True)
    if fresh.situation.execution.state is ExecutionState.FAILED:
        return await _late(world, fresh, output)
    return _receipt(fresh, output, KEPT, used=False)


async def _late(world: World, fact: Facts, output: Any) -> Receipt:  # JSON is any value
    """The deadline has won; the answer still counts if the task waits for one at this stage."""
    task = fact.situation.task
    if task is None or task.state is TaskState.CANCELLED or _given_reason(fact) not in LATE:
        raise Conflict(_ended_reason(fact))
    for _ in range(MAX_SETTLE_ATTEMPTS):
        if not fact.situation.needed or await use_late_answer(world, fact, Succeeded(output)):
            break
        fact = await _fresh(world, fact)
    used = await _late_answer_used(world, fact)
    if used is not None:  # this one, or one before it
        return _receipt(fact, await _stored(world, used), USED, used=True)
    note = people.NOTE_LATE_ANSWER(execution=fact.situation.execution.id, answer=_as_note(output))
    await world.write(note)
    fact = await _fresh(world, fact)  # one that came before is the one that was kept
    kept = optional_text(fact.row, "note") or ""
    return _receipt(fact, parse_json(kept.removeprefix(LATE_ANSWER)), KEPT, used=False)


async def _late_answer_used(world: World, fact: Facts) -> Row | None:
    """The answer that was used though it came late."""
    statement = settle_sql.LATE_ANSWER_USED(task=fact.task_id, late=fact.situation.execution.id)
    return one(await world.rows(statement))


def _as_note(output: Any) -> str:  # JSON is any value
    return f"{LATE_ANSWER}{dump_json(output)}"


def _check(fact: Facts, output: Any) -> None:  # JSON is any value
    if fact.plan is None:
        return
    why = mismatch(fact.plan.output_schema, output)
    if why:
        field, _, _ = why.partition(" ")
        raise BadInput.of([Problem(field.removeprefix("data.").removeprefix("data") or "", why)])


async def _facts(world: World, token: str) -> Facts:
    execution, purpose = links.read(world.link_secret, token, world.clock.now_ms())
    found = await facts(world, [execution])
    if not found or (purpose == "person") != (found[0].row["provider"] == BUILTIN_INBOX):
        raise NotFound("no such assignment")
    return found[0]


async def _fresh(world: World, fact: Facts) -> Facts:
    return (await facts(world, [fact.situation.execution.id]))[0]


def _kind(fact: Facts) -> str:
    if fact.row["provider"] != BUILTIN_INBOX:
        return "question"
    stage = fact.situation.execution.stage
    stages = fact.situation.route.stages
    return stages[stage].kind if stage < len(stages) else "human"


def _refuse_final(fact: Facts) -> None:
    """Only an answer may be late."""
    _refuse_ended(fact)
    if fact.situation.execution.state in EXECUTION_FINAL:
        raise Conflict(_ended_reason(fact))


def _refuse_ended(fact: Facts) -> None:
    if _state(fact) != "open":
        raise Conflict(_ended_reason(fact))


def _state(fact: Facts) -> str:
    state = fact.situation.execution.state
    task = fact.situation.task
    if state is ExecutionState.SUCCEEDED or (_kind(fact) == "review" and _given_reason(fact) == "rejected"):
        return "answered"
    if task is None or task.state is TaskState.CANCELLED:
        return "ended"
    if _kind(fact) == "question":  # evidence may have come meanwhile
        return "open" if state is ExecutionState.UNKNOWN else "ended"
    if state in EXECUTION_FINAL:  # a late answer still counts while the task waits for one
        return "open" if fact.situation.needed and _given_reason(fact) in LATE else "ended"
    return "open"


def _given_reason(fact: Facts) -> str:
    return text(fact.row, "execution_reason").partition(":")[0]


def _ended_reason(fact: Facts) -> str:
    task = fact.situation.task
    if task is None:
        return "the task is no longer there"
    if task.state is TaskState.CANCELLED:
        return f"the task was cancelled: {text(fact.row, 'reason')}"
    if task.state in TASK_FINAL and _given_reason(fact) == "cancelled":  # not it, but its task
        return f"the task has ended: it is {task.state}: {text(fact.row, 'reason')}".removesuffix(": ")
    return f"this assignment has ended: {_given_reason(fact) or fact.situation.execution.state.value}"


def _receipt(fact: Facts, answer: Any, message: str, *, used: bool) -> Receipt:
    return Receipt(fact.situation.execution.id, fact.task_id, used, answer, message)


def _note(words: str) -> str:
    return clean(words.strip()[:MAX_NOTE])


async def _given(world: World, fact: Facts) -> Any:  # JSON is any value
    return await _stored(world, fact.row)


async def _stored(world: World, row: Row) -> Any:  # JSON is any value
    key = optional_text(row, "result_key")
    if key is not None:
        data = await world.blobs.get(key)
        return None if data is None else parse_json(data)
    stored = optional_text(row, "result")
    return None if stored is None else parse_json(stored)


def _route_note(fact: Facts) -> str:
    """What the route says to this candidate in particular."""
    stages, stage = fact.situation.route.stages, fact.situation.execution.stage
    number = integer(fact.row, "execution_candidate")
    if stage >= len(stages) or number >= len(stages[stage].candidates):
        return ""
    return str(stages[stage].candidates[number].settings.get("note", ""))


async def _assignment(world: World, fact: Facts) -> Assignment:
    row, stage = fact.row, fact.situation.execution.stage
    kind = _kind(fact)
    before = await fed(world, row) if stage > 0 else None
    value = task_input(row) if stage == 0 else before
    words = render(
        fact.plan.prompt if fact.plan else "", text(row, "title"), text(row, "description"), task_input(row)
    )
    state, answer = _state(fact), row
    if state == "ended" and _given_reason(fact) in LATE and (used := await _late_answer_used(world, fact)):
        state, answer = "answered", used
    return Assignment(
        execution=fact.situation.execution.id,
        task=fact.task_id,
        state=state,
        kind=kind if kind in ("review", "question") else "human",
        title=text(row, "title"),
        description=text(row, "description"),
        instructions="\n\n".join(filter(None, [_route_note(fact), words])),
        value=task_input(row) if kind == "review" else value,
        draft=before if kind == "review" else None,
        output_schema=fact.plan.output_schema if fact.plan else {"type": "object"},
        deadline_ms=optional_integer(row, "resolve_by_ms"),
        reason=_ended_reason(fact) if state == "ended" else None,
        accepted=row["note"] == ACCEPTED,
        answer=await _stored(world, answer) if state == "answered" else None,
        feedback=optional_text(row, "feedback"),
        profile=text(row, "profile"),
    )
