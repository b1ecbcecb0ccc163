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
from consumer.core.errors import BadInput, Conflict, NotFound, NotStored
from consumer.core.outcome import REJECTED, Failed, Rejected, Retry, Succeeded
from consumer.core.prompt import render
from consumer.core.strictjson import parse_json
from consumer.execution import large
from consumer.execution.facts import Facts, facts
from consumer.execution.inputs import known_input, previous_result
from consumer.execution.late import use_late_answer
from consumer.execution.settle import MAX_SETTLE_ATTEMPTS, settle_without_lease
from consumer.ports import Refused
from consumer.service import links, receipts
from consumer.service.receipts import KEPT, USED, Decision, Receipt, Sent, decision_on, short
from consumer.store import people
from consumer.store import settle as settle_sql
from consumer.store.sql import integer, mark_of, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from consumer.core.outcome import Outcome
    from consumer.ports import Row
    from consumer.world import World

BUILTIN_INBOX: Final = "inbox"
"""The provider whose executions are assignments.  A link to an execution of any other provider is a question."""
ACCEPTED: Final = "accepted"
"""The note of an execution whose person has accepted it."""


@dataclass(frozen=True, slots=True)
class Round:
    """A draft that a reviewer sent back: with which note, who, and when (ISO-8601)."""

    note: str
    by: str | None
    at: str | None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the page of an assignment shows.

    `state`: `open`, `answered` (`answer` is set) or `ended` (`reason` is set).
    `value`: the input of the task.  `previous`: the answer of the stage before, unless it is the draft of a review.
    `kind`: `human`, `review`, or `question` about a call that was made through `profile`.
    `used`, `decision`: whether the task uses the answer, and who gave it.
    `rounds`: the drafts that reviewers sent back before this one.
    `assigned_to`: the user who is asked; None: anyone of the organization."""

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
    used: bool = False
    decision: Decision | None = None
    rounds: tuple[Round, ...] = ()
    assigned_to: int | None = None


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


async def decline(world: World, token: str, reason: str, by: str = "") -> Receipt:
    """Record that the person will not do it.  A repeat gets the same receipt.

    Raises NotFound, NotStored, Conflict when it has ended."""
    fact = await _facts(world, token)
    question = _kind(fact) == "question"
    sent = Sent("declined", short(reason), by=by)
    if isinstance(answers.answer_state(_view(fact)), answers.Open):
        why = f"{answers.DECLINED}: {sent.content}" if sent.content else answers.DECLINED
        fact = await _settle(world, fact, Retry(why) if question else Failed(why), sent, answers.DECLINED)
    match answers.answer_state(_view(fact)):
        case answers.Declined():
            message = receipts.NOT_DONE if question else receipts.TURNED_DOWN
            if sent.content and sent.content not in _view(fact).reason:  # a second person has a reason too
                await _keep(world, fact, sent)
            decision = await decision_on(world, fact.situation.execution.id)
            return _receipt(fact, None, message, used=False, decision=decision)
        case answers.Answered() | answers.Kept() | answers.DraftRejected():
            return await _stored_receipt(world, fact, sent)
        case _:
            raise await _refusal(world, fact, sent)


async def submit(world: World, token: str, output: Any, by: str = "") -> Receipt:  # JSON is any value
    """Answer.  A repeat gets the receipt of the first answer; another answer is kept, and not used.

    `by`: the name that the person typed.  Raises NotFound, BadInput naming fields, NotStored, Conflict when it has
    ended."""
    fact = await _facts(world, token)
    if _kind(fact) == "review":
        raise BadInput("decision", "this is a review: approve, edit or reject")
    return await _answer(world, fact, Sent("answered", output, by=by))


async def review(  # a review has this many parts
    world: World,
    token: str,
    decision: str,
    output: Any,  # JSON is any value
    note: str = "",
    redo: bool = False,  # noqa: FBT001, FBT002  # a tick on a form
    by: str = "",
) -> Receipt:
    """Approve the draft, replace it by an edited one, or reject it and perhaps ask for a redo.  Raises as `submit`."""
    fact = await _facts(world, token)
    if _kind(fact) != "review":
        raise BadInput("decision", "there is no draft to review: submit an answer")
    note = short(note)
    if decision == "approve":
        return await _answer(world, fact, Sent("approved", await previous_result(world, fact.row), note, by))
    if decision == "edit":
        return await _answer(world, fact, Sent("edited", output, note, by))
    if decision != "reject":
        raise BadInput("decision", "approve, edit or reject")
    if redo and not note:
        raise BadInput("note", "say what to do better")
    rejection = {"decision": "reject", "note": note, "redo": redo}
    return await _reject(world, fact, Sent("rejected", rejection, by=by))


async def _reject(world: World, fact: Facts, sent: Sent) -> Receipt:
    if isinstance(answers.answer_state(_view(fact)), answers.Open):
        outcome = Rejected(sent.content, sent.content["note"], sent.content["redo"])
        fact = await _settle(world, fact, outcome, sent, REJECTED)
    match answers.answer_state(_view(fact)):
        case answers.Answered() | answers.Kept() | answers.DraftRejected():
            return await _stored_receipt(world, fact, sent)
        case _:
            raise await _refusal(world, fact, sent)


async def _answer(world: World, fact: Facts, sent: Sent) -> Receipt:
    """Record a new answer, or compare it with the one that is stored."""
    if not isinstance(
        answers.answer_state(_view(fact)), answers.Answered | answers.Kept | answers.DraftRejected
    ):
        _check(fact, sent.content)
    if isinstance(answers.answer_state(_view(fact)), answers.Open | answers.Withdrawn):
        # Read the state back and ignore the verdict: two answers at the same moment make the same move, so the verdict
        # may be `mine` for both of them.
        fact = await _settle(world, fact, Succeeded(sent.content), sent, "")
    match answers.answer_state(_view(fact)):
        case answers.Answered() | answers.Kept() | answers.DraftRejected():
            return await _stored_receipt(world, fact, sent)
        case answers.LateOpen() | answers.AssignmentEnded(keeps_answers=True):
            return await _record_late_answer(world, fact, sent)
        case _:
            raise await _refusal(world, fact, sent)


async def _settle(world: World, fact: Facts, outcome: Outcome, sent: Sent, cause: str) -> Facts:
    """Settle the open execution with what a person sent, and read it back.  Raises NotFound, NotStored.

    `cause`: the cause that the execution then has, which shows that it was this person who ended it."""
    execution, bound = fact.situation.execution.id, _kind(fact) == "question"
    decided = sent.decided(execution, world.clock.now_ms(), cause)
    try:
        await settle_without_lease(world, fact, outcome, bound=bound, also=[decided], or_fail=False)
    except Refused as error:
        raise receipts.not_stored(execution, error) from None
    fresh = await _fresh(world, fact)
    if isinstance(answers.answer_state(_view(fresh)), answers.Open):
        raise NotStored(receipts.CHANGING)
    return fresh


async def _stored_receipt(world: World, fact: Facts, sent: Sent) -> Receipt:
    """The receipt for what a person sent to an assignment that has an answer."""
    stored, used = await _stored(world, fact.row), answers.is_used(answers.answer_state(_view(fact)))
    # An answer to a question charges the reservation (`bound`).  Any other cost shows that the provider's own evidence
    # settled the call, so no person gave the stored answer.
    by_evidence = _kind(fact) == "question" and fact.row["cost_source"] != "bound"
    if by_evidence and not sent.is_stored_as(stored):
        await _keep(world, fact, sent)
        return _receipt(fact, stored, receipts.RESULT_ARRIVED, used=False, sent=sent.content)
    return await _compared(world, fact, sent, stored, used=used)


async def _compared(world: World, fact: Facts, sent: Sent, stored: Any, *, used: bool) -> Receipt:
    """The receipt of a stored answer.  A person who sent another one reads who decided what; that one is kept."""
    decision = await decision_on(world, fact.situation.execution.id)
    if sent.is_stored_as(stored, decision):
        if sent.note and decision is not None and sent.note != decision.note:
            await _keep(world, fact, sent)
        return _receipt(fact, stored, USED if used else KEPT, used=used, decision=decision)
    before = str(decision or "Another answer came before")
    message = ". ".join(filter(None, [before, await _keep(world, fact, sent)]))
    return _receipt(fact, stored, f"{message}.", used=False, sent=sent.content, decision=decision)


async def _refusal(world: World, fact: Facts, sent: Sent) -> Conflict:
    """The error for an assignment that has ended.  The words of its person are kept."""
    return Conflict(
        ". ".join(filter(None, [answers.end_reason(_view(fact)), await _keep(world, fact, sent)]))
    )


async def _keep(world: World, fact: Facts, sent: Sent) -> str:
    """Keep what is not used, and say so.  Raises NotStored."""
    if fact.situation.task is None:
        return ""
    try:
        return await receipts.not_used(world, fact.situation.execution.id, sent)
    except Refused as error:
        raise receipts.not_stored(fact.situation.execution.id, error) from None


async def _record_late_answer(world: World, fact: Facts, sent: Sent) -> Receipt:
    """Use an answer that came after the deadline if the task still waits at this stage, or keep it in a note."""
    execution = fact.situation.execution.id
    try:
        for _ in range(MAX_SETTLE_ATTEMPTS):
            if not fact.situation.needed or await use_late_answer(world, fact, Succeeded(sent.content)):
                break
            fact = await _fresh(world, fact)
        used = await _late_answer_used(world, fact)
        if used is not None:  # this answer, or an earlier one to the same assignment
            stored = await _stored(world, used)
            if sent.is_stored_as(stored):
                await world.write(sent.decided(execution, world.clock.now_ms(), None))
            return await _compared(world, fact, sent, stored, used=True)
        note = answers.late_note(sent.content)
        await world.write(people.NOTE_LATE_ANSWER(execution=execution, answer=note))
    except Refused as error:
        raise receipts.not_stored(execution, error) from None
    fact = await _fresh(world, fact)  # the note keeps the first of several late answers
    kept = answers.late_answer(text(fact.row, "note"))
    return await _compared(world, fact, sent, kept, used=False)


async def _late_answer_used(world: World, fact: Facts) -> Row | None:
    """The execution that holds the late answer to this assignment, if the task used it."""
    statement = settle_sql.LATE_ANSWER_USED(task=fact.task_id, late=fact.situation.execution.id)
    return one(await world.rows(statement))


def _check(fact: Facts, output: Any) -> None:  # JSON is any value
    """Raises BadInput naming the field of an answer that does not fit the template's schema."""
    problem = fact.plan.mismatch(output) if fact.plan is not None else None
    if problem is not None:
        raise BadInput.of([problem]).within("output")


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
    """The same execution, read again.  Raises NotFound when it was deleted in the meantime."""
    found = await facts(world, [fact.situation.execution.id])
    if not found:
        raise NotFound(receipts.DELETED)
    return found[0]


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


