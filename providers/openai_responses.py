"""OpenAI's Responses API: answered while the worker waits, or in the background.

A background response is a job: it is polled, its project's webhook reports its end, and it can be cancelled.  The API
has no idempotency keys and no list of responses, and its webhooks name its own id only.  So nothing finds a response
whose first reply was lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast
from urllib.parse import quote as quoted

import httpx2
from pydantic import Field, model_validator

from consumer.core import http_api
from consumer.core.excerpt import excerpt
from consumer.core.http_api import ending_of, headers_of, object_in, object_of, refused, unreadable
from consumer.core.model import Model, parse
from consumer.core.money import Usage
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.refusals import read_refusal
from consumer.core.strict import allows_strict
from consumer.core.strictjson import dump_json
from consumer.core.turns import turns, warmed
from consumer.core.usage import read_usage, storable
from consumer.core.wrapped import unwrapped
from consumer.provider import (
    Abilities,
    About,
    Event,
    Pause,
    Probe,
    Provider,
    Quote,
    Settings,
    Verb,
    check_standard_secret,
    standard_webhook,
    strict_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.http_api import Ending
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.provider import Call, Reply


class ResponsesSettings(Settings):
    """The settings of a candidate in a route."""

    model: str = Field(min_length=1, max_length=200)
    """The name of the model, such as `gpt-5-mini`."""
    max_output_tokens: int = Field(default=1024, ge=16, le=1_000_000)
    """The most tokens that the model may write, reasoning included.  The API refuses fewer than 16."""
    system: str = Field(default="", max_length=50_000)
    """The instructions of the request."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sent only if it is given."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """Sent only if it is given."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How JSON is requested: bound to the schema, JSON of any shape, or by the prompt alone."""
    background: bool = False
    """Whether the answer comes later, as a job."""
    completion_window: Literal["soonest", "2h", "8h"] = "soonest"
    """With `background`: how long the job may take, at a lower price."""
    service_tier: Literal["default", "flex", "priority"] = "default"
    """How the API processes the call: cheaper and later, or sooner and at a higher price."""
    store: bool = True
    """Whether OpenAI keeps the response.  Without it, a background response can be polled for about ten minutes."""

    @model_validator(mode="after")
    def _later_is_in_the_background(self) -> Self:
        if self.completion_window != "soonest" and not (self.background and self.service_tier == "default"):
            raise ValueError("completion_window 2h and 8h need background, and the service tier default")
        return self


class ResponsesOptions(Model):
    """The options of a profile."""

    strict: bool = True
    """Whether the server has OpenAI's strict mode.  It is requested only if the schema allows it."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request."""


_SET_BY_ADAPTER: Final = frozenset(
    {
        "model", "input", "instructions", "max_output_tokens", "text", "reasoning", "background", "background_options",
        "service_tier", "store", "stream", "tools", "tool_choice", "metadata", "conversation", "previous_response_id",
        "prompt", "moderation",
    }
)  # fmt: skip
"""Fields that `extra_body` cannot set: answers would become unreadable, or cost more than their reservation."""

# fmt: off
FAILURES: Final[dict[str, Ending]] = {
    "server_error": Retry,
    "rate_limit_exceeded": Retry, "vector_store_timeout": Retry,
    "invalid_prompt": Failed,
    "bio_policy": Failed,
    "misalignment_policy_violation": Failed,
    "data_residency_mismatch": Failed,
    "invalid_image": Failed, "invalid_image_format": Failed, "invalid_image_url": Failed, "invalid_image_mode": Failed,
    "invalid_base64_image": Failed,
    "image_too_large": Failed,
    "image_too_small": Failed,
    "image_parse_error": Failed,
    "image_content_policy_violation": Failed,
    "image_file_too_large": Failed,
    "unsupported_image_media_type": Failed,
    "empty_image_file": Failed,
    "failed_to_download_image": Failed,
    "image_file_not_found": Failed,
}
"""The outcomes of codes of a response that began and failed.  A code that is not here fails."""

