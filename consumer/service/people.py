"""What a person does with an assignment, through a signed link: open it, accept, answer, review, decline.

A question is an assignment too.  It asks a person about a call whose outcome is unknown: to answer is to report the
result of the call, to decline is to report that it was not done.

Opening a link changes nothing.  An answer and a deadline both end the execution only if it is still open, so exactly
one of them wins, and the receipt says which.  An answer after the deadline is kept, and used if the task still waits at
that stage.  `core.answers` judges what a link still allows; this module acts on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from consumer.core import answers
from consumer.core.errors import BadInput, Conflict, NotFound
from consumer.core.lifecycle import ExecutionState
from consumer.core.outcome import Failed, Rejected, Retry, Succeeded
from consumer.core.prompt import render
from consumer.core.strictjson import clean, parse_json
from consumer.execution import large
from consumer.execution.facts import Facts, facts
from consumer.execution.inputs import previous_result, task_input
from consumer.execution.late import use_late_answer
from consumer.execution.settle import MAX_SETTLE_ATTEMPTS, settle_without_lease
from consumer.service import links
from consumer.store import people
from consumer.store import settle as settle_sql
from consumer.store.sql import integer, mark_of, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from consumer.ports import Row
    from consumer.world import World

BUILTIN_INBOX: Final = "inbox"
"""The provider whose executions are assignments.  A link to an execution of any other provider is a question."""
ACCEPTED: Final = "accepted"
"""The note of an execution whose person has accepted it."""
MAX_NOTE: Final = 2_000
"""Characters of a person's reason or note that are stored."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the page of an assignment shows.

    `state`: `open`, `answered` (`answer` is set) or `ended` (`reason` is set).
    `value`: the input of the task.  `previous`: the answer of the stage before, unless it is the draft of a review.
    `kind`: `human`, `review`, or `question` about a call that was made through `profile`."""

    execution: int
    task: int
    state: answers.Shown
    kind: answers.Kind
    title: str
    description: str
    instructions: str
    value: Any
    previous: Any
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
    """The effect of an answer.  `used`: it is the task's answer for this stage."""

    execution: int
    task: int
    used: bool
    answer: Any
    message: str


USED: Final = "Thank you. Your answer was recorded and is used."
KEPT: Final = "Thank you. Your answer was kept, but the task had already continued or ended without it."
RESULT_ARRIVED: Final = "Thank you. The result arrived in the meantime. You don't need to do anything."
NOT_DONE: Final = "Thank you. Recorded as not done. The task will be tried again, or it ends."
TURNED_DOWN: Final = "You declined. Another person may be asked now; if there is none, the task ends."


async def assignment(world: World, token: str) -> Assignment:
    """The assignment that a link opens.  Raises NotFound for a forged link, links.Expired."""
    return await _assignment(world, await _facts(world, token))


async def accept(world: World, token: str) -> Assignment:
    """Note that the person will do it; nothing else changes.  Raises NotFound, Conflict when it has ended."""
    fact = await _facts(world, token)
    view = _view(fact)
    if answers.shown_as(answers.answer_state(view)) != "open":
        raise Conflict(answers.end_reason(view))
    await world.write(people.NOTE_ACCEPTED(execution=fact.situation.execution.id, note=ACCEPTED))
    return await assignment(world, token)


async def decline(world: World, token: str, reason: str) -> Receipt:
    """Record that the person will not do it.  A repeat gets the same receipt.

    Raises NotFound, Conflict when it has ended."""
    fact = await _facts(world, token)
    question = _kind(fact) == "question"
    message = NOT_DONE if question else TURNED_DOWN
    view = _view(fact)
    match answers.answer_state(view):
        case answers.Declined():
            return _receipt(fact, None, message, used=False)
        case answers.Open():
            why = f"{answers.DECLINED}: {_note(reason)}" if reason.strip() else answers.DECLINED
            await settle_without_lease(world, fact, Retry(why) if question else Failed(why), bound=question)
        case _:
            raise Conflict(answers.end_reason(view))
    fresh = await _fresh(world, fact)
    if _view(fresh).cause != answers.DECLINED:  # an answer, or the deadline, came first
        raise Conflict(answers.end_reason(_view(fresh)))
    return _receipt(fresh, None, message, used=False)


