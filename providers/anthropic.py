"""Anthropic's Messages API, answered while the worker waits.

The API has no idempotency keys, and no request that finds a message whose reply was lost.  Its webhooks are for other
products.  Gateways offer the same API for other models.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, cast

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
from consumer.core.narrow import narrowed
from consumer.core.outcome import Failed, Succeeded
from consumer.core.refusals import read_refusal
from consumer.core.strictjson import dump_json
from consumer.core.turns import turns
from consumer.core.usage import count, read_usage, storable
from consumer.core.wrapped import unwrapped
from consumer.provider import About, Probe, Provider, Quote, Settings

if TYPE_CHECKING:
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.provider import Call, Reply, Verb


class AnthropicSettings(Settings):
    """The settings of a candidate in a route."""

    model: str = Field(min_length=1, max_length=200)
    """The name of the model, such as `claude-haiku-4-5`."""
    max_output_tokens: int = Field(default=1024, ge=1, le=1_000_000)
    """The most tokens that the model may write, thinking included."""
    system: str = Field(default="", max_length=50_000)
    """A system prompt."""
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """Sent only if it is given."""
    thinking: Literal["adaptive", "disabled"] | None = None
    """Sent only if it is given."""
    structured: Literal["json_schema", "tool", "none"] = "json_schema"
    """How JSON is requested: bound to the schema, as the input of a tool that must be called, or by the prompt."""
    cache: Literal["5m", "1h"] | None = None
    """How long the API keeps the system prompt in its cache."""
    service_tier: Literal["standard_only", "auto"] = "standard_only"
    """`auto`: with priority, where the organization has paid for that in advance.  No price book has its price."""


class AnthropicOptions(Model):
    """The options of a profile."""

    version: str = Field(default="2026-10-21", pattern=r"^\d{4}-\d{2}-\d{2}$")
    """The version of the API (`anthropic-version`)."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request."""


_SET_BY_ADAPTER: Final = frozenset(
    {
        "model", "messages", "max_tokens", "system", "stream", "tools", "tool_choice", "output_config", "thinking",
        "service_tier", "speed", "inference_geo", "mcp_servers", "container", "fallbacks",
    }
)  # fmt: skip
"""Fields that `extra_body` cannot set: answers would become unreadable, or cost more than their reservation."""

# fmt: off
STOPS: Final[dict[str, str | None]] = {
    "end_turn": None,
    "stop_sequence": None,
    "tool_use": None,
    "max_tokens": "output_limit: the answer was cut at {limit} tokens",
    "model_context_window_exceeded": "context_window: the answer was cut, because the model's context is full",
    "refusal": "refused: the model declined to answer",
    "pause_turn": "paused: the model wants to use a tool that was not offered",
}
"""The reason of a failure for each way in which a model stops; None if there may be an answer."""
# fmt: on

_TOOL: Final = "answer"
_HIDDEN_TOKENS: Final = 1_000
"""Tokens that the API itself adds to a request, for the bound.  For tools, its page of tool use documents up to 530 of
them (read 28 November 2026); for a schema, a text without a number."""
_WRONG_REQUEST: Final = (400, 422)
_STANDARD_TIERS: Final = (None, "standard")
_ANYWHERE: Final = (None, "", "global", "not_available")
"""Values of `inference_geo` that cost nothing extra."""


class Anthropic(Provider):
    """`POST {base_url}/v1/messages`."""

    name = "anthropic"
    kind = "ai"
    settings = AnthropicSettings
    about = About(
        structured="json_schema (output_config.format), forced tool, prompt",
        price="price_book anthropic; cache writes and reads included",
        limits="429, 529, retry-after, anthropic-ratelimit-*",
        tried="recorded shapes, with anthropic's own client; aimock",
    )

    def __init__(self) -> None:
        self._loose = RefusedForms()
        """Forms whose schema was refused."""

    def check(self, account: Account) -> None:
        super().check(account)
        options = parse(AnthropicOptions, account.profile.options, "options")
        check_extra(options.extra_body, _SET_BY_ADAPTER)

    def quote(self, call: Call) -> Quote:
        """The bytes of the request bound its input tokens, except for those that the API adds."""
        settings = _settings(call)
        context = {} if settings.service_tier == "standard_only" else {"service_tier": "priority"}
        tokens = len(self._body(call)) + _HIDDEN_TOKENS
        return Quote(tokens, settings.max_output_tokens, settings.model, context)

    def request(self, call: Call, verb: Verb) -> httpx2.Request:  # the only verb is SUBMIT
        return _request(call.account, "POST", "messages", self._body(call))

    def probe(self, account: Account) -> Probe:
        """The list of models, which is free."""
        return Probe(_request(account, "GET", "models?limit=1000"))

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
        refusal = read_refusal(data, reply.text)
        if 200 <= reply.status < 300 and not refusal.stated:
            return _answer(call, reply, data)
        details = object_of(object_of(data.get("error")).get("details"))
        code = details.get("error_code")
        if isinstance(code, str):
            refusal = refusal._replace(codes=(code, *refusal.codes))
        ending = ending_of(call, reply, refusal)
        return refused(call, reply, refusal, ending, request_id=_request_id(reply, data))

    def _body(self, call: Call) -> bytes:
        return _body(call, self._mechanism(call))

    def _mechanism(self, call: Call) -> str:
        """How this request asks for JSON: a schema that cannot be bound is put into the prompt."""
        settings = _settings(call)
        if settings.structured != "json_schema":
            return settings.structured
        bound = narrowed(call.output_schema) is not None and not self._loose.has(call, settings.model)
        return "json_schema" if bound else "none"