INCOMPLETE: Final = {
    "max_output_tokens": "output_limit: the answer was cut at {limit} tokens",
    "content_filter": "content_filter: the provider withheld the answer",
    "max_messages": "output_limit: the answer was cut at the API's number of messages",
    "steered": "cut_short: another message ended the answer",
}
"""The reason of a failure for each reason for which a response is incomplete."""
# fmt: on

WRITTEN: Final = frozenset({"server_error"})
"""Codes of failures after which the model may have written something: without a usage, their cost is unknown."""

_WRONG_REQUEST: Final = (400, 422)
_OPEN: Final = ("queued", "in_progress")
_FIRST_POLL: Final = 2_000
"""Milliseconds until a job is polled that no webhook reports."""
_POLL_BESIDE_WEBHOOK: Final = 60_000
"""Milliseconds until a job is polled whose end a webhook should report: webhooks get lost."""
_LONGEST_POLL: Final = 240_000
"""The longest time between polls of a response that OpenAI keeps for about ten minutes only."""


class OpenAIResponses(Provider):
    """`POST {base_url}/responses`."""

    name = "openai_responses"
    kind = "ai"
    abilities = Abilities(poll=True, cancel=True, webhook=True, callback=False)
    settings = ResponsesSettings
    about = About(
        structured="json_schema strict (text.format), json_object, prompt",
        price="price_book openai; service tiers and completion windows included",
        limits="429, 503, x-should-retry, retry-after, x-ratelimit-*",
        webhooks="Standard Webhooks, one endpoint of the project",
        tried="recorded shapes, with openai's own client; aimock",
    )

    def __init__(self) -> None:
        self._loose = http_api.RefusedForms()
        """Forms that were refused in strict mode."""

    def check(self, account: Account) -> None:
        super().check(account)
        check_standard_secret(account.webhook_secret)
        options = parse(ResponsesOptions, account.profile.options, "options")
        http_api.check_extra(options.extra_body, _SET_BY_ADAPTER)

    def quote(self, call: Call) -> Quote:
        """The bytes of the request bound its input tokens: a token is at least one byte."""
        settings = _settings(call)
        context = _context(settings, settings.service_tier, {})
        return Quote(len(self._body(call)), settings.max_output_tokens, settings.model, context)

    def request(self, call: Call, verb: Verb) -> httpx2.Request | Pause:
        if verb is Verb.SUBMIT:
            return _request(call.account, "POST", "responses", self._body(call))
        if call.external_id is None:
            return Pause(
                Unknown("no_job: the call was not made in the background, or its first reply was lost")
            )
        path = f"responses/{quoted(call.external_id, safe='')}"
        if verb is Verb.CANCEL:
            return _request(call.account, "POST", f"{path}/cancel", b"{}")
        return _request(call.account, "GET", path)

    def probe(self, account: Account) -> Probe:
        """The list of models, which is free."""
        return Probe(_request(account, "GET", "models"))

    def again(self, call: Call, verb: Verb, reply: Reply) -> httpx2.Request | None:
        """The same request without strict mode, if the server refuses the schema in that mode."""
        if verb is not Verb.SUBMIT or reply.status not in _WRONG_REQUEST or not self._is_strict(call):
            return None
        if not read_refusal(object_in(reply), "").about_schema:
            return None
        self._loose.add(call, _settings(call).model)
        return cast("httpx2.Request", self.request(call, verb))

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:
        data = object_in(reply)
        if 200 <= reply.status < 300 and data.get("object") == "response":
            return _response(call, verb, reply, data)
        refusal = read_refusal(data, reply.text)
        if verb is not Verb.SUBMIT:
            # Neither a refused question nor a forgotten response says that the work was not done.
            outcome = refused(call, reply, refusal, Unknown, request_id=_request_id(reply))
        elif not 200 <= reply.status < 300 or refusal.stated:
            ending = ending_of(call, reply, refusal)
            outcome = refused(call, reply, refusal, ending, request_id=_request_id(reply))
        else:
            outcome = unreadable(call, reply, known=bool(data), missing="a response")
        return outcome

    def verify_webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        """The body is `{"type": "response.completed", "data": {"id": "resp_..."}}`: the answer must be polled."""
        event = standard_webhook(account.webhook_secret, headers, body, now_ms)
        try:
            data = object_of(object_of(strict_json(body)).get("data"))
        except ValueError:
            data = {}
        named = data.get("id")
        return Event(event, named if isinstance(named, str) else None)

    def _body(self, call: Call) -> bytes:
        return _body(call, strict=self._is_strict(call))

    def _is_strict(self, call: Call) -> bool:
        """Whether the request asks for strict mode."""
        settings = _settings(call)
        bound = settings.structured == "json_schema" and _options(call).strict
        return bound and allows_strict(call.output_schema) and not self._loose.has(call, settings.model)


