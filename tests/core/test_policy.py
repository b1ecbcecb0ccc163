"""Waits, deadlines and ranks: functions from numbers to numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.policy import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    CLOCK_SLACK,
    DAY,
    HOUR,
    LEASE,
    LONGEST_WAIT,
    MINUTE,
    NEVER,
    POLL_INTERVAL_MAX,
    RANKS,
    RENEW_EVERY,
    SECOND,
    poll_delay,
    raise_at,
    rank,
    retry_delay,
)
from consumer.core.template import MAX_CALL_S
from consumer.ports import MAX_INTEGER

draws = st.floats(0, 1, exclude_max=True)
attempts = st.integers(0, 10_000)


def test_units_are_milliseconds() -> None:
    assert (SECOND, MINUTE, HOUR, DAY) == (1_000, 60_000, 3_600_000, 86_400_000)


def test_never_is_the_last_time_that_a_row_can_hold() -> None:
    assert NEVER == MAX_INTEGER


def test_a_call_ends_before_its_lease_even_if_renewals_are_missed() -> None:
    """A worker that missed a renewal, and has a wrong clock, still holds the tasks that it makes calls for."""
    assert MAX_CALL_S * SECOND + CLOCK_SLACK <= LEASE
    assert 3 * RENEW_EVERY + CLOCK_SLACK < LEASE


# ---------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize(
    ("attempt", "draw", "delay"),
    [(0, 0.0, 0), (0, 0.5, 500), (1, 0.5, 1_000), (3, 0.5, 4_000), (9, 0.5, 256_000), (10, 0.5, 450_000)],
)
def test_the_backoff_doubles_until_its_cap(attempt: int, draw: float, delay: int) -> None:
    assert retry_delay(attempt, draw, None) == delay


@given(attempts, draws)
def test_the_jitter_is_full(attempt: int, draw: float) -> None:
    """The delay lies anywhere between zero and its maximum, so that workers that failed together return one by one."""
    whole = min(BACKOFF_CAP, BACKOFF_BASE * 2**attempt)
    assert 0 <= retry_delay(attempt, draw, None) < whole
    assert retry_delay(attempt, draw, None) == int(draw * whole)


@given(attempts, draws, st.integers(-(10**15), 10**15))
def test_the_wait_that_the_provider_asks_for_is_the_minimum(attempt: int, draw: float, after_ms: int) -> None:
    delay = retry_delay(attempt, draw, after_ms)
    asked = min(max(after_ms, 0), LONGEST_WAIT)
    assert asked <= delay <= asked + SECOND


def test_a_retry_after_in_seconds_is_kept_to_the_second() -> None:
    assert retry_delay(5, 0.0, 120 * SECOND) == 120 * SECOND
    assert retry_delay(0, 0.25, 120 * SECOND) == 120 * SECOND + 250
    assert retry_delay(5, 0.99, 120 * SECOND) == 121 * SECOND


# ---------------------------------------------------------------------------------------------- polling


@given(st.integers(0, 400 * DAY), draws)
def test_an_older_job_is_polled_less_often(age: int, draw: float) -> None:
    base = min(max(2 * SECOND, age // 4), POLL_INTERVAL_MAX)
    assert int(0.75 * base) <= poll_delay(age, draw) <= int(1.25 * base)


def test_polls_are_spread_around_a_quarter_of_the_age() -> None:
    assert [poll_delay(age, 0.5) for age in (0, 8_000, MINUTE, HOUR)] == [
        2_000,
        2_000,
        15_000,
        POLL_INTERVAL_MAX,
    ]


# ---------------------------------------------------------------------------------------------- order


def test_ranks_are_in_order() -> None:
    assert [rank(name) for name in RANKS] == [0, 1, 2, 3]
    assert rank("urgent") < rank("high") < rank("medium") < rank("low")


@pytest.mark.parametrize("priority", [None, "", "Urgent", "critical", "0"])
def test_an_unknown_priority_is_medium(priority: str | None) -> None:
    assert rank(priority) == rank("medium")


@given(st.integers(0, NEVER), st.integers(0, NEVER))
def test_a_task_is_raised_in_the_last_quarter_of_its_span(created: int, due: int) -> None:
    moment = raise_at(created, due)
    assert moment is not None
    assert moment <= due
    if due >= created:
        assert 3 * (due - created) <= 4 * (moment - created) < 3 * (due - created) + 4
    else:
        assert moment == due


def test_a_task_without_a_due_date_is_not_raised() -> None:
    assert raise_at(0, None) is None
    assert raise_at(1_000, 5_000) == 4_000
