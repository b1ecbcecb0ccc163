"""Chat completions: the API that OpenAI introduced and many servers offer.

This adapter serves Groq, OpenRouter, vLLM, Ollama, LiteLLM, llama.cpp, Cloudflare's `/ai/v1` and OpenAI itself.  The
options of the profile describe how a server differs from the others.  None of these APIs has idempotency keys, or
reports later how a lost call ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

import httpx2
from pydantic import Field

from consumer.core.http_api import (
    RefusedForms,
    check_extra,
    ending_of,
    headers_of,
    object_in,
    object_of,
    refused,
    unreadable,
)
from consumer.core.model import Model, parse
from consumer.core.money import Usage, reported_amount
from consumer.core.outcome import Failed, Retry, Succeeded
from consumer.core.refusals import first, read_refusal
from consumer.core.strict import allows_strict
from consumer.core.strictjson import dump_json
from consumer.core.turns import turns, warmed
from consumer.core.usage import read_usage
from consumer.core.wrapped import json_object, unwrapped
from consumer.provider import About, Probe, Provider, Quote, Settings, excerpt

if TYPE_CHECKING:
    from decimal import Decimal

    from consumer.core.http_api import Ending
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.core.refusals import Refusal
    from consumer.provider import Call, Reply, Verb


class ChatSettings(Settings):
    """The settings of a candidate in a route."""

    model: str = Field(min_length=1, max_length=200)
    """The name of the model, as the server knows it."""
    max_output_tokens: int = Field(default=1024, ge=1, le=1_000_000)
    """The most tokens that the model may write, reasoning included."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sent only if it is given."""
    system: str = Field(default="", max_length=50_000)
    """A system message in front of the prompt."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """Sent only if it is given."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How the server is asked for JSON: bound to the schema, bound to JSON of any shape, or by the prompt alone."""


class ChatOptions(Model):
    """The options of a profile: how this server differs from the others."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The name of the limit of output tokens in the request."""
    strict: bool = True
    """Whether the server has OpenAI's strict mode.  It is requested only if the schema allows it."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request."""
    reports_cost: Literal["auto", "usd", "no"] = "auto"
    """Whether the server reports its charge in dollars.  `auto`: only in LiteLLM's header and OpenRouter's usage."""
    probe: str = Field(default="models", pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", max_length=100)
    """Where `bizq doctor --probe` asks, below `base_url`: the list of models, or another address that needs the key."""


_SET_BY_ADAPTER: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "response_format", "stream", "n", "best_of"}
)
"""Fields that `extra_body` cannot set: answers would become unreadable, or cost more than their reservation."""

# fmt: off
CODES: Final[dict[str, Ending]] = {
    "json_validate_failed": Retry,         # Groq, as 400: the model's answer did not fit the schema
}
"""The outcomes of the servers' own codes.  A code is more precise than the status, so it is read first."""

WRITTEN: Final = frozenset({"json_validate_failed"})
"""Codes of errors after which the model has written something: its cost is unknown, unless the reply reports it."""
# fmt: on

_WRONG_REQUEST: Final = (400, 422)
_THOUGHTS: Final = ("reasoning_content", "reasoning")
"""Fields where vLLM and SGLang put an answer bound to a schema if they take all of it for reasoning."""


