"""The port of adapters: the class `Provider` and the values that it exchanges with the worker.

An adapter makes one AI API, or one source of people, usable.  It is data and a few small pure functions around an HTTP
request and its response.  It never touches the database, the queue, the status store or the clock, and keeps no state.

The life of a call, with the functions of the adapter that the worker calls:

    the deployment starts     check            is this profile usable?
                              of               the adapter with the kind and the abilities for this profile
    before the call           quote            how much can it consume?  That much money is reserved
                              person           which user is asked, if it is one?
    the call                  request, reply   SUBMIT: the request to send, and the outcome that its reply means
    later, if it stays open   request, reply   POLL, LOOKUP or CANCEL, where the API has them
    a webhook arrives         verify_webhook   is it genuine, and which event is it?  The worker stores it and answers
    shortly after             read_webhook     the outcome that it means for its execution

An adapter classifies its own failures: every reply becomes exactly one outcome (`consumer/core/outcome.py`).  The
contract suite in `tests/contracts/providers.py` tests every registered adapter, and `docs/providers.md` has the steps
to a new one.
"""

from __future__ import annotations

import base64
import hmac
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from consumer.core.errors import BadInput
from consumer.core.excerpt import excerpt as excerpt  # noqa: PLC0414  # adapters import it from here
from consumer.core.model import Model
from consumer.core.outcome import Failed
from consumer.core.strictjson import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account

MAX_REPLY_BYTES = 4 * 1024 * 1024
"""Bytes of the longest reply that is read.  A call with a longer reply fails, although it may have been paid for."""
WEBHOOK_AGE_MS = 300_000
"""The largest difference between the time in a webhook and ours, in milliseconds, in both directions."""

WEBHOOK_KEY_BYTES = (16, 64)
"""The least and the most bytes of a key that signs webhooks.  The standard asks for 24; some senders use 16."""
MAX_WEBHOOK_SECRETS = 2
"""The most secrets of a profile that sign webhooks at the same time: a new one and the old one."""


class Verb(StrEnum):
    """The kinds of request.  Every adapter has SUBMIT, and the others as far as its `abilities` say so."""

    SUBMIT = "submit"
    """Do the work."""
    POLL = "poll"
    """Report on the job with the external id of the call."""
    LOOKUP = "lookup"
    """Find the job that was submitted under the key of the call, after its reply was lost."""
    CANCEL = "cancel"
    """End the job: its task no longer needs it."""


class Call(NamedTuple):
    """One execution, as its adapter sees it.

    `execution_id`: the row in `task_executions`.  `key`: our key for this execution, the same each time that it is
    sent.  `account`: the profile with the values of its secrets.  `settings`: those of the route, checked against
    the adapter's `settings` class.

    `title`, `description`: the texts of the task.  `prompt`: the template's prompt with its placeholders filled in;
    empty if the template has none.  `value`: the input of the stage, which is the task's input in the first stage and
    the result of the stage before in a later one.  `task_input`: the task's input where `value` is that result; None in
    the first stage.  `output_schema`: the JSON Schema that the answer must fit; the
    worker checks it.

    `feedback`: why the last answer was not accepted, or the note of a reviewer.  `draft`: the answer that was not
    accepted, or the result that a reviewer judges or sent back; cut to a text if it is long.  `repair`: how many
    answers of this candidate did not fit; a call that repairs one should vary what it can, or the same answer comes
    again.  `assigned_to`: the user that the task is assigned to.

    `timeout_s`: the seconds that the call may take; the worker ends it then.  `now_ms`: milliseconds UTC.
    `deadline_ms`: when the worker stops waiting for a job or a person, in milliseconds UTC.
    `callback_url`: the address for webhooks about this execution, with its signed id; only for adapters with the
    abilities `webhook` and `callback`.  `external_id`: the provider's name for the job, once it is known."""

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
    repair: int = 0
    task_input: Any = None
    assigned_to: int | None = None
    deadline_ms: int | None = None
    callback_url: str | None = None
    external_id: str | None = None


class Reply(NamedTuple):
    """A complete HTTP response of at most `MAX_REPLY_BYTES`.  The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, without white space around it."""
        return self.body.decode("utf-8", "replace").strip()

    def json(self) -> Any:
        """The body, read by `strict_json`.  Raises ValueError."""
        return strict_json(self.body)

    def retry_after_ms(self, now_ms: int) -> int | None:
        """The wait that the provider asks for, in milliseconds from `now_ms`; None if it asks for none.

        `core/waits.py` lists the headers and the fields of errors that it is read from."""
        from consumer.core.waits import asked_wait_ms  # noqa: PLC0415  # start-up is limited, and few replies ask

        try:
            body = self.json()
        except ValueError:
            body = None
        return asked_wait_ms(self.headers, body, now_ms)


def strict_json(text: str | bytes) -> Any:
    """Read JSON from a provider.  Raises ValueError, also for NaN, 1e999 and absurd nesting.

    Use it instead of the module `json`: text that passes here can be stored, and cannot exhaust a Worker's stack."""
    try:
        return parse_json(text)
    except BadInput as error:
        raise ValueError(str(error)) from None


