"""APIs that docs/profiles.md describes as data, against aimock: over a real connection."""

from __future__ import annotations

from typing import Final

import httpx2
import pytest

from consumer.core.outcome import Failed, Outcome, Retry, Succeeded, Unknown
from consumer.core.profile import Account
from consumer.execution.prices import cost_of_call
from consumer.provider import Reply, Verb
from tests.docs.test_described_apis import HTTP, account
from tests.providers import test_aimock
from tests.support.adapters import NOW_MS, make_call

pytestmark = test_aimock.pytestmark
address = test_aimock.address

APIS: Final = {"ollama-native": ("", "llama3.2", 0), "cohere": ("/v2", "command-r-plus", 3_500)}
"""For each description: the path of its API, a model, and the price of aimock's usage in micro-dollars."""


def send(server: str, api: str, prompt: str) -> tuple[Account, Outcome]:
    path, model, _ = APIS[api]
    there = account(api, base_url=server + path)
    adapter, call = HTTP.of(there), make_call(HTTP, {"model": model}, account=there, prompt=prompt)
    request = adapter.request(call, Verb.SUBMIT)
    assert isinstance(request, httpx2.Request)
    with httpx2.Client(trust_env=False) as client:
        got = client.send(request)
    headers = {name.lower(): value for name, value in got.headers.items()}
    return there, adapter.reply(call, Verb.SUBMIT, Reply(got.status_code, headers, got.content))


@pytest.mark.parametrize("api", APIS)
def test_it_understands_a_described_request_and_we_its_answer(address: str, api: str) -> None:
    there, outcome = send(address, api, "Which city is it?")

    assert isinstance(outcome, Succeeded)
    assert outcome.output == test_aimock.PARIS
    assert cost_of_call(there, outcome, NOW_MS).micro == APIS[api][2]


@pytest.mark.parametrize(("prompt", "kind"), [("too much", Retry), ("wrong", Failed), ("broken", Unknown)])
@pytest.mark.parametrize("api", APIS)
def test_its_errors_mean_what_they_should(address: str, api: str, prompt: str, kind: type[Outcome]) -> None:
    _, outcome = send(address, api, prompt)

    assert type(outcome) is kind
