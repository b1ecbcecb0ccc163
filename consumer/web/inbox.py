"""The operations behind a signed link.  The pages are imported by the first request of a person, because start-up is
limited, and many deployments ask no people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.web.operation import Operation

if TYPE_CHECKING:
    from starlette.responses import Response

    from consumer.web.request import RequestContext

PATH_PREFIX: Final = "/inbox/"
"""Refusals below this path are pages, unless a program asks."""


async def show_assignment(context: RequestContext) -> Response:
    """The form, or the receipt of an answer."""
    from consumer.web.pages import inbox

    return await inbox.show_assignment(context)


async def answer(context: RequestContext) -> Response:
    """What the pressed button says, and its receipt."""
    from consumer.web.pages import inbox

    return await inbox.answer(context)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/inbox/{token}",
        handler=show_assignment,
        summary="Show an assignment: a page with a form, or JSON to a client that accepts only JSON",
        query=None,
        answers={200: "AnswerResult"},
    ),
    Operation(
        method="POST",
        path="/inbox/{token}",
        handler=answer,
        summary="Answer, accept or decline an assignment.  A repeated answer gets the receipt of the first one; the"
        " receipt of another answer names who decided what",
        query=None,
        body="Answer",
        answers={200: "AnswerResult"},
    ),
)