class Pause(NamedTuple):
    """A step that sends no request: its outcome, which is known beforehand, after `after_ms` milliseconds."""

    outcome: Outcome
    after_ms: int = 0


class Probe(NamedTuple):
    """The cheapest request that shows whether an account works.  `costs`: in words, if it is not free."""

    request: httpx2.Request
    costs: str = ""


class Event(NamedTuple):
    """A webhook that was verified.

    `id`: the same each time that the provider delivers this event; the worker stores each id once.
    `external_id`: the provider's name for the job.  The worker finds the execution by its signed id in the callback
    address or, without one, by this name."""

    id: str
    external_id: str | None = None


class BadSignature(Exception):
    """A webhook is not signed with our secret, or too old.  Nothing of it is stored.  The message is logged."""


def standard_webhook(secret: str | None, headers: Mapping[str, str], body: bytes, now_ms: int) -> str:
    """Verify a webhook in the format of https://www.standardwebhooks.com and return its id.  Raises BadSignature.

    `secret`: the value of the profile's webhook secret, such as `whsec_...`.  While a secret is being changed, the
    value is both of them with a space in between, and a webhook that is signed with either one is genuine.  Only the
    signing of the library is used: its own check reads the wall clock, and raises various exceptions for garbage."""
    from standardwebhooks import Webhook  # noqa: PLC0415  # start-up is limited, and few deployments need it

    try:
        message, stamp = headers["webhook-id"], int(headers["webhook-timestamp"])
        signatures = headers["webhook-signature"].encode().split(b" ")
        at, text = datetime.fromtimestamp(stamp, UTC), body.decode()
        expected = [Webhook(each).sign(message, at, text).encode() for each in (secret or "").split() or [""]]
    except Exception:  # noqa: BLE001  # a stranger can send anything: it is not a signed webhook
        raise BadSignature("not a signed webhook") from None
    # A sender that is changing its secret sends several signatures.
    if not any(hmac.compare_digest(signature, ours) for signature in signatures for ours in expected):
        raise BadSignature("not signed with the webhook secret of this profile")
    if abs(now_ms - stamp * 1000) > WEBHOOK_AGE_MS:
        raise BadSignature("its time differs by more than 5 minutes from ours")
    return message


def check_standard_secret(secret: str | None) -> None:
    """Check the secret of `standard_webhook` when the deployment starts; None: the profile has none.

    Raises BadInput: with a text that is no key every genuine webhook would be refused as a forged one."""
    if secret is None:
        return
    parts = secret.split()
    if not 1 <= len(parts) <= MAX_WEBHOOK_SECRETS or not all(map(_can_sign, parts)):
        raise BadInput(
            "webhook_secret",
            "must be the signing secret as the provider shows it: `whsec_` and then base 64 of 16 to 64 bytes; while"
            " it is being changed, the new one and the old one with a space in between",
        )


def _can_sign(secret: str) -> bool:
    try:
        size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False
    return WEBHOOK_KEY_BYTES[0] <= size <= WEBHOOK_KEY_BYTES[1]


class Quote(NamedTuple):
    """The most that a call can consume.  The worker prices it and reserves that amount before it sends the call.

    `output_tokens` is None if the call has no bound.  It then begins only if no budget applies, its price is zero, or
    its candidate has a `max_cost`.  `model`: the name under which the price book has the model.  `context`: as in
    `Usage`; the higher price counts, of this and of the standard way."""

    input_tokens: int = 0
    output_tokens: int | None = 0
    model: str | None = None
    context: Mapping[str, str] = MappingProxyType({})


class Settings(Model):
    """The settings of a candidate in a route.  An adapter makes a subclass, with a field for each setting."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """The abilities of an API: they decide how the worker treats a call whose outcome is unknown."""

    honours_key: bool = False
    """Sending the same key twice does the work once.  The worker may then send an unknown call again."""
    poll: bool = False
    lookup: bool = False
    cancel: bool = False
    """The API has the request POLL, LOOKUP or CANCEL."""
    webhook: bool = False
    """The API sends a webhook when a job ends."""
    callback: bool = True
    """Its webhooks go to `callback_url`, which names the execution.  Else they go to one address of the account, and
    name only the API's own job: they are no evidence for a submission whose reply was lost."""
    verbs: frozenset[Verb] = field(init=False)
    """The requests that the API has; SUBMIT always."""

    def __post_init__(self) -> None:
        chosen = {Verb.SUBMIT}
        chosen |= {verb for verb in (Verb.POLL, Verb.LOOKUP, Verb.CANCEL) if getattr(self, verb.value)}
        object.__setattr__(self, "verbs", frozenset(chosen))

    @property
    def evidence(self) -> bool:
        """Whether the API can report later how a submission ended whose reply was lost."""
        return self.lookup or self.calls_back

    @property
    def calls_back(self) -> bool:
        """Whether a call needs a `callback_url`."""
        return self.webhook and self.callback