def _request(account: Account, method: str, path: str, body: bytes | None = None) -> httpx2.Request:
    headers = headers_of(account, {} if account.key is None else {"authorization": f"Bearer {account.key}"})
    address = f"{(account.profile.base_url or '').rstrip('/')}/{path}"
    return httpx2.Request(method, address, headers=headers, content=body)


def _settings(call: Call) -> ResponsesSettings:
    return cast("ResponsesSettings", call.settings)


def _options(call: Call) -> ResponsesOptions:
    return parse(ResponsesOptions, call.account.profile.options, "options")


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _request_id(reply: Reply) -> str | None:
    return reply.headers.get("x-request-id")


# ----------------------------------------------------------------------------------- the request


def _body(call: Call, *, strict: bool) -> bytes:
    settings = _settings(call)
    asked = turns(call, schema=settings.structured != "json_schema")
    body: dict[str, Any] = {
        "model": settings.model,
        "input": [{"role": turn.role, "content": turn.text} for turn in asked],
        "max_output_tokens": settings.max_output_tokens,
        "service_tier": settings.service_tier,
        "store": settings.store,
        "metadata": {"bizq_key": call.key},  # a person finds the response by it in OpenAI's logs
    }
    if settings.system:
        body["instructions"] = settings.system
    if settings.temperature is not None:
        body["temperature"] = warmed(settings.temperature, call.repair)
    if settings.reasoning_effort is not None:
        body["reasoning"] = {"effort": settings.reasoning_effort}
    if settings.structured == "json_object":
        body["text"] = {"format": {"type": "json_object"}}
    elif settings.structured == "json_schema":
        schema = {"type": "json_schema", "name": "answer", "strict": strict, "schema": call.output_schema}
        body["text"] = {"format": schema}
    if settings.background:
        body["background"] = True
    if settings.completion_window != "soonest":
        body["background_options"] = {"completion_window": settings.completion_window}
    return dump_json(_options(call).extra_body | body).encode()


# ------------------------------------------------------------------------------------- the reply


def _response(call: Call, verb: Verb, reply: Reply, data: dict[str, Any]) -> Outcome:
    """The outcome of a response, by its status."""
    status, content, refusal = data.get("status"), *_content(data)
    if status in _OPEN:
        return _accepted(call, verb, data)
    usage = _usage(call, reply, data, wrote=content is not None)
    if status == "failed":
        return _failed(call, reply, data, usage)
    # The call may have consumed tokens, even if the server did not count them.
    usage = usage or Usage(model=_model(call, data))
    if status == "cancelled":
        return Failed("cancelled: the response was cancelled", usage=usage)
    if status == "incomplete" and not isinstance(content, dict):
        reason = excerpt(object_of(data.get("incomplete_details")).get("reason"), call.account, 50)
        known = INCOMPLETE.get(reason, f"incomplete: the answer was cut ({reason or 'no reason'})")
        return Failed(known.format(limit=_settings(call).max_output_tokens), usage=usage)
    if content is not None:
        return Succeeded(content, usage=usage)
    if refusal is not None:
        return Failed(f"refused: {excerpt(refusal, call.account)}".removesuffix(": "), usage=usage)
    said = excerpt(status, call.account, 50) or "no status"
    return Failed(f"no_answer: the model gave no answer ({said})", usage=usage)


