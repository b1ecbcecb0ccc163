"""One operation of the API as data.  The tables of operations route the API, check its callers and document it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.responses import Response

from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from consumer.web.request import RequestContext

ORGANIZATION: Final = ("organization",)
"""The query of an operation that works on one organization."""


class Operation(NamedTuple):
    """One method of one address.

    `role`: the lowest role of a key that may call it; None: it needs no key.
    `query`: the parameters that it knows; None: other applications may add their own.
    `body`, `answers`: names of schemas in the document, see `openapi.BODIES` and `openapi.ANSWERS`.  An answer
    '' is a page, or empty.
    `headers`: headers of the request that it reads, see `openapi.HEADERS`.  `tagged`: its answers have an ETag."""

    method: str
    path: str
    handler: Callable[[RequestContext], Awaitable[Response]]
    summary: str
    role: str | None = None
    query: tuple[str, ...] | None = ()
    body: str | None = None
    answers: Mapping[int, str] = {}
    headers: tuple[str, ...] = ()
    tagged: bool = False


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(dump_json(value), status, headers, "application/json")