class OpenAICompatible(Provider):
    """`POST {base_url}/chat/completions`."""

    name = "openai_compatible"
    kind = "ai"
    settings = ChatSettings
    about = About(
        structured="json_schema (strict where the server has it), json_object, prompt",
        price="reported charge (LiteLLM, OpenRouter), else price or price_book",
        limits="429, 503, 529, retry-after, x-ratelimit-*, try again in",
        tried="live: llama.cpp; recorded from LiteLLM; recorded shapes of the others; aimock",
    )

    def __init__(self) -> None:
        self._loose = RefusedForms()
        """Forms that were refused in strict mode."""

    def check(self, account: Account) -> None:
        super().check(account)
        options = parse(ChatOptions, account.profile.options, "options")
        check_extra(options.extra_body, _SET_BY_ADAPTER)

    def quote(self, call: Call) -> Quote:
        """The bytes of the request bound its input tokens.

        A token is at least one byte, and a chat template adds less than the JSON around the messages does."""
        settings = _settings(call)
        return Quote(len(self._body(call)), settings.max_output_tokens, settings.model)

    def request(self, call: Call, verb: Verb) -> httpx2.Request:  # the only verb is SUBMIT
        return _request(call.account, "POST", "chat/completions", self._body(call))

    def probe(self, account: Account) -> Probe:
        """The list of models, which is free."""
        options = parse(ChatOptions, account.profile.options, "options")
        return Probe(_request(account, "GET", options.probe))

    def again(self, call: Call, verb: Verb, reply: Reply) -> httpx2.Request | None:
        """The same request without strict mode, if the server refuses the schema in that mode."""
        if reply.status not in _WRONG_REQUEST or not self._is_strict(call):
            return None
        refusal = read_refusal(object_in(reply), "")
        if not refusal.about_schema or not WRITTEN.isdisjoint(refusal.codes):
            return None
        self._loose.add(call, _settings(call).model)
        return self.request(call, verb)

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:  # the only verb is SUBMIT
        data = object_in(reply)
        refusal = read_refusal(data, reply.text)
        if not 200 <= reply.status < 300 or refusal.stated:
            return _refused(call, reply, data, refusal)
        return _answer(call, reply, data)

    def _body(self, call: Call) -> bytes:
        return _body(call, strict=self._is_strict(call))

    def _is_strict(self, call: Call) -> bool:
        """Whether the request asks for strict mode."""
        bound = _settings(call).structured == "json_schema" and _options(call).strict
        return (
            bound and allows_strict(call.output_schema) and not self._loose.has(call, _settings(call).model)
        )


def _request(account: Account, method: str, path: str, body: bytes | None = None) -> httpx2.Request:
    headers = headers_of(account, {} if account.key is None else {"authorization": f"Bearer {account.key}"})
    address = f"{(account.profile.base_url or '').rstrip('/')}/{path}"
    return httpx2.Request(method, address, headers=headers, content=body)


def _settings(call: Call) -> ChatSettings:
    return cast("ChatSettings", call.settings)


def _options(call: Call) -> ChatOptions:
    return parse(ChatOptions, call.account.profile.options, "options")


# ----------------------------------------------------------------------------------- the request


