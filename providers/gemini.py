"""Google's generateContent, of the Gemini API, answered while the worker waits.

The API has no idempotency keys, and no request that finds an answer whose reply was lost.  Its webhooks are for
batches.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import quote as quoted

import httpx2
from pydantic import Field

from consumer.core.excerpt import excerpt
from consumer.core.http_api import (
    RefusedForms,
    check_extra,
    ending_of,
    evidence,
    headers_of,
    object_in,
    object_of,
    refused,
    unreadable,
)
from consumer.core.model import Model, parse
from consumer.core.money import Usage
from consumer.core.outcome import Failed, Retry, Succeeded
from consumer.core.refusals import first, read_refusal
from consumer.core.strictjson import dump_json
from consumer.core.turns import turns, warmed
from consumer.core.usage import count, read_usage, storable
from consumer.core.wrapped import unwrapped
from consumer.provider import About, Probe, Provider, Quote, Settings

if TYPE_CHECKING:
    from consumer.core.http_api import Ending
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.core.refusals import Refusal
    from consumer.provider import Call, Reply, Verb


class GeminiSettings(Settings):
    """The settings of a candidate in a route."""

    model: str = Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")
    """The name of the model, such as `gemini-2.5-flash`."""
    max_output_tokens: int = Field(default=1024, ge=1, le=1_000_000)
    """The most tokens that the model may write, thoughts included."""
    system: str = Field(default="", max_length=50_000)
    """A system instruction."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sent only if it is given.  Models from 3.5 on ignore it."""
    thinking_level: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    """Sent only if it is given, for models from 3 on."""
    thinking_budget: int | None = Field(default=None, ge=-1, le=1_000_000)
    """Sent only if it is given, for the models before: the most tokens of thoughts; 0: none, -1: as the model likes."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How JSON is requested: bound to the schema, JSON of any shape, or by the prompt alone."""
    service_tier: Literal["standard", "flex", "priority"] = "standard"
    """How the API processes the call: cheaper and later, or sooner and at a higher price."""


