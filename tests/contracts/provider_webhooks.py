"""What every adapter must do with webhooks: accept those of its provider, refuse all others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from consumer.core.errors import BadInput
from consumer.core.profile import Account
from consumer.provider import BadSignature, Event, Provider, Reply
from tests.fixtures import Delivered, Fixtures
from tests.support.adapters import (
    KEY,
    NOW_MS,
    OTHER_SECRET,
    EveryAdapter,
    assert_sound,
    fixtures_of,
    make_account,
    make_call,
)
from tests.support.hostile_replies import HOSTILE_BODIES, mutations


class ProviderWebhookContract(EveryAdapter):
    # ---------------------------------------------------------------------------------------- webhooks

    def test_webhooks_are_declared_and_recorded_together(
        self, provider: Provider, fixtures: Fixtures
    ) -> None:
        declared = provider.abilities.webhook

        assert declared == bool(fixtures.webhooks)
        assert declared == (fixtures.sign is not None and fixtures.webhook_secret is not None)

    @pytest.mark.parametrize(
        "secret", ["whsec_abcde", "whsec_", "a", "password", "whsec_####", "whsec_YQ==", "ключ"]
    )
    def test_a_secret_that_can_verify_nothing_is_refused_at_the_start(
        self, provider: Provider, fixtures: Fixtures, secret: str
    ) -> None:
        """Every genuine webhook would be refused as a forged one."""
        account = make_account(provider, webhook_secret="SECRET")  # the name of a secret

        with pytest.raises(BadInput, match=r"^webhook_secret: "):
            provider.check(replace(account, webhook_secret=secret))
        if provider.abilities.webhook:
            provider.check(replace(account, webhook_secret=fixtures.webhook_secret))

    def test_a_valid_webhook_is_one_event(self, provider: Provider) -> None:
        for account, headers, delivered in _delivered(provider):
            event = provider.verify_webhook(account, headers, delivered.body, NOW_MS)

            assert event == Event("evt_1", delivered.external_id), delivered.name

    def test_a_recorded_webhook_gives_its_recorded_outcome(self, provider: Provider) -> None:
        for _, _, delivered in _delivered(provider):
            outcome = provider.read_webhook(make_call(provider), delivered.body)

            assert outcome == delivered.outcome, delivered.name
            if outcome is not None:
                assert_sound(outcome)

    def test_any_verified_body_can_be_read(self, provider: Provider, fixtures: Fixtures) -> None:
        """A signed webhook may still be nonsense."""
        bodies = list(HOSTILE_BODIES.values())
        for delivered in fixtures.webhooks:
            try:
                value = Reply(200, {}, delivered.body).json()
            except ValueError:
                continue
            bodies += [json.dumps(mutated).encode() for mutated in mutations(value)]
        for body in bodies:
            outcome = provider.read_webhook(make_call(provider), body)
            if outcome is not None:
                assert_sound(outcome)

    def test_a_webhook_is_taken_a_little_early_or_late(self, provider: Provider) -> None:
        for account, headers, delivered in _delivered(provider):
            for now in (NOW_MS - 290_000, NOW_MS + 290_000):
                assert provider.verify_webhook(account, headers, delivered.body, now).id == "evt_1"

    def test_an_old_webhook_and_one_from_the_future_are_refused(self, provider: Provider) -> None:
        for account, headers, delivered in _delivered(provider):
            for now in (NOW_MS - 310_000, NOW_MS + 310_000, 0):
                with pytest.raises(BadSignature):
                    provider.verify_webhook(account, headers, delivered.body, now)

    def test_a_changed_webhook_is_refused(self, provider: Provider) -> None:
        for account, headers, delivered in _delivered(provider):
            for body in (delivered.body + b" ", delivered.body[:-1], b"", b"\xff\xfe"):
                with pytest.raises(BadSignature):
                    provider.verify_webhook(account, headers, body, NOW_MS)
            for name, value in headers.items():
                for changed in (
                    value + "0",
                    value[:-1],
                    "",
                    "garbage",
                    " ",
                    "v1",
                    "v1,",
                    "v1,!",
                    "é",
                    "9" * 400,
                ):
                    with pytest.raises(BadSignature):
                        provider.verify_webhook(account, {**headers, name: changed}, delivered.body, NOW_MS)
                with pytest.raises(BadSignature):
                    provider.verify_webhook(
                        account, {k: v for k, v in headers.items() if k != name}, delivered.body, NOW_MS
                    )

    def test_a_webhook_signed_with_another_secret_is_refused(
        self, provider: Provider, fixtures: Fixtures
    ) -> None:
        for account, _, delivered in _delivered(provider):
            assert fixtures.sign is not None
            forged = fixtures.sign(OTHER_SECRET, "evt_1", NOW_MS, delivered.body)
            with pytest.raises(BadSignature):
                provider.verify_webhook(account, forged, delivered.body, NOW_MS)

    def test_without_a_secret_every_webhook_is_refused(self, provider: Provider) -> None:
        for account, headers, delivered in _delivered(provider):
            for secret in (None, "", "whsec_", "!"):
                bare = Account("test", account.profile, key=KEY, webhook_secret=secret)
                with pytest.raises(BadSignature):
                    provider.verify_webhook(bare, headers, delivered.body, NOW_MS)

    def test_an_adapter_without_webhooks_refuses_them(self, provider: Provider) -> None:
        if not provider.abilities.webhook:
            with pytest.raises(BadSignature):
                provider.verify_webhook(make_account(provider), {}, b"{}", NOW_MS)
            assert provider.read_webhook(make_call(provider), b"{}") is None


def _delivered(provider: Provider) -> Iterator[tuple[Account, Mapping[str, str], Delivered]]:
    """Each recorded webhook of an adapter, signed; nothing if the adapter has no webhooks."""
    fixtures, account = fixtures_of(provider.name), make_account(provider)
    for delivered in fixtures.webhooks:
        assert fixtures.sign is not None
        assert fixtures.webhook_secret is not None
        yield account, fixtures.sign(fixtures.webhook_secret, "evt_1", NOW_MS, delivered.body), delivered
