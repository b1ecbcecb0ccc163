"""The helpers of `consumer.provider` for adapters: strict JSON, excerpts, waits, signatures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from consumer.core.errors import BadInput
from consumer.core.strictjson import nests_too_deeply
from consumer.provider import (
    BadSignature,
    Reply,
    check_standard_secret,
    excerpt,
    standard_webhook,
    strict_json,
)
from providers.echo import Echo
from tests.fixtures import standard_webhook_headers
from tests.support.adapters import KEY, NOW_MS, fixtures_of, make_account


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "1e999", '{"a": -1e999}', "[" * 9000, "", "{"]
)
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json(text)
    with pytest.raises(ValueError, match=r"."):
        strict_json(text.encode())


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("[" * 200 + "]" * 200, False),
        ("[" * 201 + "]" * 201, True),
        ('{"a":' * 201 + "1" + "}" * 201, True),
        ("[" + "[{}]," * 10_000 + "[]]", False),
        (json.dumps("[" * 1000), False),
        (json.dumps({'\\"' * 3 + "[" * 300: "\\" + "{" * 300}), False),
        ('["\\\\",' + "[" * 300, True),
        ('["\\\\\\",' + "[" * 300, False),
        ("]" * 1000 + "[" * 100, False),
    ],
)
def test_depth_is_counted_outside_of_strings(text: str, deep: bool) -> None:  # noqa: FBT001
    assert nests_too_deeply(text) is deep


def test_an_excerpt_is_one_short_line_without_secrets() -> None:
    account = make_account(Echo())

    assert excerpt(f"a\n\tb\x1b[31m  {KEY}\u2028c\ud800", account) == "a b [31m *** c"
    assert excerpt("x" * 1000, account) == "x" * 299 + "…"
    assert excerpt("y" * 290 + KEY, account).endswith("y***")
    assert excerpt({"not": "text"}, account) == ""


def test_while_a_secret_is_changed_webhooks_of_both_are_genuine() -> None:
    new, old, other = (
        "whsec_bmV3IHNlY3JldCBvZiB0ZXN0cw==",
        "whsec_b2xkIHNlY3JldCBvZiB0ZXN0cw==",
        "whsec_C2FVsBQIhrscChlQIMV",
    )

    check_standard_secret(f"{new} {old}")
    for signs in (new, old):
        headers = standard_webhook_headers(signs, "evt_1", NOW_MS, b"{}")
        assert standard_webhook(f"{new} {old}", headers, b"{}", NOW_MS) == "evt_1"
        with pytest.raises(BadSignature):
            standard_webhook(f"{new} {other}", {**headers, "webhook-id": "evt_2"}, b"{}", NOW_MS)
    for wrong in (f"{new} {old} {new}", " ", f"{new} a"):
        with pytest.raises(BadInput, match=r"^webhook_secret: "):
            check_standard_secret(wrong)


@pytest.mark.parametrize("secret", ["whsec_ZW5kcG9pbnQ=", "ab-12345678:-", 'a1b2<c3d4{"e5'])
def test_an_excerpt_has_no_part_of_a_secret_that_ends_or_breaks_where_words_do(secret: str) -> None:
    """Text is cut where JSON or markup begins, and at punctuation at its end: half a secret would no longer match."""
    account = replace(make_account(Echo()), key=secret, webhook_secret=None)

    assert excerpt(f"wrong key {secret}", account) == "wrong key ***"


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2000),
        ({"retry-after": " 2.5 "}, 2500),
        ({"retry-after": "-2"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "2", "retry-after-ms": "30"}, 30),
        ({"retry-after": "2", "retry-after-ms": "x"}, 2000),
        ({"retry-after": "Sun, 22 Nov 2026 00:01:00 GMT"}, 60_000),
        ({"retry-after": "Sun, 22 Nov 2026 01:01:00 +0100"}, 60_000),
        ({"retry-after": "Sun, 22 Nov 2026 00:01:00 -0000"}, 60_000),
        ({"retry-after": "Sat, 21 Nov 2026 00:01:00 GMT"}, 0),
        ({"retry-after": "Sun, 22 Nov 99999 00:00:00 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 00:00:00 +99999999999999999999"}, None),
    ],
)
def test_retry_after_is_read_in_each_form(headers: dict[str, str], wanted: int | None) -> None:
    assert Reply(429, headers, b"").retry_after_ms(NOW_MS) == wanted


def test_a_sender_that_changes_its_secret_signs_with_both() -> None:
    secret, body = fixtures_of("echo").webhook_secret or "", b"{}"
    mine = standard_webhook_headers(secret, "evt_1", NOW_MS, body)
    other = standard_webhook_headers("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "evt_1", NOW_MS, body)
    both = {"webhook-signature": f"v1a,x {other['webhook-signature']} {mine['webhook-signature']}"}

    assert standard_webhook(secret, {**mine, **both}, body, NOW_MS) == "evt_1"
