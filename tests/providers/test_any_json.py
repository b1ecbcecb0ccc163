"""Every adapter of an HTTP API against arbitrary JSON made of the names in its own replies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from consumer.execution.prices import cost_of_call
from consumer.execution.secrets import without_secrets
from consumer.provider import Provider, Reply
from providers import PROVIDERS
from tests.support.adapters import KEY, NOW_MS, assert_sound, fixtures_of, make_account, make_call

HTTP = sorted(name for name, provider in PROVIDERS.items() if provider.needs_base_url)
BOOKS = {"anthropic": "anthropic", "gemini": "google"}
HEADERS = ["retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "request-id", "x-gemini-service-tier",
           "x-litellm-response-cost", "x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"]  # fmt: skip


def words(value: Any) -> set[str]:
    """Every name and every short text in a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*map(words, value.values()))
    if isinstance(value, list):
        return set().union(*map(words, value))
    return {value} if isinstance(value, str) and len(value) < 40 else set()


def known(name: str) -> list[str]:
    found: set[str] = set()
    for recorded in fixtures_of(name).replies:
        try:
            found |= words(recorded.reply.json())
        except ValueError:
            continue
    return sorted(found)


def replies(name: str) -> st.SearchStrategy[tuple[int, Any, dict[str, str]]]:
    texts = st.sampled_from(known(name)) | st.text() | st.just(KEY)
    leaves = (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
    )
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=6),
        max_leaves=25,
    )
    headers = st.dictionaries(st.sampled_from(HEADERS), st.text() | st.just(KEY), max_size=3)
    return st.tuples(st.integers(100, 599) | st.just(200), values, headers)


@pytest.mark.parametrize("name", HTTP)
@tuned(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_json_gives_one_outcome_with_a_price_and_without_secrets(name: str, data: st.DataObject) -> None:
    status, value, headers = data.draw(replies(name))
    provider: Provider = PROVIDERS[name]
    account = make_account(provider, price_book=BOOKS.get(name, "openai"))
    call = make_call(provider, account=account, external_id="job-1")
    reply = Reply(status, headers, json.dumps(value).encode())
    for verb in provider.abilities.verbs:
        outcome = provider.reply(call, verb, reply)

        assert_sound(outcome)
        cost = cost_of_call(account, outcome, NOW_MS)
        assert cost.micro is None or 0 <= cost.micro < 2**53 - 1
        why = getattr(outcome, "why", "")
        assert KEY not in why
        assert not any(mark in why for mark in ('{"', "[{", '["', "</"))
        assert KEY not in json.dumps(getattr(without_secrets(account, outcome).usage, "raw", {}))
