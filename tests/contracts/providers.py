"""What every adapter must do.  `ProviderContract` runs over the whole registry, and knows no host.

An adapter's replies and webhooks are in `tests/fixtures/<name>.py`; a new adapter needs nothing here.
"""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.outcome import Failed, Retry, Succeeded, Unknown
from consumer.core.profile import Account, Profile
from consumer.provider import Pause, Provider, Quote, Reply, Verb
from providers import PROVIDERS
from tests.contracts.provider_replies import ProviderReplyContract
from tests.contracts.provider_webhooks import ProviderWebhookContract
from tests.fixtures import Fixtures
from tests.support.adapters import (
    KEY,
    assert_sound,
    make_account,
    make_call,
    same,
)


class ProviderContract(ProviderReplyContract, ProviderWebhookContract):
    # ------------------------------------------------------------------------------------ declarations

    def test_its_name_is_the_registered_one(self, provider: Provider) -> None:
        assert PROVIDERS[provider.name] is provider
        assert provider.kind in ("ai", "human")
        parse(Profile, {"provider": provider.name})

    def test_it_accepts_the_smallest_profile_and_settings(self, provider: Provider) -> None:
        call = make_call(provider)

        provider.check(call.account)

    def test_it_names_the_fault_of_a_profile(self, provider: Provider) -> None:
        account = make_account(provider)
        broken = Account("test", account.profile, key=KEY + "\n")

        with pytest.raises(BadInput, match=r"^key: "):
            provider.check(broken)
        with pytest.raises(BadInput, match="headers"):
            provider.check(make_account(provider, headers={"x-a": "b\r\nx-c: d"}))
        if provider.needs_base_url:
            with pytest.raises(BadInput, match=r"^base_url: "):
                provider.check(make_account(provider, base_url=None))

    def test_unknown_settings_are_refused(self, provider: Provider, fixtures: Fixtures) -> None:
        with pytest.raises(BadInput, match="surprise"):
            parse(provider.settings, {**fixtures.settings, "surprise": 1})

    def test_a_route_cannot_set_the_address_or_the_key(self, provider: Provider) -> None:
        """Tenants write the rows with settings; addresses and secrets belong to the deployment."""
        fields = set(provider.settings.model_fields)

        assert not fields & {
            "base_url",
            "url",
            "key",
            "api_key",
            "headers",
            "webhook_secret",
            "options",
            "price",
        }

    # ---------------------------------------------------------------------------------------- requests

    def test_the_same_call_makes_the_same_request(self, provider: Provider) -> None:
        for verb in provider.abilities.verbs:
            first = provider.request(make_call(provider, external_id="job-1"), verb)
            second = provider.request(make_call(provider, external_id="job-1"), verb)

            assert same(first, second), verb

    def test_a_request_goes_to_the_profile_s_address(self, provider: Provider) -> None:
        call = make_call(provider, external_id="../../elsewhere")
        base = httpx2.URL(call.account.profile.base_url or "")
        for verb in provider.abilities.verbs:
            step = provider.request(call, verb)

            if isinstance(step, httpx2.Request):
                assert (step.url.scheme, step.url.host, step.url.port) == (base.scheme, base.host, base.port)
                assert step.url.path.startswith(base.path.rstrip("/"))
                assert KEY not in str(step.url)

    def test_a_probe_goes_to_the_profile_s_address_with_its_headers(self, provider: Provider) -> None:
        account = make_account(provider, headers={"X-Team": "a team"})
        base, probe = httpx2.URL(account.profile.base_url or ""), provider.probe(account)

        if probe is not None:
            url = probe.request.url
            assert (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
            assert probe.request.headers["x-team"] == "a team"
            assert KEY not in str(url)

    @pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"data": [1]}', b'{"data": {}}', b"[" * 9_999])
    def test_every_reply_to_a_probe_is_an_outcome(self, provider: Provider, body: bytes) -> None:
        for status in (200, 204, 301, 401, 402, 403, 404, 429, 500, 503):
            outcome = provider.read_probe(make_account(provider), Reply(status, {}, body))

            assert isinstance(outcome, Succeeded | Failed | Retry | Unknown)
            assert status < 300 or not isinstance(outcome, Succeeded)

    def test_a_pause_is_an_outcome(self, provider: Provider) -> None:
        for verb in provider.abilities.verbs:
            step = provider.request(make_call(provider), verb)

            if isinstance(step, Pause):
                assert step.after_ms >= 0
                assert_sound(step.outcome)
                if verb is Verb.CANCEL:
                    assert isinstance(step.outcome, Failed | Unknown), (
                        "cancelled is Failed, without a job Unknown"
                    )

    def test_the_idempotency_key_is_sent_where_it_is_honoured(self, provider: Provider) -> None:
        call = make_call(provider)
        step = provider.request(call, Verb.SUBMIT)
        if provider.abilities.honours_key and isinstance(step, httpx2.Request):
            sent = [*step.headers.values(), str(step.url), step.content.decode()]

            assert any(call.key in part for part in sent)

    def test_headers_of_the_profile_are_sent(self, provider: Provider) -> None:
        call = make_call(provider, account=make_account(provider, headers={"X-Team": "a team"}))
        for verb in provider.abilities.verbs:
            step = provider.request(call, verb)

            if isinstance(step, httpx2.Request):
                assert step.headers["x-team"] == "a team"

    @pytest.mark.parametrize(
        "value", [None, "", "naïve 🧠 \ud83d", [], {}, {"a": [1, None, True]}, 1.5, "x" * 100_000]
    )
    def test_any_input_can_be_sent_and_quoted(self, provider: Provider, value: Any) -> None:
        for prompt in ("", "Do it."):
            call = make_call(provider, value=value, prompt=prompt, title="", description="", feedback="wrong")

            assert isinstance(provider.request(call, Verb.SUBMIT), httpx2.Request | Pause)
            quote = provider.quote(call)
            assert isinstance(quote, Quote)
            assert quote.input_tokens >= 0
