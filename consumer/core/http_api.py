"""What adapters of HTTP APIs have in common: the headers of a request, and the outcome of a reply without an answer.

They pass plain values and their own tables of codes.  An adapter decides what its API's codes mean; the statuses mean
the same for all of them (`core/statuses.py`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from consumer.core.errors import BadInput
from consumer.core.excerpt import excerpt
from consumer.core.outcome import Failed, Retry, Succeeded, Unknown
from consumer.core.refusals import FORBIDDEN, first, read_refusal
from consumer.core.statuses import Proof, proof_of
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from consumer.core.money import Usage
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.core.refusals import Refusal

Ending = type[Failed] | type[Retry] | type[Unknown]

_NONE: Final[Mapping[str, Ending]] = MappingProxyType({})
_MAX_FORMS: Final = 1_000
_MAX_NAME: Final = 100


class Called(Protocol):
    """The parts of a call that these functions read."""

    @property
    def account(self) -> Account: ...
    @property
    def output_schema(self) -> Mapping[str, Any]: ...
    @property
    def now_ms(self) -> int: ...


class Answered(Protocol):
    """The parts of a reply that these functions read."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...
    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...
    def retry_after_ms(self, now_ms: int) -> int | None: ...


def headers_of(account: Account, own: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request with a JSON body: the adapter's own, replaced by those of the profile."""
    common = {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": "bizq-task-worker",
    }
    return common | dict(own) | {name.lower(): value for name, value in account.headers.items()}


def object_of(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object; empty otherwise."""
    return value if isinstance(value, dict) else {}


def evidence(**names: Any) -> dict[str, str]:
    """The provider's names for an exchange, as far as it gave them: its support finds the call by them."""
    return {key: name for key, name in names.items() if isinstance(name, str) and 0 < len(name) <= _MAX_NAME}


def check_extra(extra_body: Mapping[str, Any], own: frozenset[str]) -> None:
    """Check the option `extra_body` of a profile.  Raises BadInput for a field that the adapter sets itself."""
    for field in sorted(own & extra_body.keys()):
        raise BadInput(f"options.extra_body.{field}", "must be left out: the adapter sets this field")


def object_in(reply: Answered) -> dict[str, Any]:
    """The JSON object in a reply, or in the list that Google's server puts around an error; empty if there is none."""
    try:
        read = reply.json()
    except ValueError:
        return {}
    if isinstance(read, list):
        return first(read)
    return object_of(read)


class RefusedForms:
    """Forms of requests that a server refused since the process began: a profile, a model and a schema.

    An adapter may remember them and nothing else.  To forget one costs a refused request."""

    def __init__(self) -> None:
        self._forms: set[tuple[str, str, str]] = set()

    def add(self, call: Called, model: str) -> None:
        """Remember the form of this call."""
        if len(self._forms) >= _MAX_FORMS:
            self._forms.clear()
        self._forms.add(_form(call, model))

    def has(self, call: Called, model: str) -> bool:
        """Whether the server refused the form of this call."""
        return bool(self._forms) and _form(call, model) in self._forms


def _form(call: Called, model: str) -> tuple[str, str, str]:
    return call.account.name, model, dump_json(call.output_schema)


def ending_of(call: Called, reply: Answered, refusal: Refusal, codes: Mapping[str, Ending] = _NONE) -> Ending:
    """The class of the outcome of an error: from its codes, else from its status and `x-should-retry`."""
    for code in refusal.codes:
        if code in codes:
            return codes[code]
    if refusal.account_fault(reply.status) is not None:
        return Retry
    status = reply.status
    if 200 <= status < 300:
        # OpenRouter reports an error after the work began as 200.  Its code is the status that the error would have.
        status = next((int(code) for code in refusal.codes if code.isdecimal() and len(code) == 3), 500)
    advice = reply.headers.get("x-should-retry")
    match proof_of(status):
        case Proof.REFUSED:
            # A bare 403 may be about the account or about this request: only further calls show it.
            may_change = status == FORBIDDEN and not refusal.stated and advice != "false"
            return Retry if may_change or advice == "true" else Failed
        case Proof.BUSY_IF_SAID if not refusal.stated and reply.retry_after_ms(call.now_ms) is None:
            return Unknown
        case Proof.BUSY | Proof.BUSY_IF_SAID:
            return Failed if advice == "false" else Retry
        case Proof.NONE:
            return Unknown


def refused(
    call: Called,
    reply: Answered,
    refusal: Refusal,
    ending: Ending,
    *,
    request_id: object = None,
    usage: Usage | None = None,
    charged: Decimal | None = None,
) -> Outcome:
    """The outcome of a reply that reports an error.

    `request_id`: the provider's name for the exchange.  It is evidence: its support finds the call by it."""
    code = excerpt(f"http_{reply.status} {refusal.name}", call.account, 100)
    why = f"{code}: {excerpt(refusal.sentence, call.account)}".removesuffix(": ")
    named = excerpt(request_id, call.account, 80)
    why = f"{why} ({named})" if named else why
    if ending is Retry:
        fault, wait = refusal.account_fault(reply.status), reply.retry_after_ms(call.now_ms)
        return Retry(why, wait, usage=usage, charged=charged, account=fault)
    return ending(why, usage=usage, charged=charged)


def probed(account: Account, reply: Answered) -> Outcome:
    """The outcome of a request for the list of models: their names, or None where the reply is no such list."""
    data = object_in(reply)
    refusal = read_refusal(data, reply.text)
    if 200 <= reply.status < 300 and not refusal.stated:
        return Succeeded(_listed(data))
    why = excerpt(f"http_{reply.status} {refusal.name}", account, 100)
    fault = refusal.account_fault(reply.status)
    return Failed(why) if fault is None else Retry(why, account=fault)


def _listed(data: dict[str, Any]) -> list[str] | None:
    """The names in a list of models: `data` with `id`, or Google's `models` with `name`."""
    listed = data.get("data", data.get("models"))
    if not isinstance(listed, list) or not all(isinstance(model, dict) for model in listed):
        return None
    names = (model.get("id", model.get("name")) for model in listed)
    return [name.removeprefix("models/") for name in names if isinstance(name, str)]


def unreadable(
    call: Called, reply: Answered, *, known: bool, missing: str, charged: Decimal | None = None
) -> Outcome:
    """The outcome of a success that holds neither an answer nor an error.

    `known`: the body is a JSON object.  `missing`: the field that an answer would have."""
    text = reply.text
    if text.startswith("<"):
        return Failed(
            f"not_an_api: the reply is a web page: {excerpt(text, call.account)}".removesuffix(": ")
        )
    if not text:
        what = "it is empty"
    elif known:
        what = f"it is JSON without {missing}"
    else:
        what = excerpt(text, call.account) or f"its JSON breaks off or is not valid, {len(reply.body)} bytes"
    return Unknown(f"unreadable_reply: {what}", charged=charged)
