"""What a refusal looks like: one table from exceptions to problem documents (RFC 9457).

Nothing that a caller has no business with gets out: no trace, no SQL, no payload.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from consumer.core.errors import BadInput, BizQError, Conflict, Forbidden, NotFound, Problem
from consumer.core.strictjson import dump_json
from consumer.ports import Unavailable
from consumer.provider import BadSignature
from consumer.run.schema import BrokenSchema
from consumer.service.links import Expired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEDIA_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 100
"""Wrong fields that one document names; `detail` says how many more there are."""
RETRY_AFTER_S: Final = "5"


class Unreadable(BadInput):
    """The request itself cannot be read: JSON, a form, or text that is none."""


class Unauthenticated(BizQError):
    """No key, or one that is unknown or revoked."""


class Ended(Conflict):
    """What a link was for is over, and will not come back."""


class TooLarge(BizQError):
    """The body is longer than what is accepted here."""


class TooLong(BizQError):
    """The address is longer than what is accepted here."""


class WrongMedia(BizQError):
    """The body is not of the type that is read here."""


class Gone(Exception):
    """The client went away while its request was read: nobody waits for the answer."""


class Unhealthy(BizQError):
    """What `/healthz` found."""

    def __init__(self, found: Sequence[str]) -> None:
        self.found = tuple(found)
        super().__init__(f"the database is not as it should be: {len(self.found)} problems")


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be refused.  `name` is the last part of the document's `type`."""

    name: str
    status: int
    title: str
    advice: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal, ready to be shown as a document or as a page."""

    kind: Kind
    detail: str
    errors: Sequence[Problem] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


_BEARER: Final = {"WWW-Authenticate": 'Bearer realm="bizq"'}
_LATER: Final = {"Retry-After": RETRY_AFTER_S}

NO_SUCH: Final = Kind("not-found", 404, "Not found", "It does not exist, or it belongs to somebody else.")
NO_METHOD: Final = Kind(
    "method", 405, "Method not allowed", "The header Allow lists what this address can do."
)
INTERNAL: Final = Kind("internal", 500, "Something went wrong here", "It is our fault, and it is in our log.")

# An exception is of the first kind on its line of ancestors.
KINDS: Final[Mapping[type[Exception], Kind]] = {
    Unreadable: Kind("unreadable", 400, "The request cannot be read", "Mend the JSON or the form."),
    BadInput: Kind("bad-input", 422, "A value cannot be accepted", "Each of `errors` names a field."),
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
    Conflict: Kind("conflict", 409, "Too late, or too early", "Look at the state of the task first."),
    Expired: Kind("expired", 410, "This link has expired", "Ask for a new one."),
    Ended: Kind("ended", 410, "This has ended", "Nothing more can be done about it."),
    TooLarge: Kind("too-large", 413, "The body is too large", "Send less at once."),
    TooLong: Kind("too-long", 414, "The address is too long", "Send less in the query."),
    WrongMedia: Kind("media-type", 415, "The body is of another type", "Send the type that `detail` names."),
    Gone: Kind("gone", 400, "The request was not received", "Send it again."),
    BrokenSchema: Kind("schema", 503, "The database is not as it should be", "See /healthz.", _LATER),
    Unhealthy: Kind("unhealthy", 503, "Not healthy", "Each of `errors` says what to do.", _LATER),
    Unavailable: Kind(
        "unavailable",
        503,
        "Not available now",
        "Try again later.  A change may have been made all the same: repeat it under the same idempotency key.",
        _LATER,
    ),
}


def refusal(error: Exception) -> Refusal:
    """What to say about an exception."""
    if isinstance(error, HTTPException):
        return _routing(error)
    kind = next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), INTERNAL)
    if isinstance(error, BadInput):
        return _fields(kind, error.problems)
    if isinstance(error, Unhealthy):
        return Refusal(kind, str(error), [Problem("database", each) for each in error.found], kind.headers)
    said = isinstance(error, BizQError | BadSignature)  # the words of all others may hold anything
    return Refusal(kind, str(error) if said else kind.advice, headers=kind.headers)


def _routing(error: HTTPException) -> Refusal:
    """What the router says: there is no such address, or it cannot do this."""
    if error.status_code == 405:
        allowed = ", ".join(sorted(str((error.headers or {}).get("Allow", "")).split(", ")))
        return Refusal(NO_METHOD, f"this address understands {allowed}", headers={"Allow": allowed})
    return Refusal(NO_SUCH, "there is nothing at this address")


def _fields(kind: Kind, problems: Sequence[Problem]) -> Refusal:
    shown = problems[:MAX_ERRORS]
    rest = len(problems) - 1
    detail = f"{str(problems[0])[:1000]}{f' (and {rest} more)' if rest else ''}"
    return Refusal(kind, detail, shown, kind.headers)


def document(refused: Refusal) -> dict[str, Any]:
    """The members of a problem document."""
    kind = refused.kind
    said = {
        "type": f"/problems#{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": refused.detail,
    }
    errors = [{"field": each.field, "message": each.message} for each in refused.errors]
    return said | ({"errors": errors} if errors else {})


def response(refused: Refusal) -> Response:
    """A problem document."""
    text = dump_json(document(refused))
    return Response(text, refused.kind.status, dict(refused.headers), MEDIA_TYPE)
