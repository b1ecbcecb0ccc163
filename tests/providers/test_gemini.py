"""The adapter `gemini`."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.outcome import Failed, Retry, Succeeded, Unknown
from consumer.core.refusals import ACCOUNT_STATUSES
from consumer.core.statuses import Proof, proof_of
from consumer.provider import Reply, Verb
from providers.gemini import CODES, FINISHES, Gemini
from tests.fixtures.gemini import NO_QUOTA, error, generated
from tests.support.adapters import KEY, SCHEMA, make_account, make_call


def body_of(settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    request = Gemini().request(make_call(Gemini(), settings, **changes), Verb.SUBMIT)
    body: dict[str, Any] = json.loads(request.content)
    return body


def answer(status: int, body: Any, **headers: str) -> Any:
    return Gemini().reply(make_call(Gemini()), Verb.SUBMIT, Reply(status, headers, json.dumps(body).encode()))


def test_a_request_asks_for_content_that_fits_the_schema() -> None:
    request = Gemini().request(make_call(Gemini(), prompt="Which city?"), Verb.SUBMIT)

    assert str(request.url) == "https://api.example.com/v1beta/models/gemini-2.5-flash:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert "authorization" not in request.headers
    assert json.loads(request.content) == {
        "contents": [{"role": "user", "parts": [{"text": "Which city?"}]}],
        "generationConfig": {
            "maxOutputTokens": 1024,
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
        },
    }


def test_settings_are_part_of_the_request() -> None:
    body = body_of(
        {
            "system": "Be brief.",
            "temperature": 0,
            "thinking_level": "low",
            "thinking_budget": 0,
            "service_tier": "flex",
        }
    )

    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert body["generationConfig"]["temperature"] == 0
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "low", "thinkingBudget": 0}
    assert body["serviceTier"] == "flex"


def test_a_repair_is_warmer() -> None:
    """The same request at temperature 0 would bring the same answer."""
    found = []
    for repair in (0, 1, 9):
        body = body_of({"temperature": 0}, repair=repair)
        found.append(body["generationConfig"]["temperature"])
    assert found == [0, 0.3, 1]


@pytest.mark.parametrize("structured", ["json_object", "none"])
def test_the_schema_is_in_the_prompt_where_it_is_not_enforced(structured: str) -> None:
    body = body_of({"structured": structured})

    assert json.dumps(SCHEMA, separators=(",", ":")) in body["contents"][0]["parts"][0]["text"]
    assert "responseJsonSchema" not in body["generationConfig"]
    assert ("responseMimeType" in body["generationConfig"]) is (structured == "json_object")


def test_an_answer_that_was_not_accepted_is_the_model_s_own_turn() -> None:
    contents = body_of(feedback="not a city", draft={"city": "Seine"})["contents"]

    assert [each["role"] for each in contents] == ["user", "model", "user"]


def test_a_schema_that_the_api_refuses_is_sent_in_the_prompt_from_then_on() -> None:
    adapter = Gemini()
    call = make_call(adapter)
    body = json.dumps(error(400, "INVALID_ARGUMENT", "Unknown name at 'response_json_schema'")).encode()

    other = adapter.again(call, Verb.SUBMIT, Reply(400, {}, body))

    assert isinstance(other, httpx2.Request)
    for request in (other, adapter.request(call, Verb.SUBMIT)):
        assert "responseJsonSchema" not in json.loads(request.content)["generationConfig"]
    assert adapter.again(call, Verb.SUBMIT, Reply(400, {}, body)) is None


@pytest.mark.parametrize("model", ["../secret", "a/b", "a b", "", "a?key=1", "models/gemini"])
def test_a_model_is_a_name_and_never_a_path(model: str) -> None:
    with pytest.raises(BadInput, match=r"^model: "):
        parse(Gemini.settings, {"model": model})


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"surprise": 1}, "options.surprise"),
        ({"extra_body": {"tools": []}}, "options.extra_body.tools"),
        ({"extra_body": {"cachedContent": "c"}}, "options.extra_body.cachedContent"),
    ],
)
def test_wrong_options_are_named_at_the_start(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        Gemini().check(make_account(Gemini(), options=wrong))
    assert refused.value.problems[0].field == field


def test_further_fields_are_part_of_each_request() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    account = make_account(Gemini(), options={"extra_body": {"safetySettings": settings}})

    assert body_of(account=account)["safetySettings"] == settings


def test_every_finish_has_one_meaning_and_was_paid_for() -> None:
    for finish, found in FINISHES.items():
        outcome = answer(200, generated(finish, {"text": "{"}))
        assert type(outcome) is (Succeeded if found is None else found[0]), finish
        assert outcome.usage is not None


def test_every_status_means_what_it_proves() -> None:
    wanted = {Proof.REFUSED: Failed, Proof.BUSY: Retry, Proof.BUSY_IF_SAID: Retry, Proof.NONE: Unknown}
    for status in (*range(100, 200), *range(300, 600)):
        means = Retry if status in ACCOUNT_STATUSES else wanted[proof_of(status)]
        assert type(answer(status, error(status, "SOME_STATUS"))) is means, status


def test_every_code_means_what_the_table_says() -> None:
    found = answer(429, error(429, "RESOURCE_EXHAUSTED", "m", NO_QUOTA), **{"x-should-retry": "true"})
    assert {"quota_is_zero": type(found)} == CODES