def _request(account: Account, method: str, path: str, body: bytes | None = None) -> httpx2.Request:
    own = {"anthropic-version": parse(AnthropicOptions, account.profile.options, "options").version}
    if account.key is not None:
        own["x-api-key"] = account.key
    address = f"{(account.profile.base_url or '').rstrip('/')}/v1/{path}"
    return httpx2.Request(method, address, headers=headers_of(account, own), content=body)


def _settings(call: Call) -> AnthropicSettings:
    return cast("AnthropicSettings", call.settings)


def _options(call: Call) -> AnthropicOptions:
    return parse(AnthropicOptions, call.account.profile.options, "options")


def _request_id(reply: Reply, data: dict[str, Any]) -> Any:
    return reply.headers.get("request-id") or data.get("request_id")


# ----------------------------------------------------------------------------------- the request


def _body(call: Call, mechanism: str) -> bytes:
    settings = _settings(call)
    asked = turns(call, schema=mechanism == "none")
    body: dict[str, Any] = {
        "model": settings.model,
        "max_tokens": settings.max_output_tokens,
        "messages": [{"role": turn.role, "content": turn.text} for turn in asked],
        "service_tier": settings.service_tier,
    }
    if settings.system:
        block: dict[str, Any] = {"type": "text", "text": settings.system}
        if settings.cache is not None:
            block["cache_control"] = {"type": "ephemeral", "ttl": settings.cache}
        body["system"] = [block]
    if settings.thinking is not None:
        body["thinking"] = {"type": settings.thinking}
    config: dict[str, Any] = {}
    if settings.effort is not None:
        config["effort"] = settings.effort
    if mechanism == "json_schema":
        config["format"] = {"type": "json_schema", "schema": narrowed(call.output_schema)}
    if config:
        body["output_config"] = config
    if mechanism == "tool":
        tool = {"name": _TOOL, "description": "Give the answer.", "input_schema": call.output_schema}
        body |= {"tools": [tool], "tool_choice": {"type": "tool", "name": _TOOL}}
    return dump_json(_options(call).extra_body | body).encode()


# ------------------------------------------------------------------------------------- the reply


def _answer(call: Call, reply: Reply, data: dict[str, Any]) -> Outcome:
    parts = data.get("content")
    blocks = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    stop = data.get("stop_reason")
    if not isinstance(stop, str) and not blocks:
        usage = _usage(call, reply, data, wrote=False)
        if usage is not None:
            return Failed("no_answer: the reply has a usage and no content", usage=usage)
        return unreadable(call, reply, known=bool(data), missing="content")
    # The call consumed tokens, even if the server did not count them.
    usage = _usage(call, reply, data, wrote=bool(blocks)) or Usage(model=_model(call, data))
    content = _content(blocks)
    why = _why(call, stop, data, content)
    return Succeeded(content, usage=usage) if why is None else Failed(why, usage=usage)


def _content(blocks: list[dict[str, Any]]) -> Any:
    """The input of the tool, else the text as JSON if it is JSON; None if there is neither."""
    for block in blocks:
        if block.get("type") == "tool_use" and block.get("name") == _TOOL:
            return block.get("input")
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    text = "".join(text for text in texts if isinstance(text, str))
    return unwrapped(text) if text.strip() else None


def _why(call: Call, stop: Any, data: dict[str, Any], content: Any) -> str | None:
    """Why there is no answer that can be used; None if there is one.

    A way to stop that the table does not have may still bring an answer, and the worker checks every answer."""
    said = STOPS.get(stop) if isinstance(stop, str) else None
    if stop == "max_tokens" and isinstance(content, dict) and _settings(call).structured != "tool":
        return None  # whole JSON: only what followed it was cut
    if said is not None:
        details = object_of(data.get("stop_details"))
        more = excerpt(details.get("explanation") or details.get("category"), call.account)
        why = said.format(limit=_settings(call).max_output_tokens)
        return f"{why}: {more}" if more else why
    if content is None:
        return f"no_answer: the model gave no answer ({excerpt(stop, call.account, 50) or 'no stop_reason'})"
    return None


# ------------------------------------------------------------------------------------- the money


def _usage(call: Call, reply: Reply, data: dict[str, Any], *, wrote: bool) -> Usage | None:
    """The usage, with the tokens of the cache counted as input: the API reports them beside it."""
    reported = object_of(data.get("usage"))
    parts = [reported.get(name) or 0 for name in ("cache_creation_input_tokens", "cache_read_input_tokens")]
    counts = [count(part) for part in (reported.get("input_tokens"), *parts)]
    known = [found for found in counts if found is not None]
    total = sum(known) if len(known) == len(counts) else None
    usage = read_usage({**reported, "input_tokens": total} if reported else None, _model(call, data),
                       worked=True, wrote=wrote)  # fmt: skip
    if usage is None:
        return None
    named = evidence(id=data.get("id"), request_id=_request_id(reply, data))
    return replace(usage, raw={**storable(reported), **named}, context=_context(reported))


def _context(reported: dict[str, Any]) -> dict[str, str]:
    """How the call was processed, where that changes its price."""
    context = {}
    if reported.get("service_tier") not in _STANDARD_TIERS:
        context["service_tier"] = str(reported["service_tier"])[:50]
    if reported.get("speed") not in _STANDARD_TIERS:
        context["speed"] = str(reported["speed"])[:50]
    if reported.get("inference_geo") not in _ANYWHERE:
        context["inference_geo"] = str(reported["inference_geo"])[:50]
    return context


def _model(call: Call, data: dict[str, Any]) -> str:
    """The model that answered, which may be another one than the settings name."""
    return excerpt(data.get("model"), call.account, 200) or _settings(call).model
