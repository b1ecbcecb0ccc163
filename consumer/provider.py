"""What an adapter is: data, and small pure functions around an HTTP request and its response.

It never touches the database, the status store or the clock, keeps no state, and classifies its own failures:
every reply becomes exactly one outcome.  `tests/contracts/providers.py` says the rest, and tests it.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from standardwebhooks import Webhook

from consumer.core.errors import BadInput
from consumer.core.model import Model
from consumer.core.outcome import Failed
from consumer.core.strictjson import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account

MAX_REPLY_BYTES = 4 * 1024 * 1024
"""What is read of a reply; a longer one is a failure."""
WEBHOOK_AGE_MS = 300_000
"""How far the time on a webhook may be from ours, either way."""


class Verb(StrEnum):
    """What we can ask a provider.  SUBMIT is for all; the others exist where its API has them."""

    SUBMIT = "submit"
    POLL = "poll"
    LOOKUP = "lookup"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Call:
    """One execution, as its adapter sees it.

    `key` is the same for every sending of this execution.  `prompt` is the template's with its placeholders
    filled in, empty when it has none.  `value` is the input of the stage: the task's input, or the output of the
    stage before.  `draft` is what a reviewer judges.  `feedback` says what was wrong last time.  `callback_url` is
    where an asynchronous provider may call us; it carries the execution's signed id.  `timeout_s` is what is left
    for this call."""

    execution_id: int
    key: str
    account: Account
    settings: Settings
    title: str
    description: str
    prompt: str
    value: Any
    output_schema: Mapping[str, Any]
    timeout_s: float
    now_ms: int
    feedback: str | None = None
    draft: Any = None
    assigned_to: int | None = None
    callback_url: str | None = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response, read whole (at most `MAX_REPLY_BYTES`).  `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as strict JSON.  Raises ValueError."""
        return strict_json(self.body)

    def retry_after_ms(self, now_ms: int) -> int | None:
        """The header `Retry-After` (seconds or a date), or `retry-after-ms`, in milliseconds from now."""
        exact = self.headers.get("retry-after-ms")
        if exact and _is_number(exact):
            return max(0, int(float(exact)))
        after = self.headers.get("retry-after")
        if not after:
            return None
        if _is_number(after):
            return max(0, int(float(after) * 1000))
        try:
            date = parsedate_to_datetime(after)
        except (ValueError, OverflowError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0, int((date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000) - now_ms)


def _is_number(text: str) -> bool:
    return len(text) < 16 and text.strip().replace(".", "", 1).isdecimal()


def strict_json(text: str | bytes) -> Any:
    """Read JSON.  Raises ValueError, also for NaN, 1e999 and absurd nesting."""
    try:
        return parse_json(text)
    except BadInput as error:
        raise ValueError(str(error)) from None


def excerpt(text: object, account: Account, limit: int = 300) -> str:
    """What a provider said, fit for a row and a log: one line, cut, and without our own secrets."""
    if not isinstance(text, str):
        return ""
    for secret in (account.key, account.webhook_secret):
        if secret:
            text = text.replace(secret, "***")
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Pause:
    """No request at all: the outcome, after so many milliseconds."""

    outcome: Outcome
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A verified webhook: `id` is the same for each delivery of it.  It is matched by the execution's signed id
    in the callback address, else by `external_id`."""

    id: str
    external_id: str | None = None


class BadSignature(Exception):
    """A webhook that is not from who it says, or too old.  Nothing of it is kept."""


def standard_webhook(secret: str | None, headers: Mapping[str, str], body: bytes, now_ms: int) -> str:
    """Verify a webhook of the Standard Webhooks format and return its id.  Raises BadSignature.

    Only the library's signing is used: its own check reads the wall clock, and raises at will on garbage."""
    try:
        message, stamp = headers["webhook-id"], int(headers["webhook-timestamp"])
        signatures = headers["webhook-signature"].encode().split(b" ")
        expected = Webhook(secret or "").sign(message, datetime.fromtimestamp(stamp, UTC), body.decode())
    except Exception:  # noqa: BLE001  # whatever a stranger sends: it is not a signed webhook
        raise BadSignature("not a signed webhook") from None
    # Several signatures: the sender is changing its secret.
    if not any(hmac.compare_digest(signature, expected.encode()) for signature in signatures):
        raise BadSignature("signed by somebody else")
    if abs(now_ms - stamp * 1000) > WEBHOOK_AGE_MS:
        raise BadSignature("too old, or from the future")
    return message


@dataclass(frozen=True, slots=True)
class Quote:
    """The most that a call can consume, for its reservation.  None: there is no bound."""

    input_tokens: int = 0
    output_tokens: int | None = 0
    model: str | None = None


class Settings(Model):
    """What a route may set for a candidate of this adapter.  Subclasses add fields."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an API can do.  `honours_key`: sending the same key twice does the work once."""

    honours_key: bool = False
    poll: bool = False
    lookup: bool = False
    cancel: bool = False
    webhook: bool = False
    verbs: frozenset[Verb] = field(init=False)

    def __post_init__(self) -> None:
        chosen = {Verb.SUBMIT}
        chosen |= {verb for verb in (Verb.POLL, Verb.LOOKUP, Verb.CANCEL) if getattr(self, verb.value)}
        object.__setattr__(self, "verbs", frozenset(chosen))

    @property
    def evidence(self) -> bool:
        """Whether it can tell later what became of a submission whose reply was lost."""
        return self.lookup or self.webhook


class Provider(ABC):
    """One AI API, or one source of people."""

    name: ClassVar[str]
    kind: ClassVar[Literal["ai", "human"]]
    abilities: ClassVar[Abilities] = Abilities()
    settings: ClassVar[type[Settings]] = Settings
    needs_base_url: ClassVar[bool] = True

    def check(self, account: Account) -> None:
        """Look at the profile when the deployment starts.  Raises BadInput naming the field."""
        if self.needs_base_url and account.profile.base_url is None:
            raise BadInput("base_url", f"{self.name} needs the address of its API")
        carried = {
            "key": account.key or "",
            **{f"headers.{k}": v for k, v in account.headers.items()},
        }
        for field_name, value in carried.items():
            if not (value.isascii() and value.isprintable()):
                raise BadInput(field_name, "holds a line break or another character that no header can carry")

    @abstractmethod
    def quote(self, call: Call) -> Quote:
        """The most that this call can consume."""

    def person(self, call: Call) -> int | None:
        """The user who is asked, where one is."""
        return call.assigned_to

    @abstractmethod
    def request(self, call: Call, verb: Verb) -> httpx2.Request | Pause:
        """The request to send for one of `abilities.verbs`; or the outcome itself, where nothing is sent."""

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:
        """What a reply means.  Total: any status and any body is one outcome, and nothing is raised.

        For LOOKUP and POLL, `Retry` means that the provider has no such job: it was never taken.
        For CANCEL, `Failed` means that it is cancelled."""
        return Failed(f"{self.name} does not answer {verb.value}")

    def webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        """Verify a webhook and say which event it is.  `headers` have lower-case names.  Raises BadSignature."""
        raise BadSignature(f"{self.name} sends no webhooks")

    def read_webhook(self, call: Call, body: bytes) -> Outcome | None:
        """What a verified webhook means for its execution; None: ask the provider (POLL)."""
        return None
