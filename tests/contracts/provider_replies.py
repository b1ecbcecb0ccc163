"""What every adapter must do with replies: one outcome for each reply, and no secret in it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

import pytest

from consumer.core.outcome import Retry
from consumer.execution.secrets import without_secrets
from consumer.provider import MAX_REPLY_BYTES, BadSignature, Pause, Provider, Reply, Verb
from consumer.telemetry import reason_code
from tests.fixtures import Fixtures
from tests.support.adapters import (
    KEY,
    NOW_MS,
    EveryAdapter,
    assert_sound,
    make_account,
    make_call,
    recorded_call,
)
from tests.support.hostile_replies import HOSTILE_BODIES, HOSTILE_HEADERS, mutations

GATEWAY_KEY = "gw/7c1e 9a+55=d0f3b2"
"""Unlike KEY, it changes in a URL, in JSON and in base 64."""


def leaks(secret: str) -> list[str]:
    """Replies that repeat a secret."""
    bearer = base64.b64encode(f"user:{secret}".encode()).decode()
    return [
        f"wrong key {secret}",
        f"<html><title>{'x' * 280}{secret}</title></html>",
        json.dumps({"error": {"message": f"wrong key {secret}", "code": secret, "type": secret}}),
        json.dumps({"error": {"message": f"no access with Basic {bearer} at /v1?key={quote(secret)}"}}),
        json.dumps({"error": secret}),
        json.dumps({"detail": [{"msg": "x" * 290 + secret, "loc": [secret]}]}),
        json.dumps({"message": secret, "object": "error"}),
        json.dumps(
            {
                "choices": [{"message": {"refusal": secret}, "finish_reason": secret}],
                "model": secret,
                "usage": {"prompt_tokens": 1, "key": {secret: [secret]}},
            }
        ),
    ]


class ProviderReplyContract(EveryAdapter):
    # ----------------------------------------------------------------------------------------- replies

    def test_recorded_replies_mean_what_they_meant(self, provider: Provider, fixtures: Fixtures) -> None:
        for recorded in fixtures.replies:
            outcome = provider.reply(recorded_call(provider, recorded), recorded.verb, recorded.reply)

            assert outcome == recorded.outcome, recorded.name
            assert_sound(outcome)

    def test_every_status_and_body_gives_one_outcome(self, provider: Provider) -> None:
        call = make_call(provider)
        for verb in provider.abilities.verbs:
            for status in range(100, 600):
                for body in HOSTILE_BODIES.values():
                    assert_sound(provider.reply(call, verb, Reply(status, {}, body)))

    def test_every_header_gives_one_outcome(self, provider: Provider, fixtures: Fixtures) -> None:
        call = make_call(provider)
        bodies = [b"", b"{}", *(recorded.reply.body for recorded in fixtures.replies)]
        for verb in provider.abilities.verbs:
            for status in (200, 202, 301, 400, 408, 409, 429, 500, 502, 503, 504, 529):
                for headers in HOSTILE_HEADERS:
                    for body in bodies:
                        assert_sound(provider.reply(call, verb, Reply(status, headers, body)))

    def test_wrong_types_anywhere_give_one_outcome(self, provider: Provider, fixtures: Fixtures) -> None:
        call = make_call(provider)
        for recorded in fixtures.replies:
            try:
                value = recorded.reply.json()
            except ValueError:
                continue
            for mutated in mutations(value):
                reply = Reply(recorded.status, recorded.headers, json.dumps(mutated).encode())

                assert_sound(provider.reply(call, recorded.verb, reply))

    def test_a_huge_body_gives_one_outcome(self, provider: Provider) -> None:
        """The part of a ten-megabyte body that is read."""
        call = make_call(provider)
        for start in (
            b'{"choices":[{"message":{"content":"',
            b'{"error":{"message":"',
            b"<html>",
            b"[" * 100,
        ):
            body = (start + b"a" * 10_000_000)[:MAX_REPLY_BYTES]
            for status in (200, 400, 429, 500, 502):
                for closed in (body, body + b'"}}', body + b'"}}]}'):
                    assert_sound(provider.reply(call, Verb.SUBMIT, Reply(status, {}, closed)))

    def test_retry_after_is_read_in_seconds_and_as_a_date(
        self, provider: Provider, fixtures: Fixtures
    ) -> None:
        date = format_datetime(datetime.fromtimestamp(NOW_MS / 1000 + 90, UTC), usegmt=True)
        past = format_datetime(datetime.fromtimestamp(NOW_MS / 1000 - 90, UTC), usegmt=True)
        for recorded in fixtures.replies:
            call = recorded_call(provider, recorded)
            if isinstance(recorded.outcome, Retry):
                for said, wanted in (("7", 7_000), ("0.5", 500), (date, 90_000), (past, 0)):
                    headers = {**recorded.headers, "retry-after": said}
                    outcome = provider.reply(
                        call, recorded.verb, Reply(recorded.status, headers, recorded.reply.body)
                    )

                    assert isinstance(outcome, Retry)
                    assert outcome.after_ms == wanted, (recorded.name, said)

    def test_a_quote_is_an_upper_bound(self, provider: Provider, fixtures: Fixtures) -> None:
        for recorded in fixtures.replies:
            if recorded.measured and recorded.outcome.usage is not None:
                quote, usage = provider.quote(recorded_call(provider, recorded)), recorded.outcome.usage

                assert quote.input_tokens >= (usage.input_tokens or 0), recorded.name
                assert quote.output_tokens is None or quote.output_tokens >= (usage.output_tokens or 0), (
                    recorded.name
                )
        step = provider.request(make_call(provider), Verb.SUBMIT)
        if isinstance(step, Pause) and step.outcome.usage is not None:
            quote, usage = provider.quote(make_call(provider)), step.outcome.usage

            assert quote.input_tokens >= (usage.input_tokens or 0)
            assert quote.output_tokens is None or quote.output_tokens >= (usage.output_tokens or 0)

    # ----------------------------------------------------------------------------------------- secrets

    def test_secrets_stay_secret(
        self,
        provider: Provider,
        fixtures: Fixtures,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """No stored, logged or shown text contains a secret, even if the provider echoes it."""
        account = replace(make_account(provider), secret_headers={"x-gateway-key": GATEWAY_KEY})
        call = make_call(provider, account=account)
        secrets = [secret for secret in (KEY, GATEWAY_KEY, fixtures.webhook_secret) if secret]
        shown = [repr(call), repr(call.account), repr(provider.quote(call))]
        shown += [repr(provider.request(call, verb)) for verb in provider.abilities.verbs]
        for secret in secrets:
            for status in (200, 400, 401, 403, 429, 500, 502):
                for leak in leaks(secret):
                    for verb in provider.abilities.verbs:
                        outcome = provider.reply(call, verb, Reply(status, {}, leak.encode()))
                        shown.append(repr(without_secrets(account, outcome)))
                        shown.append(str(getattr(outcome, "why", "")))
            headers = {"webhook-id": secret, "webhook-timestamp": secret, "webhook-signature": secret}
            with pytest.raises(BadSignature) as refused:
                provider.verify_webhook(call.account, headers, secret.encode(), NOW_MS)
            shown.append(repr(refused.value))
        captured = capsys.readouterr()
        shown += [caplog.text, captured.out, captured.err]

        assert not [text for text in shown for secret in secrets if secret in text]

    def test_the_first_word_of_a_reason_comes_from_the_adapter(self, provider: Provider) -> None:
        """That word is logged; the provider's text is not."""
        call, said = make_call(provider), "whatever"
        shapes: tuple[Any, ...] = (
            said,
            {"error": said, "message": said, "detail": said},
            {"error": {"message": said, "code": said, "type": said}},
            {"choices": [{"message": {"refusal": said}, "finish_reason": said}], "model": said},
        )
        for status in (200, 204, 400, 401, 403, 429, 500, 502):
            for body in (said, *map(json.dumps, shapes)):
                for verb in provider.abilities.verbs:
                    outcome = provider.reply(call, verb, Reply(status, {}, body.encode()))
                    assert reason_code(getattr(outcome, "why", None)) != said, (status, body)
