"""Google's own client as a counterpart: it reads our recorded replies, and its request is compared with ours."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from google.genai._api_client import _RETRY_HTTP_STATUS_CODES

from consumer.core.outcome import Retry, Succeeded
from consumer.provider import Verb
from providers.gemini import FINISHES, Gemini
from tests.fixtures import Recorded
from tests.fixtures.gemini import ANSWERS, ERRORS, FAILURES, MODEL
from tests.support.adapters import KEY, SCHEMA, make_call, recorded_call

OURS = Gemini()
ODD = {"a finish that is not in the table", "no usage"}
SOUND = [recorded for recorded in (*ANSWERS, *FAILURES) if recorded.name not in ODD]
API_ERRORS = [
    recorded for recorded in ERRORS if recorded.name.startswith("error ") and recorded.status >= 400
]


def client_for(recorded: Recorded, sent: list[httpx2.Request]) -> genai.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(recorded.status, headers=dict(recorded.headers), content=recorded.reply.body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    options = types.HttpOptions(base_url="https://api.example.com", api_version="v1beta", httpx_client=http)
    return genai.Client(api_key=KEY, http_options=options)


def ask(client: genai.Client, **config: Any) -> types.GenerateContentResponse:
    return client.models.generate_content(
        model=MODEL, contents="Which city?", config=types.GenerateContentConfig(**config)
    )


@pytest.mark.parametrize("recorded", SOUND, ids=lambda recorded: recorded.name)
def test_it_reads_our_replies_and_finds_the_same(recorded: Recorded) -> None:
    read = ask(client_for(recorded, []))

    ours = OURS.reply(recorded_call(OURS, recorded), Verb.SUBMIT, recorded.reply)
    used = read.usage_metadata
    assert ours.usage is not None
    assert used is not None
    assert ours.usage.input_tokens == (used.prompt_token_count or 0) + (used.tool_use_prompt_token_count or 0)
    if used.candidates_token_count is not None:
        assert ours.usage.output_tokens == used.candidates_token_count + (used.thoughts_token_count or 0)
    assert ours.usage.cache_read_tokens == (used.cached_content_token_count or 0)
    assert ours.usage.raw["responseId"] == read.response_id
    assert ours.usage.model in (read.model_version, MODEL)
    if isinstance(ours, Succeeded):
        said = (read.text or "").removeprefix("```json").removesuffix("```")
        assert json.loads(said) == ours.output


def test_its_request_is_ours() -> None:
    sent: list[httpx2.Request] = []
    settings = {"system": "Be brief.", "temperature": 0.5, "thinking_budget": 0, "service_tier": "flex"}
    ours = OURS.request(make_call(OURS, settings, prompt="Which city?"), Verb.SUBMIT)

    ask(
        client_for(ANSWERS[0], sent),
        system_instruction=types.Content(parts=[types.Part(text="Be brief.")]),
        temperature=0.5,
        max_output_tokens=1024,
        response_mime_type="application/json",
        response_json_schema=SCHEMA,
        thinking_config=types.ThinkingConfig(thinking_budget=0),
        service_tier="flex",
    )

    (theirs,) = sent
    expected = json.loads(ours.content)
    found = json.loads(theirs.content)
    assert (theirs.method, theirs.url) == (ours.method, ours.url)
    found["systemInstruction"].pop("role", None)
    # Google's JSON accepts both spellings of a name; its client passes this one on as Python spells it.
    thinking = found["generationConfig"]["thinkingConfig"]
    thinking |= {"thinkingBudget": thinking.pop("thinking_budget", 0)}
    assert found == expected
    assert theirs.headers["x-goog-api-key"] == ours.headers["x-goog-api-key"]


@pytest.mark.parametrize("recorded", API_ERRORS, ids=lambda recorded: recorded.name)
def test_it_reads_our_errors_and_would_repeat_each_that_we_repeat(recorded: Recorded) -> None:
    with pytest.raises(errors.APIError) as raised:
        ask(client_for(recorded, []))

    assert raised.value.code == recorded.status
    ours = OURS.reply(make_call(OURS), Verb.SUBMIT, recorded.reply)
    refused = isinstance(ours, Retry) and ours.account is not None
    assert refused or not isinstance(ours, Retry) or recorded.status in _RETRY_HTTP_STATUS_CODES


def test_the_tables_have_everything_that_it_knows() -> None:
    assert set(FINISHES) == {reason.value for reason in types.FinishReason}
    blocked = {
        recorded.name.removeprefix("blocked ")
        for recorded in FAILURES
        if recorded.name.startswith("blocked ")
    }
    assert blocked == {reason.value for reason in types.BlockedReason}
