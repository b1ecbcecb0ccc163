"""Anthropic's own client as a counterpart: it reads our recorded replies, and its request is compared with ours."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.lib._parse._transform import transform_schema

from consumer.core.narrow import narrowed
from consumer.core.outcome import Failed, Retry, Succeeded
from consumer.provider import Verb
from providers.anthropic import STOPS, Anthropic
from tests.fixtures import Recorded
from tests.fixtures.anthropic import ANSWERS, ERRORS, FAILURES, FIXTURES, HEADERS, IDS, message
from tests.support.adapters import KEY, SCHEMA, make_account, make_call, recorded_call

OURS = Anthropic()
ODD = {"a way to stop that is not in the table", "no usage", "a count that is not one", "nothing but a usage",
       "counts of zero that cannot be true"}  # fmt: skip
"""Replies that break the API's own types."""
SOUND = [recorded for recorded in (*ANSWERS, *FAILURES) if recorded.name not in ODD]
API_ERRORS = [
    recorded for recorded in ERRORS if recorded.name.startswith("error ") and recorded.status >= 400
]


def client_for(recorded: Recorded, sent: list[httpx2.Request]) -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(recorded.status, headers=dict(recorded.headers), content=recorded.reply.body)

    return anthropic.Anthropic(
        api_key=KEY,
        base_url=FIXTURES.profile["base_url"],
        max_retries=0,
        default_headers={"x-api-key": KEY},
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
        _strict_response_validation=True,
    )


def ask(client: anthropic.Anthropic, body: dict[str, Any]) -> anthropic.types.Message:
    made: anthropic.types.Message = client.messages.create(**body)
    return made


@pytest.mark.parametrize("recorded", SOUND, ids=lambda recorded: recorded.name)
def test_it_reads_our_replies_and_finds_the_same(recorded: Recorded) -> None:
    call = recorded_call(OURS, recorded)
    body = json.loads(OURS.request(call, Verb.SUBMIT).content)

    read = ask(client_for(recorded, []), body)

    ours = OURS.reply(call, Verb.SUBMIT, recorded.reply)
    assert ours.usage is not None
    counted = read.usage.input_tokens
    counted += (read.usage.cache_creation_input_tokens or 0) + (read.usage.cache_read_input_tokens or 0)
    assert (ours.usage.input_tokens, ours.usage.output_tokens) == (counted, read.usage.output_tokens)
    assert ours.usage.cache_read_tokens == (read.usage.cache_read_input_tokens or 0)
    assert ours.usage.model == read.model
    assert ours.usage.raw["request_id"] == read._request_id == IDS["request_id"]
    if isinstance(ours, Succeeded) and read.content[-1].type == "text":
        texts = [block.text for block in read.content if block.type == "text"]
        said = "".join(texts).removeprefix("```json").removesuffix("```")
        assert json.loads(said) == ours.output


def test_its_request_is_ours() -> None:
    sent: list[httpx2.Request] = []
    call = make_call(OURS, {"system": "Be brief.", "cache": "5m", "effort": "low"})
    ours = OURS.request(call, Verb.SUBMIT)

    ask(client_for(ANSWERS[0], sent), json.loads(ours.content))

    (theirs,) = sent
    assert (theirs.method, theirs.url) == (ours.method, ours.url)
    assert json.loads(theirs.content) == json.loads(ours.content)
    assert theirs.headers["anthropic-version"] == ours.headers["anthropic-version"]
    assert theirs.headers["x-api-key"] == ours.headers["x-api-key"]
    assert "idempotency-key" not in theirs.headers


@pytest.mark.parametrize("recorded", API_ERRORS, ids=lambda recorded: recorded.name)
def test_it_reads_our_errors_and_never_repeats_one_that_we_give_up(recorded: Recorded) -> None:
    """It repeats more than we do: it does not mind paying twice."""
    client = client_for(recorded, [])
    with pytest.raises(anthropic.APIStatusError) as raised:
        ask(client, {"model": "m", "max_tokens": 1, "messages": []})

    assert raised.value.status_code == recorded.status
    repeats = client._should_retry(raised.value.response)
    ours = OURS.reply(make_call(OURS), Verb.SUBMIT, recorded.reply)
    refused = isinstance(ours, Retry) and ours.account is not None
    assert repeats or refused or not isinstance(ours, Retry)
    assert not repeats or not isinstance(ours, Failed)


def test_the_table_has_every_way_to_stop_that_it_knows() -> None:
    known = anthropic.types.StopReason.__args__  # type: ignore[attr-defined]  # a type alias
    assert set(STOPS) == set(known)
    for stop in known:
        ask(client_for(Recorded("x", "x", 200, message(stop), ANSWERS[0].outcome, HEADERS), []),
            {"model": "m", "max_tokens": 1, "messages": []})  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA,
        {"type": "object", "properties": {"n": {"type": "integer"}, "l": {"type": "array",
         "items": {"type": "string"}}}, "required": ["n"]},
        {"type": "object", "properties": {"d": {"type": "string", "format": "date"}, "u": {"anyOf": [{"type": "null"},
         {"$ref": "#/$defs/a"}]}}, "required": [], "$defs": {"a": SCHEMA}},
        {"type": "object", "properties": {"r": {"$ref": "#/$defs/a", "description": "one"}}, "required": ["r"],
         "$defs": {"a": SCHEMA}},
        {"type": "object", "properties": {"l": {"type": "array", "minItems": 1, "items": {"type": "boolean"}}},
         "required": [], "additionalProperties": False},
    ],
)  # fmt: skip
def test_it_would_send_the_same_schema(schema: dict[str, Any]) -> None:
    assert narrowed(schema) == transform_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": ["string", "null"], "maxLength": 5, "pattern": "x"}}},
        {"type": "object", "properties": {"n": {"type": "number", "minimum": 1, "exclusiveMaximum": 4}}},
        {
            "type": "object",
            "properties": {"l": {"type": "array", "items": {"type": "string"}, "minItems": 3}},
        },
    ],
)
def test_it_would_change_nothing_in_a_schema_that_we_send(schema: dict[str, Any]) -> None:
    sent = narrowed(schema)
    assert sent is not None
    assert transform_schema(sent) == sent


def test_a_profile_for_it_needs_no_more_than_an_address_and_a_key() -> None:
    OURS.check(make_account(OURS))
