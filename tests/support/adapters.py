"""An adapter's recorded replies, its account and its calls, for the contract of providers and its tests."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from consumer.core.model import parse
from consumer.core.outcome import Accepted, Failed, Outcome, Retry, Succeeded, Unknown
from consumer.core.profile import Account, Profile
from consumer.core.strictjson import dump_json
from consumer.provider import Call, Pause, Provider
from providers import PROVIDERS
from tests.fixtures import Fixtures, Recorded

NOW_MS = 1_795_305_600_000

KEY = "sk-4f9c2b7a1d8e6053"

OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def fixtures_of(name: str) -> Fixtures:
    """The recorded replies and webhooks of an adapter.  Raises ImportError when it has none."""
    found: Fixtures = importlib.import_module(f"tests.fixtures.{name}").FIXTURES
    return found


def make_account(provider: Provider, **changes: Any) -> Account:
    fixtures = fixtures_of(provider.name)
    profile = parse(Profile, {"provider": provider.name, **fixtures.profile, **changes})
    return Account("test", profile, key=KEY, webhook_secret=fixtures.webhook_secret)


def make_call(provider: Provider, settings: Mapping[str, Any] | None = None, **changes: Any) -> Call:
    """A call like the worker's own calls, with the smallest settings that the adapter accepts."""
    given: dict[str, Any] = {
        "execution_id": 2**40 + 5 * 1024 + 1,
        "key": "bizq-1099511633921",
        "account": make_account(provider),
        "settings": parse(provider.settings, {**fixtures_of(provider.name).settings, **(settings or {})}),
        "title": "Find the city",
        "description": "Which city does the text name?",
        "prompt": "Which city is named here? I live in Paris and work from home, as most of us do by now.",
        "value": {"text": "I live in Paris."},
        "output_schema": SCHEMA,
        "timeout_s": 60.0,
        "now_ms": NOW_MS,
    }
    return Call(**{**given, **changes})


def recorded_call(provider: Provider, recorded: Recorded) -> Call:
    return make_call(provider, recorded.settings, **recorded.asked)


def assert_sound(outcome: Outcome) -> None:
    """Assert that an outcome can be decided on, priced and stored."""
    assert isinstance(outcome, Succeeded | Accepted | Retry | Failed | Unknown), "the judge makes the others"
    if isinstance(outcome, Succeeded):
        dump_json(outcome.output).encode()
    elif isinstance(outcome, Accepted):
        assert outcome.check_after_ms is None or outcome.check_after_ms >= 0
    else:
        assert outcome.why
        assert outcome.why.isprintable()
        assert len(outcome.why) <= 500
    if isinstance(outcome, Retry) and outcome.after_ms is not None:
        assert outcome.after_ms >= 0
    if outcome.charged is not None:
        assert outcome.charged.is_finite()
        assert outcome.charged >= 0
    if outcome.usage is not None:
        counts = (outcome.usage.input_tokens, outcome.usage.output_tokens)
        caches = (outcome.usage.cache_read_tokens, outcome.usage.cache_write_tokens)
        assert all(
            type(count) is int and 0 <= count < 2**53 for count in (*counts, *caches) if count is not None
        )
        assert len(dump_json(outcome.usage.raw).encode()) <= 16_384


def same(first: httpx2.Request | Pause, second: httpx2.Request | Pause) -> bool:
    if isinstance(first, Pause) or isinstance(second, Pause):
        return first == second
    return (first.method, first.url, first.headers.raw, first.content) == (
        second.method, second.url, second.headers.raw, second.content
    )  # fmt: skip


class EveryAdapter:
    """A contract that runs for each adapter of the registry."""

    @pytest.fixture(params=sorted(PROVIDERS))
    def provider(self, request: pytest.FixtureRequest) -> Provider:
        return PROVIDERS[request.param]

    @pytest.fixture
    def fixtures(self, provider: Provider) -> Fixtures:
        return fixtures_of(provider.name)
