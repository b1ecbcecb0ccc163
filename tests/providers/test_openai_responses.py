"""The adapter `openai_responses`."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.refusals import ACCOUNT_CODES, ACCOUNT_STATUSES
from consumer.core.statuses import Proof, proof_of
from consumer.execution.facts import traits
from consumer.execution.prices import bound, cost_of_call
from consumer.provider import Pause, Reply, Verb
from providers.openai_responses import OpenAIResponses
from tests.fixtures.openai_responses import FIXTURES, JOB, error, opened, response
from tests.support.adapters import KEY, NOW_MS, SCHEMA, make_account, make_call

OURS = OpenAIResponses()


def sent(settings: dict[str, Any] | None = None, verb: Verb = Verb.SUBMIT, **changes: Any) -> httpx2.Request:
    request = OURS.request(make_call(OURS, settings, **changes), verb)
    assert isinstance(request, httpx2.Request)
    return request


def body_of(settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(sent(settings, **changes).content)
    return body


def answer(
    status: int,
    body: Any,
    verb: Verb = Verb.SUBMIT,
    settings: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    return OURS.reply(
        make_call(OURS, settings), verb, Reply(status, headers or {}, json.dumps(body).encode())
    )


def test_a_request_is_a_response_bound_to_the_schema() -> None:
    request = sent(prompt="Which city?")

    assert (request.method, str(request.url)) == ("POST", "https://api.example.com/v1/responses")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(request.content) == {
        "model": "gpt-5-mini",
        "input": [{"role": "user", "content": "Which city?"}],
        "max_output_tokens": 1024,
        "service_tier": "default",
        "store": True,
        "metadata": {"bizq_key": "bizq-1099511633921"},
        "text": {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA}},
    }


def test_settings_are_part_of_the_request() -> None:
    body = body_of(
        {
            "system": "Be brief.",
            "temperature": 0,
            "reasoning_effort": "low",
            "background": True,
            "completion_window": "8h",
            "store": False,
        }
    )

    assert (body["instructions"], body["temperature"], body["reasoning"]) == (
        "Be brief.",
        0,
        {"effort": "low"},
    )
    assert (body["background"], body["store"]) == (True, False)
    assert body["background_options"] == {"completion_window": "8h"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"completion_window": "2h"},
        {"completion_window": "8h", "background": True, "service_tier": "flex"},
        {"service_tier": "scale"},
        {"max_output_tokens": 15},
    ],
)
def test_settings_that_the_api_refuses_are_refused_in_the_template(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        parse(OURS.settings, {"model": "m", **wrong})


def test_a_repair_is_warmer() -> None:
    """The same request at temperature 0 would bring the same answer."""
    found = []
    for repair in (0, 1, 9):
        body = body_of({"temperature": 0}, repair=repair)
        found.append(body["temperature"])
    assert found == [0, 0.3, 1]


@pytest.mark.parametrize("structured", ["json_object", "none"])
def test_the_schema_is_in_the_prompt_where_it_is_not_enforced(structured: str) -> None:
    body = body_of({"structured": structured})

    assert json.dumps(SCHEMA, separators=(",", ":")) in body["input"][0]["content"]
    assert body.get("text") == ({"format": {"type": "json_object"}} if structured == "json_object" else None)


def test_a_schema_that_strict_mode_refuses_is_sent_without_it_from_then_on() -> None:
    adapter = OpenAIResponses()
    call = make_call(adapter)
    body = json.dumps(error("Invalid schema for response_format", "invalid_request_error")).encode()

    other = adapter.again(call, Verb.SUBMIT, Reply(400, {}, body))

    assert isinstance(other, httpx2.Request)
    assert json.loads(other.content)["text"]["format"]["strict"] is False
    assert adapter.again(call, Verb.SUBMIT, Reply(400, {}, body)) is None
    assert adapter.again(call, Verb.POLL, Reply(400, {}, body)) is None


def test_a_job_is_polled_and_cancelled_by_its_id() -> None:
    poll, cancel = sent(verb=Verb.POLL, external_id=JOB), sent(verb=Verb.CANCEL, external_id=JOB)

    assert (poll.method, str(poll.url)) == ("GET", f"https://api.example.com/v1/responses/{JOB}")
    assert (cancel.method, str(cancel.url)) == ("POST", f"https://api.example.com/v1/responses/{JOB}/cancel")
    assert cancel.headers["authorization"] == poll.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("verb", [Verb.POLL, Verb.CANCEL])
def test_without_a_job_nothing_is_sent(verb: Verb) -> None:
    step = OURS.request(make_call(OURS), verb)

    assert isinstance(step, Pause)
    assert isinstance(step.outcome, Unknown)


def test_only_a_job_gives_evidence() -> None:
    """A webhook names the provider's id, which is unknown after the first reply was lost."""
    assert traits(OURS, has_job=True)["evidence"] is True
    assert traits(OURS, has_job=False) == {"person": False, "repeatable": False, "evidence": False}


