"""Any JSON API, described as data in the options of a profile: a new API needs no code.

The description has the requests with placeholders, and the places of answer, usage, cost, error and job in the replies
(`core/described.py`).  Statuses mean the same as for every other API, unless the description says otherwise.
`docs/profiles.md` describes Replicate, Ollama's own API, Cohere and llama.cpp's own API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import quote

import httpx2
from pydantic import Field

from consumer.core.described import Description, ErrorPlaces, check_description
from consumer.core.errors import BadInput
from consumer.core.fill import fill, fill_text
from consumer.core.http_api import ending_of, headers_of, object_in, refused, unreadable
from consumer.core.model import parse
from consumer.core.money import Usage, reported_amount
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.pointer import find
from consumer.core.refusals import Refusal, read_refusal
from consumer.core.strictjson import dump_json
from consumer.core.times import iso
from consumer.core.turns import turns, warmed
from consumer.core.usage import count, read_usage
from consumer.core.wrapped import unwrapped
from consumer.provider import (
    Abilities,
    About,
    BadSignature,
    Event,
    Provider,
    Quote,
    Reply,
    Settings,
    Verb,
    check_standard_secret,
    excerpt,
    standard_webhook,
    strict_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from consumer.core.described import RequestTemplate
    from consumer.core.http_api import Ending
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.provider import Call


class HttpSettings(Settings):
    """The settings of a candidate in a route: each is sent where the description of the API has its placeholder."""

    model: str | None = Field(default=None, min_length=1, max_length=200)
    """The name of the model, as the API knows it."""
    max_output_tokens: int = Field(default=1024, ge=1, le=1_000_000)
    """The most tokens that the model may write."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sent only if it is given."""
    system: str = Field(default="", max_length=50_000)
    """A system message.  Without a place of its own in the description it stands in front of the prompt."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Values for `{{parameters.NAME}}`, or all of them for `{{parameters}}`."""


_ENDINGS: Final[dict[str, Ending]] = {"failed": Failed, "retry": Retry, "unknown": Unknown}
_MAX_JOB: Final = 500
"""The most characters of the API's own name for a job."""


class Http(Provider):
    """The API that the options of a profile describe."""

    name = "http"
    kind: Literal["ai", "human"] = "ai"
    abilities = Abilities(poll=True, cancel=True, webhook=True)
    settings = HttpSettings
    about = About(
        structured="json_schema or prompt, as described",
        price="price, price_book, or a charge at a described place",
        limits="429, 503, retry-after; statuses and codes as described",
        webhooks="Standard Webhooks, if described",
        tried="live: llama.cpp's own API; aimock as Ollama and Cohere; a fake of Replicate with a ledger",
    )

    def __init__(self, description: Description | None = None) -> None:
        self._description = description

    def of(self, account: Account) -> Http:
        """The adapter with the kind and the abilities that the description states."""
        description = _read(account)
        variant = Http(description)
        variant.kind = description.kind
        variant.abilities = Abilities(
            honours_key=description.honours_key,
            poll=description.poll is not None,
            cancel=description.cancel is not None,
            webhook=description.calls_back,
        )
        return variant

    def check(self, account: Account) -> None:
        super().check(account)
        check_standard_secret(account.webhook_secret)
        check_description(_read(account), account)

    def quote(self, call: Call) -> Quote:
        """The bytes of the request, its address included, bound the input tokens.

        The output has a bound if the request holds the limit."""
        settings, description = _settings(call), self._of(call)
        request = _filled(call, description, description.submit)
        limit = settings.max_output_tokens if "max_output_tokens" in description.uses else None
        return Quote(len(request.content) + len(str(request.url)), limit, settings.model)

    def request(self, call: Call, verb: Verb) -> httpx2.Request:
        description = self._of(call)
        template = description.requests.get(verb.value)
        if template is None:
            raise BadInput(f"options.{verb.value}", "is not described")
        if verb is Verb.SUBMIT and "model" in description.uses and _settings(call).model is None:
            raise BadInput(
                "settings.model", "must name a model: the description of the API has a place for it"
            )
        return _filled(call, description, template)

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:
        description, value = self._of(call), _json(reply.body)
        if not 200 <= reply.status < 300:
            return _refused(call, description, verb, reply)
        if verb is Verb.CANCEL and (description.state is None or value is None):
            return Failed("cancelled", charged=_charged(description, reply, value))
        state = _state(description, value)
        if description.state is None and reply.status == 202 and self._can_answer_later:
            state = "working"
        if state == "working":
            return self._accepted(call, description, verb, reply)
        return _ended(call, description, reply, state)

    def verify_webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        if not self.abilities.webhook:
            raise BadSignature("this profile has no callbacks: its submission holds no {{callback_url}}")
        event = standard_webhook(account.webhook_secret, headers, body, now_ms)
        return Event(event, _job(self._description or _read(account), _json(body)))

    def read_webhook(self, call: Call, body: bytes) -> Outcome | None:
        """The end of a job.  A webhook without an end says nothing new: the API is polled, if it can be."""
        description, value = self._of(call), _json(body)
        state = _state(description, value)
        ended = state in ("failed", "cancelled") or (
            (state == "succeeded" or description.state is None)
            and find(value, description.answer) is not None
        )
        return _ended(call, description, Reply(200, {}, body), state) if ended else None

    @property
    def _can_answer_later(self) -> bool:
        return self.abilities.poll or self.abilities.webhook

    def _of(self, call: Call) -> Description:
        return self._description or _read(call.account)

    def _accepted(self, call: Call, description: Description, verb: Verb, reply: Reply) -> Outcome:
        job = _job(description, _json(reply.body)) or call.external_id
        if job is None and description.needs_job("poll") and not self.abilities.webhook:
            return Unknown("no_job: the API works on it, and names no job that could be polled")
        wait = reply.retry_after_ms(call.now_ms)
        if verb is Verb.SUBMIT and wait is None:
            wait = description.poll_after_ms
        return Accepted(job, wait if self.abilities.poll else None)


