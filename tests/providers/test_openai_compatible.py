"""The adapter `openai_compatible`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from consumer.core.errors import BadInput
from consumer.core.outcome import AccountFault, Failed, Retry, Unknown
from consumer.core.statuses import PROOF, Proof, proof_of
from consumer.core.strict import allows_strict
from consumer.execution.prices import cost_of_call
from consumer.provider import Reply, Verb
from providers.openai_compatible import CODES, OpenAICompatible
from tests.support.adapters import KEY, NOW_MS, SCHEMA, assert_sound, make_account, make_call

CHAT = OpenAICompatible()


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


def test_settings_are_part_of_the_request() -> None:
    body = body_of(
        {"temperature": 0, "system": "Be brief.", "reasoning_effort": "low", "max_output_tokens": 7}
    )

    assert (body["temperature"], body["reasoning_effort"], body["max_tokens"]) == (0, "low", 7)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_options_describe_how_a_server_differs() -> None:
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
def test_the_schema_is_in_the_prompt_where_the_server_does_not_enforce_it(structured: str) -> None:
    body = body_of({"structured": structured}, prompt="Which city?")

    assert json.dumps(SCHEMA, separators=(",", ":")) in body["messages"][-1]["content"]
    assert body.get("response_format") == ({"type": "json_object"} if structured == "json_object" else None)


def test_a_repair_contains_the_fault() -> None:
    """In the same message: many chat templates refuse two messages in a row from the same role."""
    (message,) = body_of(prompt="Which city?", feedback="data.city must be string")["messages"]

    assert message["content"] == (
        "Which city?\n\nAn earlier answer was not accepted: data.city must be string\n"
        "Give the whole answer again, corrected."
    )


def test_a_rejected_draft_is_part_of_the_conversation() -> None:
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
def test_strict_mode_is_requested_where_it_is_allowed(changes: dict[str, Any], strict: bool) -> None:  # noqa: FBT001
    assert allows_strict({**SCHEMA, **changes}) is strict


@pytest.mark.parametrize("status", [400, 404, 413, 422, 418, 301, 501])
def test_a_status_that_will_not_change_fails(status: int) -> None:
    assert isinstance(CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, {}, b"")), Failed)


@pytest.mark.parametrize(("status", "fault"), [(401, "refused_key"), (402, "unpaid")])
def test_a_status_that_refuses_the_account_says_nothing_about_the_task(
    status: int, fault: AccountFault
) -> None:
    outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, {}, b""))
    assert outcome == Retry(f"http_{status}", account=fault)


def test_a_page_that_forbids_a_call_does_not_show_what_it_dislikes() -> None:
    """It may come from a firewall that dislikes this one request: only further calls show it."""
    for headers, ending in (({}, Retry), ({"x-should-retry": "false"}, Failed)):
        outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(403, headers, b"<html>Forbidden</html>"))
        assert isinstance(outcome, ending)
        assert getattr(outcome, "account", None) is None


@pytest.mark.parametrize("status", [423, 425, 429, 498, 503, 521, 523, 525, 526, 529])
def test_a_status_that_will_pass_is_tried_again(status: int) -> None:
    reply = Reply(status, {"retry-after": "3"}, b"")
    assert CHAT.reply(make_call(CHAT), Verb.SUBMIT, reply) == Retry(f"http_{status}", 3000)


@pytest.mark.parametrize(
    "status", [303, 408, 409, 424, 460, 499, 500, 502, 503, 504, 520, 522, 524, 507, 599]
)
def test_a_status_that_does_not_show_whether_work_was_done_is_unknown(status: int) -> None:
    for headers in ({}, {"x-should-retry": "true"}, {"x-should-retry": "false"}):
        outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, headers, b""))
        assert outcome == Unknown(f"http_{status}")


def test_the_tables_say_which_statuses_the_server_may_overrule() -> None:
    wished = {"x-should-retry": "true"}
    for code, ending in CODES.items():
        body = json.dumps({"error": {"message": "m", "code": code}}).encode()
        assert type(CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(400, wished, body))) is ending
    for status in range(100, 600):
        if not 200 <= status < 300:
            outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, wished, b""))
            proven = proof_of(status) in (Proof.REFUSED, Proof.BUSY)
            assert type(outcome) is (Retry if proven else Unknown), status


@pytest.mark.parametrize(
    ("headers", "body", "ending"),
    [
        ({}, b'{"error": {"message": "Overloaded", "type": "server_error"}}', Retry),
        ({"retry-after": "2"}, b"", Retry),
        ({}, b"", Unknown),
        (
            {},
            b"upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            Unknown,
        ),
        ({}, b"<html><title>Application Error</title></html>", Unknown),
        ({}, b'{"message":"Service Unavailable"}', Unknown),
    ],
    ids=["the API itself", "a time to come back", "nothing", "Envoy", "Heroku", "AWS API Gateway"],
)
def test_an_unavailable_server_is_believed_if_it_speaks_itself(
    headers: dict[str, str], body: bytes, ending: type[Retry | Unknown]
) -> None:
    assert isinstance(CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(503, headers, body)), ending)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"error": {"message": "m"}}', b"<html></html>"])
def test_a_status_outside_the_table_never_frees_the_reservation(body: bytes) -> None:
    """For every reply: an outcome that says that no work was done has a status that proves it."""
    for status in range(100, 600):
        outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, {}, body))
        if isinstance(outcome, Failed | Retry) and not 200 <= status < 300:
            assert status in PROOF


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
    st.sampled_from(
        ["retry-after", "retry-after-ms", "x-should-retry", "x-litellm-response-cost", "x-ratelimit-reset-tokens"]
    ), st.text()
))  # fmt: skip
def test_any_json_gives_one_outcome(status: int, value: Any, headers: dict[str, str]) -> None:
    body = json.dumps(value).encode()
    outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, headers, body))

    assert_sound(outcome)
    assert not any(mark in getattr(outcome, "why", "") for mark in ('{"', "[{", '["', "</"))


@tuned(deadline=None)
@given(value=JSON, price=st.sampled_from(["price", "price_book", "neither"]))
def test_any_usage_can_be_priced(value: Any, price: str) -> None:
    changes = {"price": {"input_per_million": 1}, "price_book": "openai", "neither": None}
    account = make_account(CHAT, **({} if price == "neither" else {price: changes[price]}))
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": value}).encode()
    outcome = CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(200, {}, body))

    cost = cost_of_call(account, outcome, NOW_MS)
    assert cost.micro is None or 0 <= cost.micro < 2**53 - 1
