"""The contract, for every adapter of the registry."""

from __future__ import annotations

import json
from pathlib import Path

from consumer.core.outcome import Retry, Succeeded
from providers import PROVIDERS
from tests.contracts.providers import ProviderContract
from tests.support.adapters import fixtures_of
from tests.support.hostile_replies import mutations


class TestProviders(ProviderContract):
    """Every entry of the registry keeps the contract."""


def test_every_adapter_is_registered_and_recorded() -> None:
    """An adapter without recorded replies would pass the contract without being tested."""
    files = {path.stem for path in (Path(__file__).parents[2] / "providers").glob("*.py")}

    assert set(PROVIDERS) == files - {"__init__"}
    for name, provider in PROVIDERS.items():
        fixtures = fixtures_of(name)
        assert not provider.needs_base_url or any(isinstance(r.outcome, Succeeded) for r in fixtures.replies)
        assert not provider.needs_base_url or any(isinstance(r.outcome, Retry) for r in fixtures.replies)
        assert not provider.needs_base_url or any(r.measured for r in fixtures.replies)


def test_recorded_replies_have_names_of_their_own() -> None:
    for name in PROVIDERS:
        names = [recorded.name for recorded in fixtures_of(name).replies]
        assert len(names) == len(set(names))


def test_mutations_change_every_part() -> None:
    """A test of the contract's own tool: without it, wrong types would be tested at the top level only."""
    texts = [json.dumps(mutated) for mutated in mutations({"a": [{"b": 1}]})]

    assert '{"a": [{"b": null}]}' in texts
    assert '{"a": [{}]}' in texts
    assert '{"a": ""}' in texts