def _read(account: Account) -> Description:
    return parse(Description, account.profile.options, "options")


def _settings(call: Call) -> HttpSettings:
    return cast("HttpSettings", call.settings)


# ------------------------------------------------------------------------------------ the request


def _filled(call: Call, description: Description, template: RequestTemplate) -> httpx2.Request:
    values = _values(call, description)

    def in_address(name: str) -> str:
        """A value as a part of the address.  The name of a model may have parts of its own."""
        value = values(name)
        text = value if isinstance(value, str) else "" if value is None else dump_json(value)
        parts = text.split("/") if name == "model" else [text]
        if not all(part.strip(".") for part in parts):
            raise BadInput(name, "must not be empty, `.` or `..` in an address")
        return "/".join(quote(part, safe="") for part in parts)

    headers = {name.lower(): fill_text(text, values) for name, text in template.headers.items()}
    if call.account.key is not None and not description.places_secret:
        headers.setdefault("authorization", f"Bearer {call.account.key}")
    base = (call.account.profile.base_url or "").rstrip("/")
    body = None if template.body is None else dump_json(fill(template.body, values)).encode()
    address = f"{base}{fill_text(template.path, in_address)}"
    return httpx2.Request(template.method, address, headers=headers_of(call.account, headers), content=body)


def _values(call: Call, description: Description) -> Callable[[str], Any]:
    """The values of the placeholders of a call, by their names."""
    settings, uses, first = _settings(call), description.uses, call.task_input is None
    asked = turns(call, schema="schema" not in uses)
    messages = [{"role": turn.role, "content": turn.text} for turn in asked]
    texts = [turn.text for turn in asked]
    if settings.system and "system" not in uses:
        messages.insert(0, {"role": "system", "content": settings.system})
        texts.insert(0, settings.system)
    job = call.external_id or call.key
    known = {
        "prompt": "\n\n".join(texts),
        "messages": messages,
        "input": call.value if first else call.task_input,
        "previous": None if first else call.value,
        "title": call.title,
        "description": call.description,
        "schema": call.output_schema,
        "system": settings.system or None,
        "model": settings.model,
        "max_output_tokens": settings.max_output_tokens,
        "temperature": None if settings.temperature is None else warmed(settings.temperature, call.repair),
        "parameters": settings.parameters or None,
        "feedback": call.feedback,
        "draft": call.draft,
        "deadline": None if call.deadline_ms is None else iso(call.deadline_ms),
        "callback_url": call.callback_url,
        "key": call.key,
        "secret": call.account.key,
        "job": job if all(part.strip(".") for part in job.split("/")) else call.key,
    }

    def value(name: str) -> Any:
        parameter = name.removeprefix("parameters.")
        return known.get(name) if parameter == name else settings.parameters.get(parameter)

    return value


# -------------------------------------------------------------------------------------- the reply


def _json(body: bytes) -> Any:
    try:
        return strict_json(body)
    except ValueError:
        return None


def _state(description: Description, value: Any) -> str | None:
    return None if description.state is None else description.state.of(value)


def _job(description: Description, value: Any) -> str | None:
    found = None if description.job is None else find(value, description.job)
    name = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    return name if 0 < len(name) <= _MAX_JOB and name.isprintable() else None


