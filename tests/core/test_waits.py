"""The waits that servers ask for, in the shapes that they send."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.waits import asked_wait_ms

NOW_MS = 1_795_305_600_000  # 22 November 2026, 00:00 UTC

GOOGLE = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"},
        ],
    }
}
ROUTER = {
    "error": {
        "code": 429,
        "metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(NOW_MS + 41_000)}},
    }
}


def said(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


@pytest.mark.parametrize(
    ("headers", "body", "wanted"),
    [
        ({}, GOOGLE, 34_000),
        ({}, [GOOGLE], 34_000),
        ({}, {"error": {"details": [{"retryDelay": "34.074824224s"}]}}, 34_074),
        ({}, {"error": {"details": [{"retryDelay": {"seconds": 3}}]}}, 3_000),
        ({}, {"error": {"retry_after": 1.5}}, 1_500),
        ({}, {"retry_after_ms": 1500}, 1_500),
        ({}, {"errors": [{"code": 1, "retry_after": "20"}]}, 20_000),
        ({}, said("Rate limit reached for m. Please try again in 7.66s. Visit us."), 7_660),
        ({}, said("Please try again in 2m59.56s."), 179_560),
        ({}, said("Please try again in 120ms."), 120),
        ({}, said("Please retry after 5 seconds."), 5_000),
        ({}, said("Please retry in 34.07s."), 34_070),
        ({}, said("Try again in about 2 minutes."), 120_000),
        ({}, said("Try again tomorrow."), None),
        ({}, ROUTER, 41_000),
        ({"llm_provider-retry-after": "9"}, None, 9_000),
        ({"llm_provider-x-ratelimit-reset-tokens": "1s"}, None, 1_000),
        ({"retry-after": "1m30s"}, None, 90_000),
        ({"retry-after": "2026-11-22T00:00:45Z"}, None, 45_000),
        ({"retry-after": str(NOW_MS // 1000 + 12)}, None, 12_000),
        ({"x-ratelimit-reset-requests": "6m0s"}, None, 360_000),
        ({"x-ratelimit-reset": "17"}, None, 17_000),
        ({"x-ratelimit-reset": str(NOW_MS // 1000 + 60)}, None, 60_000),
        ({"x-ratelimit-reset": str(NOW_MS + 60_000)}, None, 60_000),
        ({"ratelimit-reset": "30"}, None, 30_000),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-22T00:00:10Z"}, None, 10_000),
        ({"x-ratelimit-reset": "1"}, GOOGLE, 34_000),
        ({"retry-after": "2"}, GOOGLE, 2_000),
        ({"retry-after": "soon"}, GOOGLE, 34_000),
        ({"retry-after": str((NOW_MS - 5_000) // 1000)}, None, 0),
        ({}, None, None),
        ({"x-ratelimit-remaining-tokens": "0"}, {"error": {"message": 5, "retry_after": True}}, None),
    ],
)  # fmt: skip
def test_a_wait_is_read_in_each_form(headers: dict[str, str], body: Any, wanted: int | None) -> None:
    assert asked_wait_ms(headers, body, NOW_MS) == wanted


def test_the_limit_that_is_reached_says_when_to_come_back() -> None:
    """A limit by the day that still has room is full again much later than the limit that was reached."""
    headers = {
        "x-ratelimit-remaining-requests": "14000",
        "x-ratelimit-reset-requests": "8h",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "7.66s",
    }
    assert asked_wait_ms(headers, None, NOW_MS) == 7_660
    assert asked_wait_ms({**headers, "x-ratelimit-remaining-tokens": "12"}, None, NOW_MS) == 7_660


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "details", "retryDelay", "retry_after", "message", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]), st.text()
    ),
    body=VALUES,
)
def test_anything_is_a_wait_or_none(headers: dict[str, str], body: Any) -> None:
    wait = asked_wait_ms(headers, body, NOW_MS)
    assert wait is None or (type(wait) is int and wait >= 0)


@pytest.mark.parametrize("part", ["1m", "try again in 1", "{", " ", "9"])
def test_a_long_text_is_read_in_a_time_that_grows_no_faster_than_it(part: str) -> None:
    began = time.perf_counter()
    asked_wait_ms({"retry-after": part * 500_000}, {"message": part * 500_000}, NOW_MS)
    assert time.perf_counter() - began < 2
