"""OpenAI's own client as a counterpart: it reads our replies and verifies our webhooks; its requests are compared."""

from __future__ import annotations

import json
from typing import Any, get_args

import httpx2
import openai
import pytest
from openai.types.responses import Response, ResponseError
from openai.types.responses.response import IncompleteDetails

from consumer.core.outcome import Failed, Retry, Succeeded
from consumer.provider import Verb
from providers.openai_responses import FAILURES, INCOMPLETE, OpenAIResponses
from tests.fixtures import Recorded, standard_webhook_headers
from tests.fixtures.openai_responses import ANSWERS, ENDS, ERRORS, FIXTURES, JOB, JOBS, REQUEST
from tests.support.adapters import KEY, OTHER_SECRET, make_call, recorded_call

OURS = OpenAIResponses()
ODD = {"a job without an id", "failed with a code that is not in the table", "incomplete for another reason"}
"""Replies that break the API's own types."""
SOUND = [each for each in (*ANSWERS, *ENDS, *JOBS) if each.status == 200 and each.name not in ODD]
API_ERRORS = [each for each in ERRORS if each.status >= 400]


def client_for(recorded: Recorded, sent: list[httpx2.Request]) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(recorded.status, headers=dict(recorded.headers), content=recorded.reply.body)

    return openai.OpenAI(
        api_key=KEY,
        base_url=FIXTURES.profile["base_url"],
        max_retries=0,
        webhook_secret=FIXTURES.webhook_secret,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
        _strict_response_validation=True,
    )


def ask(client: openai.OpenAI, recorded: Recorded) -> Response:
    """The same request by their client."""
    if recorded.verb is Verb.POLL:
        return client.responses.retrieve(JOB)
    if recorded.verb is Verb.CANCEL:
        return client.responses.cancel(JOB)
    request = OURS.request(recorded_call(OURS, recorded), Verb.SUBMIT)
    assert isinstance(request, httpx2.Request)
    made: Response = client.responses.create(**json.loads(request.content))
    return made


@pytest.mark.parametrize("recorded", SOUND, ids=lambda recorded: recorded.name)
def test_it_sends_our_request_reads_our_reply_and_finds_the_same(recorded: Recorded) -> None:
    sent: list[httpx2.Request] = []
    read = ask(client_for(recorded, sent), recorded)

    call = recorded_call(OURS, recorded)
    ours = OURS.request(make_call(OURS, recorded.settings, external_id=JOB, **recorded.asked), recorded.verb)
    assert isinstance(ours, httpx2.Request)
    (theirs,) = sent
    assert (theirs.method, theirs.url) == (ours.method, ours.url)
    assert theirs.headers["authorization"] == ours.headers["authorization"]
    assert "idempotency-key" not in theirs.headers
    if recorded.verb is Verb.SUBMIT:
        assert json.loads(theirs.content) == json.loads(ours.content)

    outcome = OURS.reply(call, recorded.verb, recorded.reply)
    if outcome.usage is not None and read.usage is not None:
        assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (
            read.usage.input_tokens,
            read.usage.output_tokens,
        )
        assert outcome.usage.cache_read_tokens == read.usage.input_tokens_details.cached_tokens
        assert outcome.usage.raw["request_id"] == read._request_id == REQUEST
        assert outcome.usage.raw["id"] == read.id
    if isinstance(outcome, Succeeded) and "commentary" not in recorded.name:
        assert json.loads(read.output_text.removeprefix("```json").removesuffix("```")) == outcome.output


@pytest.mark.parametrize("recorded", API_ERRORS, ids=lambda recorded: recorded.name)
def test_it_reads_our_errors_and_never_repeats_one_that_we_give_up(recorded: Recorded) -> None:
    """It repeats more than we do: it does not mind paying twice, and tries again where no money is left."""
    client = client_for(recorded, [])
    with pytest.raises(openai.APIStatusError) as raised:
        client.responses.create(model="m", input="x")

    repeats = client._should_retry(raised.value.response)
    ours = OURS.reply(make_call(OURS), Verb.SUBMIT, recorded.reply)
    refused = isinstance(ours, Retry) and ours.account is not None
    assert raised.value.status_code == recorded.status
    assert repeats or refused or not isinstance(ours, Retry) or recorded.name == "error 429 with a time"
    assert not repeats or not isinstance(ours, Failed)


@pytest.mark.parametrize("delivered", FIXTURES.webhooks[:4], ids=lambda delivered: delivered.name)
def test_it_accepts_the_webhooks_that_we_accept(delivered: Any) -> None:
    assert FIXTURES.webhook_secret is not None
    import time

    now = int(time.time() * 1000)  # it reads the clock itself
    headers = standard_webhook_headers(FIXTURES.webhook_secret, "wh_1", now, delivered.body)
    client = client_for(ANSWERS[0], [])

    read = client.webhooks.unwrap(delivered.body, dict(headers))

    account = make_call(OURS).account
    ours = OURS.verify_webhook(account, headers, delivered.body, now)
    assert ours.external_id == getattr(read.data, "id", None) == JOB
    forged = standard_webhook_headers(OTHER_SECRET, "wh_1", now, delivered.body)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(delivered.body, dict(forged))


def test_the_tables_have_everything_that_it_knows() -> None:
    assert set(FAILURES) == set(get_args(ResponseError.model_fields["code"].annotation))
    reasons = get_args(get_args(IncompleteDetails.model_fields["reason"].annotation)[0])
    assert set(INCOMPLETE) == set(reasons)