async def submit(world: World, token: str, output: Any) -> Receipt:  # JSON is any value
    """Answer.  A repeat gets the receipt of the first answer.

    Raises NotFound, BadInput naming fields, Conflict when it has ended."""
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
    """Approve the draft, replace it by an edited one, or reject it and perhaps ask for a redo.  Raises as `submit`."""
    fact = await _facts(world, token)
    if _kind(fact) != "review":
        raise BadInput("decision", "there is no draft to review: submit an answer")
    draft = await previous_result(world, fact.row)
    if decision == "approve":
        return await _answer(world, fact, draft)
    if decision == "edit":
        return await _answer(world, fact, output)
    if decision != "reject":
        raise BadInput("decision", "approve, edit or reject")
    if redo and not note.strip():
        raise BadInput("note", "say what to do better")
    return await _reject(world, fact, _note(note), redo=redo)


async def _reject(world: World, fact: Facts, note: str, *, redo: bool) -> Receipt:
    view = _view(fact)
    match answers.answer_state(view):
        case answers.Rejected():
            return _receipt(fact, await _stored(world, fact.row), USED, used=True)
        case answers.Open():
            rejection = {"decision": "reject", "note": note, "redo": redo}
            await settle_without_lease(world, fact, Rejected(rejection, note, redo))
        case _:
            raise Conflict(answers.end_reason(view))
    fresh = await _fresh(world, fact)  # as in _record_answer
    if _view(fresh).cause == answers.REJECTED:
        return _receipt(fresh, await _stored(world, fresh.row), USED, used=True)
    return _receipt(fresh, rejection, KEPT, used=False)


async def _answer(world: World, fact: Facts, output: Any) -> Receipt:  # JSON is any value
    """Record a new answer, or repeat the receipt of the first one."""
    match answers.answer_state(_view(fact)):
        case answers.Answered():
            return await _first_receipt(world, fact, output, USED, used=True)
        case answers.Kept() | answers.Rejected(late=True):
            return await _first_receipt(world, fact, output, KEPT, used=False)
        case _:
            _check(fact, output)
            return await _record(world, fact, output)


async def _record(world: World, fact: Facts, output: Any) -> Receipt:  # JSON is any value
    """Record a checked answer as far as the assignment still allows it.  Raises Conflict."""
    view = _view(fact)
    match answers.answer_state(view):
        case answers.Open() | answers.Withdrawn():
            return await _record_answer(world, fact, output)
        case answers.LateOpen() | answers.Ended(keeps_answers=True):
            return await _record_late_answer(world, fact, output)
        case _:
            raise Conflict(answers.end_reason(view))


async def _first_receipt(world: World, fact: Facts, output: Any, message: str, *, used: bool) -> Receipt:
    """The receipt of the answer that is stored already."""
    first = await _stored(world, fact.row)
    # An answer to a question charges the reservation (`bound`).  Any other cost shows that the provider's own evidence
    # settled the call, so this person did not give the stored answer.
    by_evidence = fact.row["cost_source"] != "bound"
    if _kind(fact) == "question" and first != output and by_evidence:
        return _receipt(fact, first, RESULT_ARRIVED, used=False)
    return _receipt(fact, first, message, used=used)


async def _record_answer(world: World, fact: Facts, output: Any) -> Receipt:  # JSON is any value
    """Settle the open execution with an answer."""
    await settle_without_lease(world, fact, Succeeded(output), bound=_kind(fact) == "question")
    # Read the state back and ignore the verdict: two answers at the same moment make the same move, so the verdict may
    # be `mine` for both of them.
    fresh = await _fresh(world, fact)
    match fresh.situation.execution.state:
        case ExecutionState.SUCCEEDED:
            return _receipt(fresh, await _stored(world, fresh.row), USED, used=True)
        case ExecutionState.FAILED:  # the deadline came first
            return await _record(world, fresh, output)
        case _:
            return _receipt(fresh, output, KEPT, used=False)


async def _record_late_answer(world: World, fact: Facts, output: Any) -> Receipt:  # JSON is any value
    """Use an answer that came after the deadline if the task still waits at this stage, or keep it in a note."""
    for _ in range(MAX_SETTLE_ATTEMPTS):
        if not fact.situation.needed or await use_late_answer(world, fact, Succeeded(output)):
            break
        fact = await _fresh(world, fact)
    used = await _late_answer_used(world, fact)
    if used is not None:  # this answer, or an earlier one of the same person
        return _receipt(fact, await _stored(world, used), USED, used=True)
    note = answers.late_note(output)
    await world.write(people.NOTE_LATE_ANSWER(execution=fact.situation.execution.id, answer=note))
    fact = await _fresh(world, fact)  # the note keeps the first of several late answers
    kept = answers.late_answer(text(fact.row, "note"))
    return _receipt(fact, kept, KEPT, used=False)