def _body(call: Call, *, strict: bool) -> bytes:
    settings = _settings(call)
    options = _options(call)
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": _messages(call),
        options.max_tokens_field: settings.max_output_tokens,
    }
    if settings.temperature is not None:
        body["temperature"] = warmed(settings.temperature, call.repair)
    extra = dict(options.extra_body)
    if isinstance(seed := extra.get("seed"), int):
        extra["seed"] = seed + call.repair
    if settings.reasoning_effort is not None:
        body["reasoning_effort"] = settings.reasoning_effort
    if settings.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif settings.structured == "json_schema":
        schema = {"name": "answer", "strict": strict, "schema": call.output_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return dump_json(extra | body).encode()


def _messages(call: Call) -> list[dict[str, str]]:
    settings = _settings(call)
    messages = [{"role": "system", "content": settings.system}] if settings.system else []
    asked = turns(call, schema=settings.structured != "json_schema")
    return messages + [{"role": turn.role, "content": turn.text} for turn in asked]


# ------------------------------------------------------------------------------------- the reply


def _answer(call: Call, reply: Reply, data: dict[str, Any]) -> Outcome:
    choice = first(data.get("choices"))
    if not choice:
        return _unreadable(call, reply, data)
    message, reason = object_of(choice.get("message")), excerpt(choice.get("finish_reason"), call.account, 50)
    content = _content(message.get("content"))
    thoughts = [message[name] for name in _THOUGHTS if message.get(name)]
    refusal = message.get("refusal")
    # The call consumed tokens, even if the server did not count them.
    wrote = content is not None or bool(thoughts) or bool(refusal)
    usage = _usage(call, data, worked=True, wrote=wrote) or Usage(model=_model(call, data))
    charged = _charged(call, reply, data, usage)
    if content is None and not refusal and reason != "content_filter":
        content = next((found for text in thoughts if (found := json_object(text)) is not None), None)
    if refusal and content is None:
        why = f"refused: {excerpt(refusal, call.account)}".removesuffix(": ")
    elif reason == "content_filter":
        why = "content_filter: the provider withheld the answer"
    elif reason == "length" and not isinstance(content, dict) and (content is not None or thoughts):
        cut = "answer was cut" if content is not None else "reasoning used up the limit and was cut"
        why = f"output_limit: the {cut} at {_settings(call).max_output_tokens} tokens"
    elif content is None:
        said = "the model wrote its reasoning and no answer" if thoughts else "the model gave no answer"
        why = f"no_answer: {said} ({reason or 'no finish_reason'})"
    else:
        return Succeeded(content, usage=usage, charged=charged)
    return Failed(why, usage=usage, charged=charged)


def _content(content: Any) -> Any:
    """The JSON value in the content of a message; the text itself if it is not JSON; None if it is empty."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in texts if isinstance(text, str))
    if isinstance(content, dict):
        return content
    return unwrapped(content) if isinstance(content, str) and content.strip() else None


def _unreadable(call: Call, reply: Reply, data: dict[str, Any]) -> Outcome:
    """The outcome of a reply that holds neither an answer nor an error."""
    usage = _usage(call, data, worked=False, wrote=False)
    charged = _charged(call, reply, data, usage)
    if usage is not None:
        return Failed("no_answer: the reply has a usage and no choices", usage=usage, charged=charged)
    return unreadable(call, reply, known=bool(data), missing="choices", charged=charged)


def _refused(call: Call, reply: Reply, data: dict[str, Any], refusal: Refusal) -> Outcome:
    """The outcome of a reply that reports an error: in its status, or in its body."""
    usage = _usage(call, data, worked=False, wrote=False)
    if usage is None and not WRITTEN.isdisjoint(refusal.codes):
        usage = Usage(model=_model(call, data))
    charged = _charged(call, reply, data, usage)
    ending = ending_of(call, reply, refusal, CODES)
    return refused(call, reply, refusal, ending, usage=usage, charged=charged)


# ------------------------------------------------------------------------------------- the money


def _usage(call: Call, data: dict[str, Any], *, worked: bool, wrote: bool) -> Usage | None:
    return read_usage(data.get("usage"), _model(call, data), worked=worked, wrote=wrote)


def _model(call: Call, data: dict[str, Any]) -> str:
    """The model that answered, which may be another one than the settings name."""
    return excerpt(data.get("model"), call.account, 200) or _settings(call).model


def _charged(call: Call, reply: Reply, data: dict[str, Any], usage: Usage | None) -> Decimal | None:
    """The dollars that LiteLLM reports in a header, or another server in the usage; None if the reply reports none.

    A charge of 0 beside a count of tokens that cannot be true was computed from that count."""
    charged = _reported(call, reply, object_of(data.get("usage")))
    if usage is None or charged or not usage.raw:
        return charged
    return None if usage.input_tokens is None or usage.output_tokens is None else charged


def _reported(call: Call, reply: Reply, usage: dict[str, Any]) -> Decimal | None:
    trust = _options(call).reports_cost
    charged = reported_amount(reply.headers.get("x-litellm-response-cost"))
    # On errors LiteLLM always reports 0, even if the server behind it charged for the call.
    if charged is not None and 200 <= reply.status < 300 and trust != "no":
        return charged
    # Only OpenRouter is known to report dollars in `cost`; it sends these fields beside it.
    known = trust == "usd" or (trust == "auto" and ("is_byok" in usage or "cost_details" in usage))
    currency = usage.get("currency", usage.get("cost_currency", "USD"))
    if not known or str(currency).upper() != "USD":
        return None
    charged = reported_amount(usage.get("cost"))
    if charged is not None and usage.get("is_byok") is True:
        # With the user's own key, the model's price is paid to the server behind it, and `cost` is only the fee.
        behind = reported_amount(object_of(usage.get("cost_details")).get("upstream_inference_cost"))
        return None if behind is None else charged + behind
    return charged
