"""The pages behind a signed link, where a person answers.

The link is the only secret.  The pages use no cookies and no sessions, so another site cannot act for the person, and a
form needs no token against forgery besides the one in its address.  GET changes nothing, however often mail scanners
and previews open the link.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from consumer.core.errors import BadInput, Conflict
from consumer.service import people, receipts
from consumer.web.operation import reply
from consumer.web.pages import answers, assignment, fields
from consumer.web.problems import LinkEnded
from consumer.web.request import wants_json

if TYPE_CHECKING:
    from starlette.responses import Response

    from consumer.service.people import Assignment
    from consumer.service.receipts import Receipt
    from consumer.web.pages.fields import Field
    from consumer.web.request import Form, RequestContext


async def show_assignment(context: RequestContext) -> Response:
    """The form, or the receipt of an answer.  Raises NotFound, Expired, LinkEnded."""
    asked = await people.assignment(context.world, context.part("token"))
    if asked.state == "answered":
        return _receipt(context, _given(asked))
    if asked.state == "ended":
        raise LinkEnded(asked.reason or "this assignment has ended")
    return _assignment(context, asked)


async def answer(context: RequestContext) -> Response:
    """Do what the pressed button says.  A repeated answer gets the receipt of the first one; the sender of another
    answer reads who decided what.

    Raises NotFound, Expired, LinkEnded, NotStored, BadInput."""
    asked = await people.assignment(context.world, context.part("token"))
    form = await context.form()
    wanted = fields.fields(asked.output_schema, asked.draft)
    try:
        return await _act(context, asked, wanted, form)
    except Conflict as error:
        raise LinkEnded(str(error)) from None
    except BadInput as error:
        if wants_json(context.request):
            raise
        if asked.state == "answered":
            return _receipt(context, replace(_given(asked), used=False, message=receipts.NOT_RECORDED))
        return assignment.page_of(asked, wanted, form, error.problems)


async def _act(context: RequestContext, asked: Assignment, wanted: list[Field], form: Form) -> Response:
    token = context.part("token")
    if "decision" in form and form.value("decision") not in dict(assignment.DECISIONS):
        raise BadInput("decision", "must be approve, edit or reject")
    if "redo" in form and form.value("redo") != "yes":
        raise BadInput("redo", "must be yes or absent")
    if "sure" in form and form.value("sure") != "yes":
        raise BadInput("sure", "must be yes or absent")
    by = form.value("by")
    match form.value("action"):
        case "accept" if asked.state == "answered":
            return _receipt(context, _given(asked))
        case "accept":
            return _assignment(context, await people.accept(context.world, token), form)
        case "decline" if form.value("sure") != "yes" and not wants_json(context.request):
            raise BadInput("sure", "tick the box to confirm")
        case "decline":
            return _receipt(context, await people.decline(context.world, token, form.value("reason"), by))
        case "submit" if asked.kind == "review":
            return _receipt(context, await _review(context, asked, wanted, form))
        case "submit":
            output = answers.read(asked.output_schema, wanted, form)
            return _receipt(context, await people.submit(context.world, token, output, by))
        case _:
            raise BadInput("action", "must be submit, accept or decline")


async def _review(context: RequestContext, asked: Assignment, wanted: list[Field], form: Form) -> Receipt:
    decision, redo = form.value("decision"), "redo" in form
    output: Any = asked.draft
    if decision not in dict(assignment.DECISIONS):
        raise BadInput("decision", "must be approve, edit or reject")
    if redo and decision != "reject":
        raise BadInput("decision", 'choose "Reject it", or untick "have it done again"')
    if (
        decision == "approve"
        and asked.state == "open"
        and any(field.control in form for field in wanted)
        and not answers.unchanged(wanted, form)
    ):
        raise BadInput("decision", "you have changed the draft: choose to approve it with your changes")
    if decision == "edit":
        output = answers.read(asked.output_schema, wanted, form)
    return await people.review(
        context.world, context.part("token"), decision, output, form.value("note"), redo, form.value("by")
    )


def _given(asked: Assignment) -> Receipt:
    """The receipt of the answer that was given before."""
    message = receipts.USED if asked.used else receipts.KEPT
    return receipts.Receipt(
        asked.execution, asked.task, asked.answer, message, asked.used, decision=asked.decision
    )


def _assignment(context: RequestContext, asked: Assignment, form: Form | None = None) -> Response:
    if wants_json(context.request):
        return reply(asdict(asked))
    return assignment.page_of(asked, fields.fields(asked.output_schema, asked.draft), form)


def _receipt(context: RequestContext, given: Receipt) -> Response:
    return reply(asdict(given)) if wants_json(context.request) else assignment.receipt(given)