async def _late_answer_used(world: World, fact: Facts) -> Row | None:
    """The execution that holds this person's late answer, if the task used it."""
    statement = settle_sql.LATE_ANSWER_USED(task=fact.task_id, late=fact.situation.execution.id)
    return one(await world.rows(statement))


def _check(fact: Facts, output: Any) -> None:  # JSON is any value
    """Raises BadInput naming the field of an answer that does not fit the template's schema."""
    problem = fact.plan.mismatch(output) if fact.plan is not None else None
    if problem is not None:
        raise BadInput.of([problem])


async def _facts(world: World, token: str) -> Facts:
    """The execution that a link opens.  Raises NotFound, links.Expired."""
    opened = links.read(world.link_secret, token, world.clock.now_ms())
    found = await facts(world, [opened.execution])
    if not found or mark_of(text(found[0].row, "lease")) != opened.mark:
        raise NotFound("no such assignment")
    if (opened.purpose == "person") != (found[0].row["provider"] == BUILTIN_INBOX):
        raise NotFound("no such assignment")
    return found[0]


async def _fresh(world: World, fact: Facts) -> Facts:
    """The same execution, read again."""
    return (await facts(world, [fact.situation.execution.id]))[0]


def _view(fact: Facts) -> answers.AssignmentView:
    task, row = fact.situation.task, fact.row
    return answers.AssignmentView(
        kind=_kind(fact),
        execution=fact.situation.execution.state,
        reason=text(row, "execution_reason"),
        has_result=row["result"] is not None or row["result_key"] is not None,
        task=None if task is None else task.state,
        task_reason=text(row, "reason"),
        needed=fact.situation.needed,
    )


def _kind(fact: Facts) -> answers.Kind:
    if fact.row["provider"] != BUILTIN_INBOX:
        return "question"
    stage, stages = fact.situation.execution.stage, fact.situation.route.stages
    return "review" if stage < len(stages) and stages[stage].kind == "review" else "human"


def _receipt(fact: Facts, answer: Any, message: str, *, used: bool) -> Receipt:
    return Receipt(fact.situation.execution.id, fact.task_id, used, answer, message)


def _note(given: str) -> str:
    return clean(given.strip()[:MAX_NOTE])


async def _stored(world: World, row: Row) -> Any:  # JSON is any value
    """The result in an execution's row, or in the blob that the row names."""
    key = optional_text(row, "result_key")
    if key is not None:
        data = await large.read(world, key)
        return None if data is None else parse_json(data)
    stored = optional_text(row, "result")
    return None if stored is None else parse_json(stored)


def _route_note(fact: Facts) -> str:
    """The note that the route has for this candidate."""
    stages, stage = fact.situation.route.stages, fact.situation.execution.stage
    number = integer(fact.row, "execution_candidate")
    if stage >= len(stages) or number >= len(stages[stage].candidates):
        return ""
    return str(stages[stage].candidates[number].settings.get("note", ""))


async def _assignment(world: World, fact: Facts) -> Assignment:
    row, kind, view = fact.row, _kind(fact), _view(fact)
    is_first = fact.situation.execution.stage == 0
    previous = None if is_first else await previous_result(world, row)
    given = task_input(row)
    known = {"title": text(row, "title"), "description": text(row, "description"), "input": given}
    prompt = fact.plan.prompt_of(fact.situation.execution.stage) if fact.plan else ""
    instructions = render(prompt, known | ({} if is_first else {"previous": previous}), lenient=True)
    shown, answered = answers.shown_as(answers.answer_state(view)), row
    if shown == "ended" and view.cause in answers.ENDED_WITHOUT_ANSWER:
        used = await _late_answer_used(world, fact)
        if used is not None:
            shown, answered = "answered", used
    return Assignment(
        execution=fact.situation.execution.id,
        task=fact.task_id,
        state=shown,
        kind=kind,
        title=text(row, "title"),
        description=text(row, "description"),
        instructions="\n\n".join(filter(None, [_route_note(fact), instructions])),
        value=given,
        previous=None if kind == "review" else previous,
        draft=previous if kind == "review" else None,
        output_schema=fact.plan.output_schema if fact.plan else {"type": "object"},
        deadline_ms=optional_integer(row, "resolve_by_ms"),
        reason=answers.end_reason(view) if shown == "ended" else None,
        accepted=row["note"] == ACCEPTED,
        answer=await _stored(world, answered) if shown == "answered" else None,
        feedback=optional_text(row, "feedback"),
        profile=text(row, "profile"),
    )