class GeminiOptions(Model):
    """The options of a profile."""

    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, such as `safetySettings`."""


_SET_BY_ADAPTER: Final = frozenset(
    "contents systemInstruction generationConfig serviceTier tools toolConfig cachedContent".split()
)
"""Fields that `extra_body` cannot set: answers would become unreadable, or cost more than their reservation."""

_WITHHELD: Final = "content_filter: the provider withheld the answer ({said})"
_BROKEN: Final = "no_answer: the model gave no answer ({said})"

# fmt: off
CODES: Final[dict[str, Ending]] = {
    "quota_is_zero": Failed,   # as 429: the account's tier has no quota for this model, and waiting brings none
}
"""The outcomes of codes that are more precise than the status.  `quota_is_zero` is our word for a quota of 0."""

FINISHES: Final[dict[str, tuple[Ending, str] | None]] = {
    "STOP": None,
    "FINISH_REASON_UNSPECIFIED": None,
    "MAX_TOKENS": (Failed, "output_limit: the answer was cut at {limit} tokens"),
    "CONTINUATION": (Failed, "output_limit: the answer was cut at the API's own limit"),
    "SAFETY": (Failed, _WITHHELD),
    "RECITATION": (Failed, _WITHHELD),
    "LANGUAGE": (Failed, _WITHHELD),
    "BLOCKLIST": (Failed, _WITHHELD),
    "PROHIBITED_CONTENT": (Failed, _WITHHELD),
    "SPII": (Failed, _WITHHELD),
    "ESCALATION": (Failed, _WITHHELD),
    "MODEL_ARMOR": (Failed, _WITHHELD),
    "PUP_LIMITED_DISABLED": (Failed, "account_limited: the provider has limited or disabled the account ({said})"),
    "IMAGE_SAFETY": (Failed, _WITHHELD),
    "IMAGE_PROHIBITED_CONTENT": (Failed, _WITHHELD),
    "IMAGE_RECITATION": (Failed, _WITHHELD),
    "IMAGE_OTHER": (Failed, _BROKEN),
    "NO_IMAGE": (Failed, _BROKEN),
    "OTHER": (Failed, _BROKEN),
    "UNEXPECTED_TOOL_CALL": (Failed, _BROKEN),
    "TOO_MANY_TOOL_CALLS": (Failed, _BROKEN),
    "MALFORMED_FUNCTION_CALL": (Failed, _BROKEN),
    "MISSING_THOUGHT_SIGNATURE": (Failed, _BROKEN),
    "MALFORMED_RESPONSE": (Retry, "malformed: the model's answer broke its own format ({said})"),
}
"""The outcome of each way in which a model stops; None if there may be an answer."""
# fmt: on

_WRONG_REQUEST: Final = (400, 422)
_STANDARD: Final = ("standard", "unspecified", "")
_ON_DEMAND: Final = (None, "", "ON_DEMAND", "TRAFFIC_TYPE_UNSPECIFIED")


class Gemini(Provider):
    """`POST {base_url}/models/{model}:generateContent`."""

    name = "gemini"
    kind = "ai"
    settings = GeminiSettings
    about = About(
        structured="json_schema (responseJsonSchema), json_object, prompt",
        price="price_book google; cached tokens and thoughts included",
        limits="429, 503, retryDelay of RetryInfo, a quota of 0",
        tried="recorded shapes, with google's own client; aimock",
    )

    def __init__(self) -> None:
        self._loose = RefusedForms()
        """Forms whose schema was refused."""

    def check(self, account: Account) -> None:
        super().check(account)
        options = parse(GeminiOptions, account.profile.options, "options")
        check_extra(options.extra_body, _SET_BY_ADAPTER)

    def quote(self, call: Call) -> Quote:
        """The bytes of the request bound its input tokens: a token is at least one byte."""
        settings = _settings(call)
        tier = settings.service_tier
        context = {} if tier == "standard" else {"service_tier": tier}
        return Quote(len(self._body(call)), settings.max_output_tokens, settings.model, context)

    def request(self, call: Call, verb: Verb) -> httpx2.Request:  # the only verb is SUBMIT
        model = quoted(_settings(call).model, safe="")
        return _request(call.account, "POST", f"models/{model}:generateContent", self._body(call))

    def probe(self, account: Account) -> Probe:
        """The list of models, which is free."""
        return Probe(_request(account, "GET", "models?pageSize=1000"))

    def again(self, call: Call, verb: Verb, reply: Reply) -> httpx2.Request | None:
        """The same request with the schema in its prompt, if the API refuses the schema."""
        if reply.status not in _WRONG_REQUEST or self._mechanism(call) != "json_schema":
            return None
        if not read_refusal(object_in(reply), "").about_schema:
            return None
        self._loose.add(call, _settings(call).model)
        return self.request(call, verb)

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:  # the only verb is SUBMIT
        data = object_in(reply)
        refusal = _detailed(read_refusal(data, reply.text), data)
        if 200 <= reply.status < 300 and not refusal.stated:
            return _answer(call, reply, data)
        return refused(call, reply, refusal, ending_of(call, reply, refusal, CODES))

    def _body(self, call: Call) -> bytes:
        return _body(call, self._mechanism(call))

    def _mechanism(self, call: Call) -> str:
        settings = _settings(call)
        loose = settings.structured == "json_schema" and self._loose.has(call, settings.model)
        return "json_object" if loose else settings.structured


def _request(account: Account, method: str, path: str, body: bytes | None = None) -> httpx2.Request:
    headers = headers_of(account, {} if account.key is None else {"x-goog-api-key": account.key})
    address = f"{(account.profile.base_url or '').rstrip('/')}/{path}"
    return httpx2.Request(method, address, headers=headers, content=body)


def _settings(call: Call) -> GeminiSettings:
    return cast("GeminiSettings", call.settings)


def _options(call: Call) -> GeminiOptions:
    return parse(GeminiOptions, call.account.profile.options, "options")


# ----------------------------------------------------------------------------------- the request


def _body(call: Call, mechanism: str) -> bytes:
    settings = _settings(call)
    config: dict[str, Any] = {"maxOutputTokens": settings.max_output_tokens}
    if settings.temperature is not None:
        config["temperature"] = warmed(settings.temperature, call.repair)
    thinking = {"thinkingLevel": settings.thinking_level, "thinkingBudget": settings.thinking_budget}
    if given := {name: value for name, value in thinking.items() if value is not None}:
        config["thinkingConfig"] = given
    if mechanism != "none":
        config["responseMimeType"] = "application/json"
    if mechanism == "json_schema":
        config["responseJsonSchema"] = call.output_schema
    asked = turns(call, schema=mechanism != "json_schema")
    body: dict[str, Any] = {
        "contents": [
            {"role": "model" if turn.role == "assistant" else "user", "parts": [{"text": turn.text}]}
            for turn in asked
        ],
        "generationConfig": config,
    }
    if settings.system:
        body["systemInstruction"] = {"parts": [{"text": settings.system}]}
    if settings.service_tier != "standard":
        body["serviceTier"] = settings.service_tier
    return dump_json(_options(call).extra_body | body).encode()


# ------------------------------------------------------------------------------------- the reply


def _detailed(refusal: Refusal, data: dict[str, Any]) -> Refusal:
    """The refusal with the codes in the details of an error, which are more precise than its status."""
    details = object_of(data.get("error")).get("details")
    codes = []
    for detail in details if isinstance(details, list) else []:
        found = object_of(detail)
        violations = found.get("violations")
        values = (
            [object_of(each).get("quotaValue") for each in violations] if isinstance(violations, list) else []
        )
        codes += ["quota_is_zero"] if any(value in ("0", 0) for value in values) else []
        codes += [found["reason"]] if isinstance(found.get("reason"), str) else []
    return refusal._replace(codes=(*codes, *refusal.codes)) if codes else refusal


def _answer(call: Call, reply: Reply, data: dict[str, Any]) -> Outcome:
    candidate, blocked = (
        first(data.get("candidates")),
        object_of(data.get("promptFeedback")).get("blockReason"),
    )
    if not candidate:
        usage = _usage(call, reply, data, worked=False, wrote=False)
        if blocked:
            said = excerpt(blocked, call.account, 50) or "no reason"
            return Failed(f"content_filter: the provider blocked the prompt ({said})", usage=usage)
        if usage is not None:
            return Failed("no_answer: the reply has a usage and no candidates", usage=usage)
        return unreadable(call, reply, known=bool(data), missing="candidates")
    content, thought = _content(object_of(candidate.get("content")).get("parts"))
    # The call consumed tokens, even if the server did not count them.
    wrote = content is not None or thought
    usage = _usage(call, reply, data, worked=True, wrote=wrote) or Usage(model=_model(call, data))
    finish = candidate.get("finishReason")
    said = excerpt(finish, call.account, 50) or "no finishReason"
    found = FINISHES.get(finish) if isinstance(finish, str) else None
    if finish == "MAX_TOKENS" and isinstance(content, dict):
        found = None  # whole JSON: only what followed it was cut
    if found is None and content is not None:
        return Succeeded(content, usage=usage)
    ending, why = found or (Failed, _BROKEN)
    why = why.format(said=said, limit=_settings(call).max_output_tokens)
    if ending is Retry:
        return Retry(why, reply.retry_after_ms(call.now_ms), usage=usage)
    return ending(why, usage=usage)


def _content(parts: Any) -> tuple[Any, bool]:
    """The JSON value in the parts of an answer, the text itself if it is not JSON, None if it is empty; and whether
    there are thoughts."""
    found = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    texts = [part.get("text") for part in found if part.get("thought") is not True]
    text = "".join(text for text in texts if isinstance(text, str))
    return (unwrapped(text) if text.strip() else None), any(part.get("thought") is True for part in found)


# ------------------------------------------------------------------------------------- the money


def _usage(call: Call, reply: Reply, data: dict[str, Any], *, worked: bool, wrote: bool) -> Usage | None:
    """The usage.  Thoughts are output beside the answer's own tokens; counts of zero are left out of Google's JSON."""
    reported = object_of(data.get("usageMetadata"))
    if not reported:
        return None
    cached = reported.get("cachedContentTokenCount") or 0
    thoughts = reported.get("thoughtsTokenCount") or 0
    counted = {
        "prompt_tokens": _sum(reported, "promptTokenCount", "toolUsePromptTokenCount"),
        "completion_tokens": _sum(reported, "candidatesTokenCount", "thoughtsTokenCount"),
        "total_tokens": reported.get("totalTokenCount"),
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }
    usage = read_usage(counted, _model(call, data), worked=worked, wrote=wrote)
    if usage is None:
        return None
    named = evidence(responseId=data.get("responseId"))
    return replace(usage, raw={**storable(reported), **named}, context=_context(call, reply, reported))


def _sum(reported: dict[str, Any], *names: str) -> int | None:
    counts = [count(reported.get(name) or 0) for name in names]
    known = [found for found in counts if found is not None]
    return sum(known) if len(known) == len(counts) else None


def _context(call: Call, reply: Reply, reported: dict[str, Any]) -> dict[str, str]:
    """How the call was processed, where that changes its price.  A priority call may be processed as a standard one."""
    tier = reply.headers.get("x-gemini-service-tier", _settings(call).service_tier).strip().lower()
    context = {} if tier in _STANDARD else {"service_tier": tier[:50]}
    if reported.get("trafficType") not in _ON_DEMAND:
        context["traffic_type"] = str(reported["trafficType"])[:50]
    return context


def _model(call: Call, data: dict[str, Any]) -> str:
    """The model that answered, which may be another one than the settings name."""
    return excerpt(data.get("modelVersion"), call.account, 200) or _settings(call).model