def test_a_job_that_a_webhook_reports_is_polled_later() -> None:
    silent = make_account(OURS)
    reply = Reply(200, {}, json.dumps(opened()).encode())
    waits = []
    for secret in (None, FIXTURES.webhook_secret):
        account = type(silent)("test", silent.profile, key=KEY, webhook_secret=secret)
        outcome = OURS.reply(make_call(OURS, account=account), Verb.SUBMIT, reply)
        assert isinstance(outcome, Accepted)
        waits.append(outcome.check_after_ms)

    assert waits == [2_000, 60_000]


def test_a_question_that_fails_says_nothing_about_the_work() -> None:
    """Else a job that runs would be given up, or begun a second time."""
    for verb in (Verb.POLL, Verb.CANCEL):
        for status in (*range(100, 200), *range(300, 600)):
            for body in ({}, error("no", "insufficient_quota", "insufficient_quota")):
                assert isinstance(answer(status, body, verb), Unknown), (verb, status)
        for body in ({}, {"object": "list"}, error("no", "x")):
            assert isinstance(answer(200, body, verb), Unknown)


def test_every_status_means_what_it_proves() -> None:
    wanted = {Proof.REFUSED: Failed, Proof.BUSY: Retry, Proof.BUSY_IF_SAID: Retry, Proof.NONE: Unknown}
    for status in (*range(100, 200), *range(300, 600)):
        means = Retry if status in ACCOUNT_STATUSES else wanted[proof_of(status)]
        assert type(answer(status, error("no", "some_error"))) is means, status


@pytest.mark.parametrize("code", ACCOUNT_CODES)
def test_a_code_counts_more_than_the_status_and_the_advice(code: str) -> None:
    for body in (error("no", "insufficient_quota", code), error("no", code)):
        outcome = answer(429, body, headers={"x-should-retry": "true"})
        assert isinstance(outcome, Retry)
        assert outcome.account in (ACCOUNT_CODES[code], "unpaid")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"surprise": 1}, "options.surprise"),
        ({"extra_body": {"background": True}}, "options.extra_body.background"),
        ({"extra_body": {"tools": []}}, "options.extra_body.tools"),
        ({"extra_body": {"previous_response_id": "resp_1"}}, "options.extra_body.previous_response_id"),
    ],
)
def test_wrong_options_are_named_at_the_start(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        OURS.check(make_account(OURS, options=wrong))
    assert refused.value.problems[0].field == field


# ------------------------------------------------------------------------------------------------ money


def micro(settings: dict[str, Any], body: Any) -> int | None:
    outcome = answer(200, body, settings=settings)
    assert isinstance(outcome, Succeeded | Failed)
    return cost_of_call(make_account(OURS, price_book="openai"), outcome, NOW_MS).micro


def test_the_price_is_that_of_the_tier_that_was_really_used() -> None:
    asked = {"service_tier": "priority"}

    assert micro(asked, response(service_tier="priority")) == 330  # 36 * 0.45 + 87 * 3.6 = 329.4, rounded up
    assert micro(asked, response(service_tier="default")) == 183  # 36 * 0.25 + 87 * 2
    assert micro(asked, response(service_tier="auto")) is None


def test_what_is_reserved_covers_the_tier_that_was_requested() -> None:
    account = make_account(OURS, price_book="openai")
    quotes = [OURS.quote(make_call(OURS, {"service_tier": tier})) for tier in ("flex", "default", "priority")]
    reserved = [bound(account, quote._replace(input_tokens=1000), None, NOW_MS) for quote in quotes]

    assert reserved == [2298, 2298, 4137]  # flex may be processed in the standard way; 1000 in and 1024 out


def test_a_cancelled_job_may_have_cost_something() -> None:
    outcome = answer(200, opened("cancelled"), Verb.CANCEL, {"background": True})

    assert cost_of_call(make_account(OURS, price_book="openai"), outcome, NOW_MS).micro is None
