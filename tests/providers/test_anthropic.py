"""The adapter `anthropic`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.core.errors import BadInput
from consumer.core.narrow import narrowed
from consumer.core.outcome import Failed, Retry, Succeeded, Unknown
from consumer.core.refusals import ACCOUNT_CODES, ACCOUNT_STATUSES
from consumer.core.statuses import Proof, proof_of
from consumer.execution.prices import bound, cost_of_call
from consumer.provider import Reply, Verb
from providers.anthropic import STOPS, Anthropic
from tests.fixtures.anthropic import FIXTURES, error, message
from tests.support.adapters import KEY, NOW_MS, SCHEMA, make_account, make_call

OPEN = {"type": "object", "additionalProperties": {"type": "string"}}


def body_of(settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(
        Anthropic().request(make_call(Anthropic(), settings, **changes), Verb.SUBMIT).content
    )
    return body


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    return Reply(status, headers, b"" if body is None else json.dumps(body).encode())


def test_a_request_is_a_message_bound_to_the_schema() -> None:
    request = Anthropic().request(make_call(Anthropic(), prompt="Which city?"), Verb.SUBMIT)

    assert str(request.url) == "https://api.example.com/anthropic/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2026-10-21"
    assert "authorization" not in request.headers
    assert json.loads(request.content) == {
        "model": "claude-haiku-4-5",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "Which city?"}],
        "service_tier": "standard_only",
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }


def test_settings_are_part_of_the_request() -> None:
    body = body_of(
        {
            "system": "Be brief.",
            "cache": "1h",
            "effort": "low",
            "thinking": "adaptive",
            "service_tier": "auto",
        }
    )

    cached = {"type": "ephemeral", "ttl": "1h"}
    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": cached}]
    assert body["output_config"]["effort"] == "low"
    assert body["thinking"] == {"type": "adaptive"}
    assert body["service_tier"] == "auto"


def test_a_tool_that_must_be_called_takes_the_whole_schema() -> None:
    schema = {**SCHEMA, "properties": {"city": {"type": "string", "minLength": 1}}}
    body = body_of({"structured": "tool"}, output_schema=schema)

    assert body["tools"][0]["input_schema"] == schema
    assert body["tool_choice"] == {"type": "tool", "name": body["tools"][0]["name"]}
    assert "output_config" not in body


@pytest.mark.parametrize(("schema", "settings"), [(OPEN, {}), (SCHEMA, {"structured": "none"})])
def test_a_schema_that_is_not_bound_is_in_the_prompt(schema: Any, settings: dict[str, Any]) -> None:
    body = body_of(settings, output_schema=schema)

    assert json.dumps(schema, separators=(",", ":")) in body["messages"][0]["content"]
    assert "output_config" not in body


def test_a_schema_that_the_api_refuses_is_sent_in_the_prompt_from_then_on() -> None:
    adapter = Anthropic()
    call = make_call(adapter)
    refusal = reply(400, error("invalid_request_error", "output_config.format.schema: too complex"))

    other = adapter.again(call, Verb.SUBMIT, refusal)

    assert other is not None
    assert "output_config" not in json.loads(other.content)
    assert "output_config" not in json.loads(adapter.request(call, Verb.SUBMIT).content)
    assert adapter.again(call, Verb.SUBMIT, refusal) is None


@pytest.mark.parametrize(
    "answer",
    [
        reply(400, error("invalid_request_error", "max_tokens: too large")),
        reply(500, error("api_error", "schema")),
        reply(200, message()),
    ],
)
def test_only_a_refused_schema_is_sent_in_another_form(answer: Reply) -> None:
    assert Anthropic().again(make_call(Anthropic()), Verb.SUBMIT, answer) is None


def test_options_name_another_version_and_further_fields() -> None:
    account = make_account(Anthropic(), options={"version": "2023-06-01", "extra_body": {"temperature": 0.2}})
    request = Anthropic().request(make_call(Anthropic(), account=account), Verb.SUBMIT)

    assert request.headers["anthropic-version"] == "2023-06-01"
    assert json.loads(request.content)["temperature"] == 0.2


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"surprise": 1}, "options.surprise"),
        ({"version": "new"}, "options.version"),
        ({"extra_body": {"inference_geo": "us"}}, "options.extra_body.inference_geo"),
        ({"extra_body": {"speed": "fast"}}, "options.extra_body.speed"),
        ({"extra_body": {"stream": True}}, "options.extra_body.stream"),
    ],
)
def test_wrong_options_are_named_at_the_start(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        Anthropic().check(make_account(Anthropic(), options=wrong))
    assert refused.value.problems[0].field == field


def answer(settings: dict[str, Any] | None, given: Reply) -> Any:
    return Anthropic().reply(make_call(Anthropic(), settings), Verb.SUBMIT, given)


def test_every_way_to_stop_has_one_meaning() -> None:
    """Each was paid for, and only an answer that the model ended itself counts."""
    for stop, why in STOPS.items():
        outcome = answer(None, reply(200, message(stop, {"type": "text", "text": "{"})))
        assert isinstance(outcome, Succeeded if why is None else Failed), stop
        assert outcome.usage is not None


def test_every_status_means_what_it_proves() -> None:
    wanted = {Proof.REFUSED: Failed, Proof.BUSY: Retry, Proof.BUSY_IF_SAID: Retry, Proof.NONE: Unknown}
    for status in (*range(100, 200), *range(300, 600)):
        means = Retry if status in ACCOUNT_STATUSES else wanted[proof_of(status)]
        assert type(answer(None, reply(status, error("some_error", "m")))) is means, status


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached"])
def test_a_code_in_the_details_says_that_there_is_no_money(code: str) -> None:
    body = error("rate_limit_error", "m", details={"error_code": code})
    outcome = answer(None, reply(429, body, **{"x-should-retry": "true"}))
    assert outcome.account == ACCOUNT_CODES[code] == "unpaid"


# ------------------------------------------------------------------------------------------------ money


def test_a_way_of_processing_without_a_known_price_has_an_unknown_cost() -> None:
    (recorded,) = [each for each in FIXTURES.replies if each.name == "priority, in one place, fast"]
    account = make_account(Anthropic(), price_book="anthropic")

    assert cost_of_call(account, recorded.outcome, NOW_MS).micro is None
    auto = make_call(Anthropic(), {"service_tier": "auto"}, account=account)
    assert bound(account, Anthropic().quote(auto), None, NOW_MS) is None


# ------------------------------------------------------------------------------------------------ schemas


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        (SCHEMA, SCHEMA),
        (
            {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "description": "how many"}}},
            {
                "type": "object",
                "properties": {"n": {"type": "integer", "description": 'how many\n\n{"minimum":1}'}},
                "required": [],
                "additionalProperties": False,
            },
        ),
        (
            {"type": "object", "properties": {"a": {"type": ["string", "null"], "format": "date", "pattern": "^2"}}},
            {
                "type": "object",
                "properties": {
                    "a": {
                        "anyOf": [
                            {"type": "string", "format": "date", "description": '{"pattern":"^2"}'},
                            {"type": "null"},
                        ]
                    }
                },
                "required": [],
                "additionalProperties": False,
            },
        ),
        (OPEN, None),
        ({"type": "object"}, None),
        ({"type": "object", "properties": {"a": True}}, None),
        ({"type": "object", "properties": {"a": {}}}, None),
        ({"type": "object", "properties": {"a": {"enum": [{}]}}}, None),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, None),
        ({"type": "object", "properties": {}, "required": ["a"], "additionalProperties": False}, None),
        ({"type": "object", "properties": {"a": {"$ref": "#/definitions/a"}}}, None),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/a", "maxLength": 3}}, "$defs": {"a": SCHEMA}}, None),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "patternProperties": {"b": {}}}, None),
    ],
)  # fmt: skip
def test_a_schema_is_sent_as_far_as_the_api_can_bind_to_it(schema: Any, sent: Any) -> None:
    assert narrowed(schema) == sent
