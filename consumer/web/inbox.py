"""Where people answer, through a signed link.

The link is the secret, and the only one: there are no cookies and no sessions, so that another site has nothing to
ride on, and a form needs no token against forgery besides the one in its address.  Looking changes nothing, however
often mail scanners and previews do it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from consumer.core.errors import BadInput, Conflict
from consumer.service import people
from consumer.web import answers, forms, pages
from consumer.web.api import Operation, reply
from consumer.web.problems import Ended

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from consumer.service.people import Assignment, Receipt
    from consumer.web.ask import Ask, Form
    from consumer.web.forms import Field

PLACE: Final = "/inbox/"


def wants_json(request: Request) -> bool:
    """Whether a program asks: a browser wants HTML before all else."""
    accepted = request.headers.get("accept", "").lower()
    return "json" in accepted and "text/html" not in accepted


async def look(ask: Ask) -> Response:
    """The form, or what became of it.  Raises NotFound, Expired, Ended."""
    asked = await people.assignment(ask.world, ask.part("token"))
    if asked.state == "answered":
        return _receipt(ask, _given(asked))
    if asked.state == "ended":
        raise Ended(asked.reason or "this assignment has ended")
    return _assignment(ask, asked)


async def answer(ask: Ask) -> Response:
    """One of the buttons.  A repeat gets the receipt of the first.  Raises NotFound, Expired, Ended, BadInput."""
    asked = await people.assignment(ask.world, ask.part("token"))
    form = await ask.form()
    if asked.state == "answered":
        return _receipt(ask, _given(asked))
    wanted = forms.fields(asked.output_schema, asked.draft)
    try:
        return await _act(ask, asked, wanted, form)
    except Conflict as error:
        raise Ended(str(error)) from None
    except BadInput as error:
        if wants_json(ask.request):
            raise
        return pages.assignment(asked, wanted, form, error.problems)


async def _act(ask: Ask, asked: Assignment, wanted: list[Field], form: Form) -> Response:
    token = ask.part("token")
    if "decision" in form and form.one("decision") not in dict(pages.DECISIONS):
        raise BadInput("decision", "approve, edit or reject")
    if "redo" in form and form.one("redo") != "yes":
        raise BadInput("redo", "yes, or nothing")
    match form.one("action"):
        case "accept":
            return _assignment(ask, await people.accept(ask.world, token), form)
        case "decline":
            return _receipt(ask, await people.decline(ask.world, token, form.one("reason")))
        case "submit" if asked.kind == "review":
            return _receipt(ask, await _review(ask, asked, wanted, form))
        case "submit":
            output = answers.read(asked.output_schema, wanted, form)
            return _receipt(ask, await people.submit(ask.world, token, output))
        case _:
            raise BadInput("action", "submit, accept or decline")


async def _review(ask: Ask, asked: Assignment, wanted: list[Field], form: Form) -> Receipt:
    decision, redo = form.one("decision"), "redo" in form
    output: Any = asked.draft
    if decision not in dict(pages.DECISIONS):
        raise BadInput("decision", "approve, edit or reject")
    if redo and decision != "reject":
        raise BadInput("decision", "only what is rejected is sent back")
    if (
        decision == "approve"
        and any(field.control in form for field in wanted)
        and not answers.unchanged(wanted, form)
    ):
        raise BadInput("decision", "you have changed the draft: approve it with your changes")
    if decision == "edit":
        output = answers.read(asked.output_schema, wanted, form)
    return await people.review(ask.world, ask.part("token"), decision, output, form.one("note"), redo)


def _given(asked: Assignment) -> Receipt:
    """The receipt of what was answered before."""
    return people.Receipt(asked.execution, asked.task, used=True, answer=asked.answer, message=people.USED)


def _assignment(ask: Ask, asked: Assignment, form: Form | None = None) -> Response:
    if wants_json(ask.request):
        return reply(asdict(asked))
    return pages.assignment(asked, forms.fields(asked.output_schema, asked.draft), form)


def _receipt(ask: Ask, given: Receipt) -> Response:
    return reply(asdict(given)) if wants_json(ask.request) else pages.receipt(given)


OPERATIONS: Final = (
    Operation(
        "GET",
        "/inbox/{token}",
        look,
        "Show what a person is asked: a page with a form, or JSON for who accepts only that",
        query=None,
        answers={200: "AnswerResult"},
    ),
    Operation(
        "POST",
        "/inbox/{token}",
        answer,
        "Answer, accept or decline.  A repeat gets the receipt of the first",
        query=None,
        body="Answer",
        answers={200: "AnswerResult"},
    ),
)
