"""Periods of budgets, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.budget import Period, period_of
from consumer.core.policy import DAY, NEVER
from consumer.core.times import parse_time

kinds = st.sampled_from(["day", "month"])
times = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
)


def ms(text: str) -> int:
    return parse_time(text, "")


@pytest.mark.parametrize(
    ("kind", "now", "name", "starts", "ends"),
    [
        ("day", "2026-11-21T00:00:00Z", "7:2026-11-21", "2026-11-21", "2026-11-22"),
        ("day", "2026-11-21T23:59:59.999Z", "7:2026-11-21", "2026-11-21", "2026-11-22"),
        ("day", "2026-11-22T01:30:00+02:00", "7:2026-11-21", "2026-11-21", "2026-11-22"),
        ("day", "2026-12-31T12:00:00Z", "7:2026-12-31", "2026-12-31", "2027-01-01"),
        ("day", "2028-02-28T12:00:00Z", "7:2028-02-28", "2028-02-28", "2028-02-29"),
        ("day", "2028-02-29T12:00:00Z", "7:2028-02-29", "2028-02-29", "2028-03-01"),
        ("day", "2027-02-28T12:00:00Z", "7:2027-02-28", "2027-02-28", "2027-03-01"),
        ("month", "2026-11-30T23:59:59.999Z", "7:2026-11", "2026-11-01", "2026-12-01"),
        ("month", "2026-12-31T23:59:59.999Z", "7:2026-12", "2026-12-01", "2027-01-01"),
        ("month", "2027-01-01T00:00:00Z", "7:2027-01", "2027-01-01", "2027-02-01"),
        ("month", "2027-01-31T12:00:00Z", "7:2027-01", "2027-01-01", "2027-02-01"),
        ("month", "2028-02-29T23:59:59Z", "7:2028-02", "2028-02-01", "2028-03-01"),
        ("month", "2100-02-28T23:59:59Z", "7:2100-02", "2100-02-01", "2100-03-01"),
    ],
)
def test_a_period_ends_at_midnight_in_utc(kind: str, now: str, name: str, starts: str, ends: str) -> None:
    assert period_of(7, kind, ms(now)) == Period(name, 7, ms(starts), ms(ends))


def test_the_period_of_a_total_budget_never_ends() -> None:
    assert period_of(7, "total", 0) == period_of(7, "total", NEVER) == Period("7:total", 7, 0, NEVER)


@given(kinds, times)
def test_a_moment_lies_in_its_period(kind: str, now: int) -> None:
    period = period_of(1, kind, now)
    assert period.starts_ms <= now < period.ends_ms
    assert (period.ends_ms - period.starts_ms) // DAY in ({1} if kind == "day" else {28, 29, 30, 31})


@given(kinds, times)
def test_periods_follow_each_other_without_gap_or_overlap(kind: str, now: int) -> None:
    period = period_of(1, kind, now)
    assert period_of(1, kind, period.starts_ms) == period_of(1, kind, period.ends_ms - 1) == period
    following = period_of(1, kind, period.ends_ms)
    assert following.starts_ms == period.ends_ms
    assert following.id > period.id


@given(times)
def test_each_budget_and_kind_has_a_row_of_its_own(now: int) -> None:
    names = {period_of(budget, kind, now).id for budget in (1, 11) for kind in ("day", "month", "total")}
    assert len(names) == 6