def _ended(call: Call, description: Description, reply: Reply, state: str | None) -> Outcome:
    """The outcome of a success: of a request that was answered, or of a job that ended in this state."""
    value = _json(reply.body)
    error = _error(description, reply)
    charged = _charged(description, reply, value)
    if state == "cancelled":
        return Failed("cancelled", usage=_usage(call, description, value), charged=charged)
    if state == "failed" or (description.state is None and error.stated):
        return _failed(call, description, reply, error, state)
    if description.state is not None and state is None:
        return unreadable(call, reply, known=value is not None, missing="a known state", charged=charged)
    content = _content(find(value, description.answer))
    usage = _usage(call, description, value, worked=True, wrote=content is not None)
    if content is None and usage is None and state is None:
        return unreadable(call, reply, known=value is not None, missing="an answer", charged=charged)
    usage = usage or _uncounted(call, description, value)
    if description.refusal is not None and description.refusal.holds(value):
        said = excerpt(find(value, description.refusal.at), call.account)
        return Failed(f"refused: {said}".removesuffix(": "), usage=usage, charged=charged)
    cut = description.truncated is not None and description.truncated.holds(value)
    if cut and not isinstance(content, dict):
        why = f"output_limit: the answer was cut at {_settings(call).max_output_tokens} tokens"
        return Failed(why, usage=usage, charged=charged)
    if content is None:
        return Failed("no_answer: the reply has no answer at its place", usage=usage, charged=charged)
    return Succeeded(content, usage=usage, charged=charged)


def _content(found: Any) -> Any:
    """The answer: JSON, or the JSON in a text, or in the parts of a text; None if it is empty."""
    if isinstance(found, list) and all(isinstance(part, str) for part in found):
        found = "".join(found)
    if isinstance(found, str):
        return unwrapped(found) if found.strip() else None
    return found


def _error(description: Description, reply: Reply) -> Refusal:
    """The error in a reply: at the places that the description names, or else where most APIs have it."""
    value, places = _json(reply.body), description.error or ErrorPlaces()
    code, message = [None if at is None else find(value, at) for at in (places.code, places.message)]
    said = message if isinstance(message, str) else ""
    codes = (str(code),) if isinstance(code, str | int) and not isinstance(code, bool) else ()
    if said or codes:
        return Refusal(stated=True, codes=codes, sentence=said, parameter="")
    usual = read_refusal(object_in(reply), reply.text)
    return usual if description.error is None else usual._replace(stated=False)


def _ending(call: Call, description: Description, reply: Reply, error: Refusal) -> Ending:
    codes = {code: _ENDINGS[said] for code, said in description.codes.items()}
    said = description.statuses.get(str(reply.status))
    if said is not None and codes.keys().isdisjoint(error.codes):
        return _ENDINGS[said]
    return ending_of(call, reply, error, codes)


def _failed(call: Call, description: Description, reply: Reply, error: Refusal, state: str | None) -> Outcome:
    """The outcome of an error in a success: of a job that failed, or of a request."""
    value = _json(reply.body)
    usage, charged = _usage(call, description, value), _charged(description, reply, value)
    if state is None:
        ending = _ending(call, description, reply, error)
        return refused(call, reply, error, ending, usage=usage, charged=charged)
    usage = usage or _uncounted(call, description, value)
    why = f"failed: {excerpt(error.sentence, call.account)}".removesuffix(": ")
    known = [_ENDINGS[description.codes[code]] for code in error.codes if code in description.codes]
    ending = known[0] if known else Failed
    if ending is Retry:
        return Retry(why, reply.retry_after_ms(call.now_ms), usage=usage, charged=charged)
    return ending(why, usage=usage, charged=charged)


def _refused(call: Call, description: Description, verb: Verb, reply: Reply) -> Outcome:
    """The outcome of a status that reports an error.  Only that of a submission says something about the work."""
    error, value = _error(description, reply), _json(reply.body)
    ending = _ending(call, description, reply, error) if verb is Verb.SUBMIT else Unknown
    charged = (
        _charged(description, reply, value) or None
    )  # on errors, gateways report 0 for what they do not know
    return refused(call, reply, error, ending, usage=_usage(call, description, value), charged=charged)


# -------------------------------------------------------------------------------------- the money


def _model(call: Call, description: Description, value: Any) -> str | None:
    """The model that answered, which may be another one than the settings name."""
    found = None if description.model is None else find(value, description.model)
    return excerpt(found, call.account, 200) or _settings(call).model


def _usage(
    call: Call, description: Description, value: Any, *, worked: bool = False, wrote: bool = False
) -> Usage | None:
    places = {"input_tokens": description.input_tokens, "output_tokens": description.output_tokens}
    found = {name: count(find(value, at)) for name, at in places.items() if at is not None}
    counts = {name: number for name, number in found.items() if number is not None}
    return read_usage(counts, _model(call, description, value) or "", worked=worked, wrote=wrote)


def _uncounted(call: Call, description: Description, value: Any) -> Usage | None:
    """The usage of work that the API did and does not count: one without numbers, which keeps the cost unknown.

    None if the profile has a price for answers only: work without an answer costs nothing then."""
    price = call.account.profile.price
    by_answer = price is not None and not (price.input_per_million or price.output_per_million)
    return None if by_answer and description.cost is None else Usage(model=_model(call, description, value))


def _charged(description: Description, reply: Reply, value: Any) -> Decimal | None:
    cost = description.cost
    if cost is None:
        return None
    said = reply.headers.get(cost.header.lower()) if cost.header is not None else find(value, cost.at or "")
    amount = reported_amount(said)
    return None if amount is None else amount * cost.dollars
