"""The adapters of AI APIs against aimock, a server of other people that imitates these APIs: over a real connection."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from consumer.core.outcome import Failed, Outcome, Retry, Succeeded, Unknown
from consumer.core.profile import Account, Profile
from consumer.execution.prices import cost_of_call
from consumer.provider import Reply, Verb
from providers import PROVIDERS
from tests.support.adapters import KEY, NOW_MS, make_call
from tests.workerd.archives import ROOT
from tests.workerd.toolchain import MissingToolError, Toolchain

MODULES: Final = Path(os.environ.get("BIZQ_NODE_MODULES") or ROOT / "node_modules")
PROGRAM: Final = MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"
PARIS: Final = {"city": "Paris"}
USED: Final = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
SCRIPT: Final = {
    "fixtures": [
        {
            "match": {"userMessage": "Which city"},
            "response": {"content": json.dumps(PARIS), "usage": USED},
        },
        {
            "match": {"userMessage": "too much"},
            "response": {"error": {"message": "Rate limited", "type": "rate_limit_error"}, "status": 429},
        },
        {
            "match": {"userMessage": "wrong"},
            "response": {"error": {"message": "Bad", "type": "invalid_request_error"}, "status": 400},
        },
        {
            "match": {"userMessage": "broken"},
            "response": {"error": {"message": "Internal", "type": "api_error"}, "status": 500},
        },
    ]
}
CASES: Final = {
    "openai_compatible": ("/v1", "gpt-5-mini", "openai", 450),  # 1,000 * 0.25 + 100 * 2
    "openai_responses": ("/v1", "gpt-5-mini", "openai", 450),
    "anthropic": ("", "claude-haiku-4-5", "anthropic", 1_500),  # 1,000 * 1 + 100 * 5
    "gemini": ("/v1beta", "gemini-2.5-flash", "google", 550),  # 1,000 * 0.30 + 100 * 2.50
}
"""For each adapter: the path of its API, a model, its price book, and the price of `USED` in micro-dollars."""

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not PROGRAM.is_file(), reason="the npm package aimock is not there: run `make setup`"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server.  It takes any free port, and ends with these tests."""
    folder = tmp_path_factory.mktemp("aimock")
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    try:
        node = Toolchain.node_of_this_machine()
    except MissingToolError as error:
        pytest.skip(str(error))
    command = [str(node), str(PROGRAM), "-p", "0", "-h", "127.0.0.1", "-f", str(folder), "--strict"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            lines = iter(server.stdout.readline, "")
            found = next(filter(None, (re.search(r"listening on (http://\S+)", line) for line in lines)))
            yield found[1]
        finally:
            server.terminate()


def send(address: str, adapter: str, prompt: str) -> tuple[Account, Outcome]:
    path, model, book, _ = CASES[adapter]
    profile = Profile(provider=adapter, base_url=address + path, price_book=book)
    account = Account("test", profile, key=KEY)
    call = make_call(PROVIDERS[adapter], {"model": model}, account=account, prompt=prompt)
    request: Any = PROVIDERS[adapter].request(call, Verb.SUBMIT)
    with httpx2.Client(trust_env=False) as client:
        got = client.send(request)
    headers = {name.lower(): value for name, value in got.headers.items()}
    return account, PROVIDERS[adapter].reply(call, Verb.SUBMIT, Reply(got.status_code, headers, got.content))


@pytest.mark.parametrize("adapter", CASES)
def test_it_understands_our_request_and_we_its_answer_and_its_cost(address: str, adapter: str) -> None:
    account, outcome = send(address, adapter, "Which city is it?")

    assert isinstance(outcome, Succeeded)
    assert outcome.output == PARIS
    assert cost_of_call(account, outcome, NOW_MS).micro == CASES[adapter][3]


@pytest.mark.parametrize(("prompt", "kind"), [("too much", Retry), ("wrong", Failed), ("broken", Unknown)])
@pytest.mark.parametrize("adapter", CASES)
def test_its_errors_mean_what_they_should(
    address: str, adapter: str, prompt: str, kind: type[Outcome]
) -> None:
    _, outcome = send(address, adapter, prompt)

    assert type(outcome) is kind


def test_every_adapter_of_an_ai_api_is_tried() -> None:
    apis = {name for name, provider in PROVIDERS.items() if provider.kind == "ai" and provider.needs_base_url}
    assert apis >= set(CASES)