def _accepted(call: Call, verb: Verb, data: dict[str, Any]) -> Outcome:
    named = data.get("id")
    if verb is Verb.CANCEL:
        return Unknown("not_cancelled: the response is still open")
    if not isinstance(named, str) or not named:
        return Unknown("unreadable_reply: it is a job without an id")
    if verb is Verb.SUBMIT:
        wait = _FIRST_POLL if call.account.webhook_secret is None else _POLL_BESIDE_WEBHOOK
        return Accepted(named, wait)
    return Accepted(named, _LONGEST_POLL if data.get("store") is False else None)


def _failed(call: Call, reply: Reply, data: dict[str, Any], usage: Usage | None) -> Outcome:
    """The outcome of a response that began and failed."""
    error = object_of(data.get("error"))
    code = error["code"] if isinstance(error.get("code"), str) else ""
    if usage is None and code in WRITTEN:
        usage = Usage(model=_model(call, data))
    name = excerpt(f"failed {code}".strip(), call.account, 100)
    why = f"{name}: {excerpt(error.get('message'), call.account)}".removesuffix(": ")
    if FAILURES.get(code) is Retry:
        # Every reply says when its limits are full again; only another header says that this one was refused for them.
        asked = {name: value for name, value in reply.headers.items() if "ratelimit" not in name}
        return Retry(why, reply._replace(headers=asked).retry_after_ms(call.now_ms), usage=usage)
    return Failed(why, usage=usage)


def _content(data: dict[str, Any]) -> tuple[Any, str | None]:
    """The JSON value of the answer, the text itself if it is not JSON, None if it is empty; and a refusal."""
    messages = [each for each in _objects(data.get("output")) if each.get("type") == "message"]
    parts = [
        part
        for each in messages
        if each.get("phase") != "commentary"
        for part in _objects(each.get("content"))
    ]
    texts = [part.get("text") for part in parts if part.get("type") == "output_text"]
    text = "".join(text for text in texts if isinstance(text, str))
    refusals = [part.get("refusal") for part in parts if part.get("type") == "refusal"]
    said = next((each for each in refusals if isinstance(each, str)), "" if refusals else None)
    return (unwrapped(text) if text.strip() else None), said


# ------------------------------------------------------------------------------------- the money


def _usage(call: Call, reply: Reply, data: dict[str, Any], *, wrote: bool) -> Usage | None:
    reported = object_of(data.get("usage"))
    usage = read_usage(reported, _model(call, data), worked=True, wrote=wrote)
    if usage is None:
        return None
    named = http_api.evidence(id=data.get("id"), request_id=_request_id(reply))
    context = _context(_settings(call), data.get("service_tier"), reported)
    return replace(usage, raw={**storable(reported), **named}, context=context)


def _context(settings: ResponsesSettings, tier: Any, reported: dict[str, Any]) -> dict[str, str]:
    """How the call is processed, where that changes its price: `tier` is the one that was really used."""
    context = {}
    used = tier if isinstance(tier, str) else settings.service_tier
    if used != "default":
        context["service_tier"] = used[:50]
    if settings.completion_window != "soonest":
        context["completion_window"] = settings.completion_window
    written = object_of(object_of(reported.get("input_tokens_details")).get("cache_write_tokens_details"))
    if written.get("ttl_12h_tokens"):
        context["cache_write"] = "12h"
    return context


def _model(call: Call, data: dict[str, Any]) -> str:
    """The model that answered, which may be another one than the settings name."""
    return excerpt(data.get("model"), call.account, 200) or _settings(call).model