@dataclass(frozen=True, slots=True)
class About:
    """What people read about an adapter beside its abilities: `bizq providers` prints it.

    `structured`: how an answer is bound to a schema.  `price`: where the price of a call comes from.  `limits`: what
    the adapter understands of the API's limits.  `webhooks`: how they are signed.  `inputs`: what a call can carry.
    `tried`: what the adapter was tried against."""

    structured: str = "none"
    price: str = "price of the profile"
    limits: str = "rate and concurrency of the profile"
    webhooks: str = "Standard Webhooks"
    inputs: str = "text"
    tried: str = "its own tests"


class Provider(ABC):
    """An adapter for one AI API, or for one source of people.

    The functions with a default may be left as they are if the API has no such feature."""

    name: ClassVar[str]
    """The name that profiles use, which is the name of the adapter's file too."""
    kind: Literal["ai", "human"]
    """Whether a model or a person does the work: the kind of stage that may use it."""
    abilities: Abilities = Abilities()
    settings: ClassVar[type[Settings]] = Settings
    """The class of the settings in a route."""
    needs_base_url: ClassVar[bool] = True
    """Whether a profile must have a `base_url`.  An adapter without one sends no requests, and takes no connection."""
    about: ClassVar[About] = About()
    """What people read about it."""

    def of(self, account: Account) -> Provider:
        """The adapter for this profile: itself, unless the options of a profile say of which kind its provider is, or
        which abilities it has.

        It is called once for each profile that `check` accepted.  What it returns has the same name and settings."""
        return self

    def check(self, account: Account) -> None:
        """Check a profile when the deployment starts.  Raises BadInput naming the field of the profile.

        An adapter that reads `options` of a profile, or verifies webhooks, extends this, so that a mistake is found
        before the first call."""
        if self.needs_base_url and account.profile.base_url is None:
            raise BadInput("base_url", f"must be the address of the API that {self.name} calls")
        if account.profile.webhook_secret is not None and not self.abilities.webhook:
            raise BadInput("webhook_secret", f"must be left out: {self.name} receives no webhooks")
        carried = {
            "key": account.key or "",
            **{f"headers.{k}": v for k, v in account.headers.items()},
        }
        for field_name, value in carried.items():
            if not (value.isascii() and value.isprintable()):
                raise BadInput(
                    field_name, "must be printable ASCII text in one line, or no header can carry it"
                )

    @abstractmethod
    def quote(self, call: Call) -> Quote:
        """The most that this call can consume.

        The contract suite compares it with the usage of the recorded replies.  If it raises, the call counts as one
        without a bound."""

    def person(self, call: Call) -> int | None:
        """The id of the user who is asked; None if it is a model, or any person of the organization."""
        return call.assigned_to

    @abstractmethod
    def request(self, call: Call, verb: Verb) -> httpx2.Request | Pause:
        """The request to send for one of `abilities.verbs`, or a Pause with the outcome if nothing is sent.

        It must be the same for the same call, as a repeat under the same key is built again.  If it raises, nothing
        was sent: a submission fails, with the message of a BadInput as its reason."""

    def again(self, call: Call, verb: Verb, reply: Reply) -> httpx2.Request | None:
        """Another form of the same request, if this reply refuses its form and no work was done; None otherwise.

        It is sent at once, at most once for a call, and its reply counts.  An adapter may remember for its process
        which form a server refuses, and nothing else."""
        return None

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:
        """The outcome that a reply means.  It accepts any status and any body, and never raises.

        Return `Unknown` where the work may have been done, `Retry` or `Failed` only where it certainly was not.  The
        reason (`why`) begins with a word of the adapter, because that word is logged; a text of the provider may follow
        through `excerpt`.  Report `usage` and `charged` for failures too.

        For LOOKUP and POLL, `Retry` means that the provider has no such job: it never accepted the submission.
        For CANCEL, `Failed` means that the job is cancelled, and `Succeeded` brings an answer that came before."""
        return Failed(f"unsupported: {self.name} has no request {verb.value}")

    def probe(self, account: Account) -> Probe | None:
        """The request by which `bizq doctor --probe` finds out whether an account works; None if none is cheap."""
        return None

    def read_probe(self, account: Account, reply: Reply) -> Outcome:
        """The outcome that the reply to a probe means.  It accepts any status and any body, and never raises.

        `Succeeded` holds the names of the models that the account may use as a list, or None where there is no list.
        The default reads a list of models in the form of OpenAI, Anthropic or Google."""
        from consumer.core.http_api import probed  # noqa: PLC0415  # start-up is limited, and a probe is rare

        return probed(account, reply)

    def verify_webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        """Check the signature and the age of a webhook, and name its event.  Raises BadSignature.

        It is called while the provider waits for our response, before anything is stored.  The names of `headers` are
        in lower case."""
        raise BadSignature(f"{self.name} sends no webhooks")

    def read_webhook(self, call: Call, body: bytes) -> Outcome | None:
        """The outcome that a verified webhook means for its execution; None: poll the provider instead.

        It is called after the webhook was stored, once its execution is known.  It accepts any body, because a genuine
        webhook may be of a kind that the adapter does not know, and never raises."""
        return None
