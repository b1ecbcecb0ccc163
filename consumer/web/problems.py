"""Refusals: one table from exceptions to problem documents (RFC 9457).

A document shows no trace, no SQL and no payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, NotRequired

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from typing_extensions import TypedDict

from consumer.core.errors import BadInput, BizQError, Conflict, Forbidden, NotFound, NotStored, Problem
from consumer.core.strictjson import dump_json
from consumer.ports import Unavailable
from consumer.provider import BadSignature
from consumer.run.schema import BrokenSchema
from consumer.service.links import Expired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEDIA_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 100
"""The largest number of wrong fields that one document names; `detail` counts all of them."""
RETRY_AFTER_S: Final = "5"


class FieldError(TypedDict):
    """One value that cannot be accepted."""

    field: str
    message: str


class ProblemDocument(TypedDict):
    """A problem document (RFC 9457)."""

    type: Annotated[str, Field(description="Leads to its entry on the page /problems")]
    title: str
    status: int
    detail: str
    errors: NotRequired[Annotated[list[FieldError], Field(max_length=MAX_ERRORS)]]


class Unreadable(BadInput):
    """The request cannot be read: its text is not UTF-8, not JSON, or not a form."""


class Unauthenticated(BizQError):
    """The request has no key, or one that is unknown or revoked."""


class LinkEnded(Conflict):
    """The assignment behind a link has ended, for good."""


class TooMany(BizQError):
    """The key or the address has made too many requests."""


class TooLarge(BizQError):
    """The body is longer than the limit."""


class TooLong(BizQError):
    """The address is longer than the limit."""


class WrongMedia(BizQError):
    """The body has another media type than this operation reads."""


class Gone(Exception):
    """The client closed the connection while its request was read, so no answer reaches it."""


class Unhealthy(BizQError):
    """`/healthz` found problems of the database."""

    def __init__(self, found: Sequence[str]) -> None:
        self.found = tuple(found)
        count = len(self.found)
        super().__init__(f"the database has {count} {'problem' if count == 1 else 'problems'}")


class Kind(NamedTuple):
    """One type of refusal.  `name` is the last part of the document's `type`; `advice` says what the caller can do."""

    name: str
    status: int
    title: str
    advice: str
    headers: Mapping[str, str] = {}


class Refusal(NamedTuple):
    """One refusal, which becomes a document or a page."""

    kind: Kind
    detail: str
    errors: Sequence[Problem] = ()
    headers: Mapping[str, str] = {}


_BEARER: Final = {"WWW-Authenticate": 'Bearer realm="bizq"'}
_LATER: Final = {"Retry-After": RETRY_AFTER_S}
_NEXT_PERIOD: Final = {"Retry-After": "60"}

NO_SUCH: Final = Kind(
    "not-found", 404, "Not found", "It does not exist, or it belongs to another organization."
)
NO_METHOD: Final = Kind("method", 405, "Method not allowed", "Use one of the methods in the header `Allow`.")
INTERNAL: Final = Kind(
    "internal",
    500,
    "Internal error",
    "The error is in the worker's log.  Try again later, or tell the operator.",
)

# The kind of an exception is that of its class, or else of the first of its ancestors in this table.
KINDS: Final[Mapping[type[Exception], Kind]] = {
    Unreadable: Kind("unreadable", 400, "The request cannot be read", "Fix the JSON or form data."),
    BadInput: Kind(
        "bad-input",
        422,
        "A value cannot be accepted",
        "Each of `errors` names a field and says what is wrong with it.",
    ),
    Unauthenticated: Kind("key", 401, "A key is needed", "Send `Authorization: Bearer <key>`.", _BEARER),
    BadSignature: Kind(
        "signature",
        401,
        "The signature is wrong",
        "Sign the raw body with the profile's secret, and send it within 5 minutes.",
        {"WWW-Authenticate": "Signature"},
    ),
    Forbidden: Kind("forbidden", 403, "Not allowed", "Use a key with a higher role."),
    NotFound: NO_SUCH,
    Conflict: Kind(
        "conflict", 409, "Conflict with the current state", "Read the task's current state first."
    ),
    Expired: Kind("expired", 410, "This link has expired", "Ask for a new one."),
    LinkEnded: Kind("ended", 410, "This assignment has ended", "The assignment takes no more answers."),
    TooMany: Kind(
        "too-many",
        429,
        "Too many requests",
        "Wait a minute.  Submit up to 1,000 tasks in one request, and read `ETag` to poll cheaply.",
        _NEXT_PERIOD,
    ),
    TooLarge: Kind("too-large", 413, "The body is too large", "Send less in one request."),
    TooLong: Kind("too-long", 414, "The address is too long", "Shorten the path or the query."),
    WrongMedia: Kind("media-type", 415, "The body has the wrong type", "Send the type that `detail` names."),
    Gone: Kind("gone", 400, "The request was not received", "Send it again."),
    BrokenSchema: Kind("schema", 503, "The database schema is broken", "See /healthz.", _LATER),
    Unhealthy: Kind("unhealthy", 503, "Not healthy", "Each of `errors` says what to do.", _LATER),
    NotStored: Kind("not-stored", 500, "Your answer was not stored", "Send it again, or shorten it."),
    Unavailable: Kind(
        "unavailable",
        503,
        "Not available now",
        "Try again later.  The change may have been made: repeat it with the same idempotency key.",
        _LATER,
    ),
}


def refusal(error: Exception) -> Refusal:
    """The refusal that an exception becomes.  Only messages of our own are shown: others may contain anything."""
    if isinstance(error, HTTPException):
        return _routing(error)
    kind = next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), INTERNAL)
    if isinstance(error, BadInput):
        return _fields(kind, error.problems)
    if isinstance(error, Unhealthy):
        return Refusal(
            kind, str(error), [Problem("database", problem) for problem in error.found], kind.headers
        )
    ours = isinstance(error, BizQError | BadSignature)
    return Refusal(kind, str(error) if ours else kind.advice, headers=kind.headers)


def _routing(error: HTTPException) -> Refusal:
    """The refusal of the router: no such address, or not with this method."""
    if error.status_code == 405:
        allowed = ", ".join(sorted(str((error.headers or {}).get("Allow", "")).split(", ")))
        return Refusal(NO_METHOD, f"use one of {allowed} at this address", headers={"Allow": allowed})
    return Refusal(NO_SUCH, "no such address")


def _fields(kind: Kind, problems: Sequence[Problem]) -> Refusal:
    shown = problems[:MAX_ERRORS]
    rest = len(problems) - 1
    detail = f"{str(problems[0])[:1000]}{f' (and {rest} more)' if rest else ''}"
    return Refusal(kind, detail, shown, kind.headers)


def document(refused: Refusal) -> ProblemDocument:
    """The problem document of a refusal."""
    kind = refused.kind
    found = ProblemDocument(
        type=f"/problems#{kind.name}", title=kind.title, status=kind.status, detail=refused.detail
    )
    if refused.errors:
        found["errors"] = [
            FieldError(field=problem.field, message=problem.message) for problem in refused.errors
        ]
    return found


def response(refused: Refusal) -> Response:
    """The response of a refusal."""
    text = dump_json(document(refused))
    return Response(text, refused.kind.status, dict(refused.headers), MEDIA_TYPE)