def _receipt(fact: Facts, answer: Any, message: str, **more: Any) -> Receipt:  # JSON is any value
    return Receipt(fact.situation.execution.id, fact.task_id, answer, message, **more)


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
    row, kind, view, execution = fact.row, _kind(fact), _view(fact), fact.situation.execution.id
    is_first = fact.situation.execution.stage == 0
    previous = None if is_first else await previous_result(world, row)
    given = known_input(row)
    known = {"title": text(row, "title"), "description": text(row, "description"), "input": given}
    prompt = fact.plan.prompt_of(fact.situation.execution.stage) if fact.plan else ""
    instructions = render(prompt, known | ({} if is_first else {"previous": previous}), lenient=True)
    state = answers.answer_state(view)
    shown, used, answered = answers.shown_as(state), answers.is_used(state), row
    if shown == "ended" and view.cause in answers.ENDED_WITHOUT_ANSWER:
        late = await _late_answer_used(world, fact)
        if late is not None:
            shown, used, answered = "answered", True, late
    return Assignment(
        execution=execution,
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
        used=used,
        decision=await decision_on(world, execution) if shown == "answered" else None,
        rounds=await _rounds(world, execution) if kind == "review" and row["redos"] else (),
        assigned_to=optional_integer(row, "assigned_to"),
    )


async def _rounds(world: World, review: int) -> tuple[Round, ...]:
    """The drafts of this stage that reviewers sent back before."""
    found = await world.rows(people.ROUNDS(execution=review))
    return tuple(
        [
            Round(
                str(parse_json(text(row, "result"))["note"]),
                optional_text(row, "actor"),
                optional_text(row, "completed_at"),
            )
            for row in found
        ]
    )
