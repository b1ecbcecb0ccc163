"""What every adapter must do.  `ProviderContract` runs over the whole registry, and knows no host.

An adapter's replies and webhooks are in `tests/fixtures/<name>.py`; a new adapter needs nothing here.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.outcome import Accepted, Failed, Outcome, Retry, Succeeded, Unknown
from consumer.core.profile import Account, Profile
from consumer.core.strictjson import dump_json
from consumer.provider import MAX_REPLY_BYTES, BadSignature, Call, Event, Pause, Provider, Quote, Reply, Verb
from consumer.telemetry import word
from providers import PROVIDERS
from tests.fixtures import Delivered, Fixtures, Recorded

NOW_MS = 1_795_305_600_000
KEY = "sk-4f9c2b7a1d8e6053"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}

DEEP = b"[" * 100_000 + b"]" * 100_000
"""In a Worker, a parser that is handed this kills the isolate."""
HOSTILE_BODIES = {
    "empty": b"",
    "white space": b" \n\t ",
    "html": b"<!DOCTYPE html><html><body>Bad Gateway</body></html>",
    "half": b'{"choices":[{"message":{"content":"{',
    "nan": b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":NaN}}',
    "infinite": b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1e999}}',
    "deep": DEEP,
    "deep in an object": b'{"error":' + DEEP + b"}",
    "not text": bytes(range(256)),
    "utf-16": '{"error":"x"}'.encode("utf-16"),
    "null": b"null",
    "number": b"12345678901234567890123456789012345678901234567890",
    "text": b'"ok"',
    "list": b'[{"error":{"message":"x"}}]',
    "object": b"{}",
    "surrogate": b'{"error":{"message":"\\ud800","code":"\\udc00"}}',
    "much usage": b'{"choices":[{"message":{"content":"x"}}],"usage":{"a":"' + b"b" * 50_000 + b'"}}',
    "deep usage": b'{"choices":[{"message":{"content":"x"}}],"usage":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
    "many digits": b'{"usage":{"prompt_tokens":' + b"9" * 5000 + b"}}",
}
HOSTILE_HEADERS: tuple[Mapping[str, str], ...] = (
    {"retry-after": "-1", "x-should-retry": "maybe"},
    {"retry-after": "Wed, 21888888888888 Oct 2026 07000000000000:28:00 GMT", "x-should-retry": "TRUE"},
    {"retry-after": "1e400", "retry-after-ms": "NaN", "x-should-retry": "true"},
    {"retry-after": "", "retry-after-ms": "", "content-type": "\x00", "x-should-retry": "false"},
    {"retry-after": "٣", "retry-after-ms": "99999999999999999999"},
    {"x-litellm-response-cost": "NaN", "llm_provider-retry-after": "soon"},
    {"x-litellm-response-cost": "-1"},
)
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1.5, "", "x", "-3", "\x00\n\x1b[31m", [], [None], [[]], {}, {"": None}, {"a": {"b": []}},
)  # fmt: skip


def fixtures_of(name: str) -> Fixtures:
    """The recorded replies and webhooks of an adapter.  Raises ImportError when it has none."""
    found: Fixtures = importlib.import_module(f"tests.fixtures.{name}").FIXTURES
    return found


def make_account(provider: Provider, **changes: Any) -> Account:
    fixtures = fixtures_of(provider.name)
    profile = parse(Profile, {"provider": provider.name, **fixtures.profile, **changes})
    return Account("test", profile, key=KEY, webhook_secret=fixtures.webhook_secret)


def make_call(provider: Provider, settings: Mapping[str, Any] | None = None, **changes: Any) -> Call:
    """A call like those that the worker makes, with the least settings that the adapter accepts."""
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
    """An outcome that can be decided on, priced and stored."""
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


def mutations(value: Any) -> Iterator[Any]:
    """The value with each of its parts, in turn, replaced by each hostile value, or left out."""
    yield from HOSTILE_VALUES
    if isinstance(value, dict):
        for key, part in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield from ({**value, key: mutated} for mutated in mutations(part))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from ([*value[:index], mutated, *value[index + 1 :]] for mutated in mutations(part))


def same(first: httpx2.Request | Pause, second: httpx2.Request | Pause) -> bool:
    if isinstance(first, Pause) or isinstance(second, Pause):
        return first == second
    return (first.method, first.url, first.headers.raw, first.content) == (
        second.method, second.url, second.headers.raw, second.content
    )  # fmt: skip


class ProviderContract:
    @pytest.fixture(params=sorted(PROVIDERS))
    def provider(self, request: pytest.FixtureRequest) -> Provider:
        return PROVIDERS[request.param]

    @pytest.fixture
    def fixtures(self, provider: Provider) -> Fixtures:
        return fixtures_of(provider.name)

    # ------------------------------------------------------------------------------ what it says of itself

    def test_it_is_what_it_is_registered_as(self, provider: Provider) -> None:
        assert PROVIDERS[provider.name] is provider
        assert provider.kind in ("ai", "human")
        parse(Profile, {"provider": provider.name})

    def test_it_accepts_the_least_profile_and_settings(self, provider: Provider) -> None:
        call = make_call(provider)

        provider.check(call.account)

    def test_it_says_what_is_wrong_with_a_profile(self, provider: Provider) -> None:
        account = make_account(provider)
        broken = Account("test", account.profile, key=KEY + "\n")

        with pytest.raises(BadInput, match=r"^key: "):
            provider.check(broken)
        with pytest.raises(BadInput, match="headers"):
            provider.check(make_account(provider, headers={"x-a": "b\r\nx-c: d"}))
        if provider.needs_base_url:
            with pytest.raises(BadInput, match=r"^base_url: "):
                provider.check(make_account(provider, base_url=None))

    def test_settings_refuse_what_they_do_not_know(self, provider: Provider, fixtures: Fixtures) -> None:
        with pytest.raises(BadInput, match="surprise"):
            parse(provider.settings, {**fixtures.settings, "surprise": 1})

    def test_a_route_cannot_say_where_to_send_or_with_which_key(self, provider: Provider) -> None:
        """Settings stand in rows that a tenant writes; addresses and secrets are the deployment's."""
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

    def test_a_pause_is_an_outcome(self, provider: Provider) -> None:
        for verb in provider.abilities.verbs:
            step = provider.request(make_call(provider), verb)

            if isinstance(step, Pause):
                assert step.after_ms >= 0
                assert_sound(step.outcome)
                if verb is Verb.CANCEL:
                    assert isinstance(step.outcome, Failed), "cancelled is Failed"

    def test_the_key_travels_where_it_is_honoured(self, provider: Provider) -> None:
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

    # ----------------------------------------------------------------------------------------- replies

    def test_recorded_replies_mean_what_they_meant(self, provider: Provider, fixtures: Fixtures) -> None:
        for recorded in fixtures.replies:
            outcome = provider.reply(recorded_call(provider, recorded), recorded.verb, recorded.reply)

            assert outcome == recorded.outcome, recorded.name
            assert_sound(outcome)

    def test_every_status_and_body_is_one_outcome(self, provider: Provider) -> None:
        call = make_call(provider)
        for verb in provider.abilities.verbs:
            for status in range(100, 600):
                for body in HOSTILE_BODIES.values():
                    assert_sound(provider.reply(call, verb, Reply(status, {}, body)))

    def test_every_header_is_one_outcome(self, provider: Provider, fixtures: Fixtures) -> None:
        call = make_call(provider)
        bodies = [b"", b"{}", *(recorded.reply.body for recorded in fixtures.replies)]
        for verb in provider.abilities.verbs:
            for status in (200, 202, 301, 400, 408, 409, 429, 500, 502, 503, 504, 529):
                for headers in HOSTILE_HEADERS:
                    for body in bodies:
                        assert_sound(provider.reply(call, verb, Reply(status, headers, body)))

    def test_wrong_types_anywhere_are_one_outcome(self, provider: Provider, fixtures: Fixtures) -> None:
        call = make_call(provider)
        for recorded in fixtures.replies:
            try:
                value = recorded.reply.json()
            except ValueError:
                continue
            for mutated in mutations(value):
                reply = Reply(recorded.status, recorded.headers, json.dumps(mutated).encode())

                assert_sound(provider.reply(call, recorded.verb, reply))

    def test_a_huge_body_is_one_outcome(self, provider: Provider) -> None:
        """What is read of ten megabytes."""
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

    def test_a_wish_to_wait_is_heard_in_seconds_and_as_a_date(
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
        """Whatever the provider echoes, no secret is in what is stored, logged or shown."""
        call = make_call(provider)
        secrets = [secret for secret in (KEY, fixtures.webhook_secret) if secret]
        shown = [repr(call), repr(call.account), repr(provider.quote(call))]
        shown += [repr(provider.request(call, verb)) for verb in provider.abilities.verbs]
        for secret in secrets:
            leaks = (
                f"wrong key {secret}",
                f"<html>{'x' * 280}{secret}</html>",
                json.dumps({"error": {"message": f"wrong key {secret}", "code": secret, "type": secret}}),
                json.dumps({"error": secret}),
                json.dumps({"detail": [{"msg": "x" * 290 + secret}]}),
                json.dumps({"message": secret, "object": "error"}),
                json.dumps(
                    {"choices": [{"message": {"refusal": secret}, "finish_reason": secret}], "model": secret}
                ),
            )
            for status in (200, 400, 401, 403, 429, 500, 502):
                for leak in leaks:
                    for verb in provider.abilities.verbs:
                        shown.append(repr(provider.reply(call, verb, Reply(status, {}, leak.encode()))))
            headers = {"webhook-id": secret, "webhook-timestamp": secret, "webhook-signature": secret}
            with pytest.raises(BadSignature) as refused:
                provider.verify_webhook(call.account, headers, secret.encode(), NOW_MS)
            shown.append(repr(refused.value))
        captured = capsys.readouterr()
        shown += [caplog.text, captured.out, captured.err]

        assert not [text for text in shown for secret in secrets if secret in text]

    def test_the_first_word_of_a_reason_is_the_adapters_own(self, provider: Provider) -> None:
        """It is logged; what the provider says is not."""
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
                    assert word(getattr(outcome, "why", None)) != said, (status, body)

    # ---------------------------------------------------------------------------------------- webhooks

    def test_webhooks_are_declared_and_recorded_together(
        self, provider: Provider, fixtures: Fixtures
    ) -> None:
        declared = provider.abilities.webhook

        assert declared == bool(fixtures.webhooks)
        assert declared == (fixtures.sign is not None and fixtures.webhook_secret is not None)

    def test_a_right_webhook_is_one_event(self, provider: Provider) -> None:
        for account, headers, delivered in _delivered(provider):
            event = provider.verify_webhook(account, headers, delivered.body, NOW_MS)

            assert event == Event("evt_1", delivered.external_id), delivered.name

    def test_a_webhook_says_what_it_meant(self, provider: Provider) -> None:
        for _, _, delivered in _delivered(provider):
            outcome = provider.read_webhook(make_call(provider), delivered.body)

            assert outcome == delivered.outcome, delivered.name
            if outcome is not None:
                assert_sound(outcome)

    def test_any_verified_body_can_be_told(self, provider: Provider, fixtures: Fixtures) -> None:
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

    def test_a_webhook_that_somebody_touched_is_refused(self, provider: Provider) -> None:
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

    def test_a_webhook_signed_by_somebody_else_is_refused(
        self, provider: Provider, fixtures: Fixtures
    ) -> None:
        for account, _, delivered in _delivered(provider):
            assert fixtures.sign is not None
            forged = fixtures.sign(OTHER_SECRET, "evt_1", NOW_MS, delivered.body)
            with pytest.raises(BadSignature):
                provider.verify_webhook(account, forged, delivered.body, NOW_MS)

    def test_without_a_secret_no_webhook_is_taken(self, provider: Provider) -> None:
        for account, headers, delivered in _delivered(provider):
            for secret in (None, "", "whsec_", "!"):
                bare = Account("test", account.profile, key=KEY, webhook_secret=secret)
                with pytest.raises(BadSignature):
                    provider.verify_webhook(bare, headers, delivered.body, NOW_MS)

    def test_an_adapter_without_webhooks_takes_none(self, provider: Provider) -> None:
        if not provider.abilities.webhook:
            with pytest.raises(BadSignature):
                provider.verify_webhook(make_account(provider), {}, b"{}", NOW_MS)
            assert provider.read_webhook(make_call(provider), b"{}") is None


def _delivered(provider: Provider) -> Iterator[tuple[Account, Mapping[str, str], Delivered]]:
    """Each recorded webhook of an adapter, signed; none for one that has no webhooks."""
    fixtures, account = fixtures_of(provider.name), make_account(provider)
    for delivered in fixtures.webhooks:
        assert fixtures.sign is not None
        assert fixtures.webhook_secret is not None
        yield account, fixtures.sign(fixtures.webhook_secret, "evt_1", NOW_MS, delivered.body), delivered
