"""Reading a request: the key, the query, the body.  Each has a maximum size, and a refusal names the field."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect

from consumer.core.errors import BadInput, Forbidden, NotFound
from consumer.core.strictjson import clean, parse_json
from consumer.ports import MAX_INTEGER, NoAnswer
from consumer.service import queries
from consumer.store import admin
from consumer.web.problems import Gone, TooLarge, TooMany, Unauthenticated, Unreadable, WrongMedia

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from consumer.app import App
    from consumer.world import World

MAX_BODY: Final = 1_048_576
"""Largest body, in bytes."""
MAX_FIELDS: Final = 5_000
"""Most fields of a form."""
FORM: Final = "application/x-www-form-urlencoded"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class Form:
    """A form as it was sent: each control with all its values.  Lines end with LF, and NUL characters are replaced."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(clean(name), []).append(clean(value.replace("\r\n", "\n")))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def values(self, name: str) -> list[str]:
        """All values of a control; none if it was not sent."""
        return self._values.get(name, [])

    def value(self, name: str) -> str:
        """The first value of a control; empty if it was not sent."""
        return self.values(name)[0] if name in self else ""


class RequestContext(NamedTuple):
    """One request whose key and query are checked, and the application that answers it.

    `organization`: the caller sees and changes its rows only; None: an operator, who sees all.
    `role`, `key`: of the caller; empty for an operation that needs no key."""

    request: Request
    app: App
    query: Mapping[str, str]
    organization: int | None = None
    role: str = ""
    key: str = ""

    @property
    def world(self) -> World:
        return self.app.world

    @property
    def actor(self) -> str:
        """The caller's name in the audit log."""
        return f"key {self.key}"

    @property
    def operates(self) -> bool:
        """Whether the caller is the operator."""
        return self.role == "operator"

    @property
    def number(self) -> int:
        """The id in the path.  Raises NotFound if no row can have it."""
        return number(self.part("id"))

    def part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    async def owner(self) -> int:
        """The organization that the request writes for.  Raises BadInput if an operator names none."""
        if self.organization is None:
            raise BadInput("organization", "an operator names it in the query: ?organization=ID")
        if self.role == "operator":
            statement = admin.ORGANIZATION(organization=self.organization)
            if not await self.world.rows(statement):
                raise BadInput("organization", f"no organization {self.organization}")
        return self.organization

    async def body(self, limit: int = MAX_BODY) -> bytes:
        """The raw body of at most `limit` bytes.  Raises TooLarge as soon as its size is known, Unreadable, Gone."""
        announced = self.request.headers.get("content-length", "0")
        if not _LENGTH.fullmatch(announced):
            raise Unreadable("", "Content-Length is not a number of bytes")
        if int(announced) > limit:
            raise TooLarge(f"at most {limit} bytes")
        parts: list[bytes] = []
        size = 0
        try:
            async for part in self.request.stream():
                size += len(part)
                if size > limit:
                    raise TooLarge(f"at most {limit} bytes")
                parts.append(part)
        except ClientDisconnect:
            raise Gone from None
        return b"".join(parts)

    async def text(self) -> str:
        """The body as text.  Raises Unreadable if it is not UTF-8, TooLarge, Gone."""
        try:
            return (await self.body()).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Unreadable("", "the body is not UTF-8") from None

    async def json(self) -> Any:
        """The body as JSON.  Raises Unreadable, TooLarge, Gone."""
        text = await self.text()
        try:
            return parse_json(text, unique=True)
        except BadInput as error:
            raise Unreadable(error.problems[0].field, error.problems[0].message) from None

    async def form(self) -> Form:
        """The body as a form.  Raises WrongMedia, Unreadable, TooLarge, Gone."""
        media_type = self.request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
        if media_type != FORM:
            raise WrongMedia(f"send the form as {FORM}")
        text = await self.text()
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS)
        except ValueError:
            raise Unreadable("", f"at most {MAX_FIELDS} fields") from None
        return Form(pairs)


def number(text: str) -> int:
    """An id.  Raises NotFound if no row can have it."""
    if not _NUMBER.fullmatch(text) or int(text) > MAX_INTEGER:
        raise NotFound("an id is a whole number from 1 to 2^53 - 2")
    return int(text)


async def authenticate(request: Request, app: App) -> queries.Caller:
    """The caller that the key belongs to.  Raises Unauthenticated, TooMany.

    The requests of an address are limited before the key is looked up, so that guessing keys costs no reads.  Those of
    a key are limited after that."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("send a key: Authorization: Bearer <key>")
    await _count(app.world, f"address {_address(request)}", "this address has made too many requests")
    caller = await queries.authenticate(app.world, key.strip())
    if caller is None:
        raise Unauthenticated("this key is unknown or revoked")
    await _count(app.world, f"key {caller.key}", "this key has made too many requests")
    return caller


async def _count(world: World, who: str, refusal: str) -> None:
    """Count a request.  A limiter that does not answer in time allows it: the limit must not stop the service."""
    if world.limiter is None:
        return
    with suppress(NoAnswer):
        if not await world.within(world.limiter.allow(who)):
            raise TooMany(refusal)


def _address(request: Request) -> str:
    """The address of the client.  On Cloudflare only the platform knows it, and overwrites this header."""
    if request.client is not None:
        return request.client.host
    return request.headers.get("cf-connecting-ip", "unknown")


def read_query(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """The query, each name once.  Raises BadInput on an unknown name, so that a misspelt filter is not ignored."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise BadInput(clean(name)[:100], f"unknown parameter; known: {', '.join(known) or 'none'}")
        if name in found:
            raise BadInput(name, "must be given once")
        found[name] = clean(value)
    return found


def query_number(query: Mapping[str, str], name: str) -> int | None:
    """An id in the query; None if it is not given.  Raises BadInput."""
    if name not in query:
        return None
    try:
        return number(query[name])
    except NotFound as error:
        raise BadInput(name, str(error)) from None


def query_flag(query: Mapping[str, str], name: str) -> bool:
    """A switch in the query; False if it is not given.  Raises BadInput."""
    given = query.get(name, "false")
    if given not in ("true", "false"):
        raise BadInput(name, "must be true or false")
    return given == "true"


def organization_of(caller: queries.Caller, query: Mapping[str, str]) -> int | None:
    """The organization whose rows the caller may use; None: all.  Raises Forbidden, BadInput.

    A key of an organization cannot name another one."""
    wanted = query_number(query, "organization")
    if caller.organization is None:
        return wanted
    if wanted not in (None, caller.organization):
        raise Forbidden(f"this key is for organization {caller.organization}")
    return caller.organization


def wants_json(request: Request) -> bool:
    """Whether the client is a program: it accepts JSON, and a browser accepts HTML."""
    accepted = request.headers.get("accept", "").lower()
    return "json" in accepted and "text/html" not in accepted
