"""Times as milliseconds for computing, and as ISO-8601 text for the public columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.errors import BadInput
from consumer.core.times import iso, parse_time

TEN = 1_795_255_200_000
"""2026-11-21T10:00:00Z"""


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (TEN, "2026-11-21T10:00:00.000Z"),
        (TEN + 7, "2026-11-21T10:00:00.007Z"),
        (1_835_395_200_000 - 1, "2028-02-28T23:59:59.999Z"),
    ],
)
def test_a_time_is_written_in_utc_with_milliseconds(ms: int, text: str) -> None:
    assert iso(ms) == text


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_comes_back_unchanged(ms: int) -> None:
    assert parse_time(iso(ms), "") == ms


@given(st.lists(st.integers(0, 253_402_300_799_999), min_size=2))
def test_times_sort_as_text_in_the_order_of_their_numbers(moments: list[int]) -> None:
    assert [iso(ms) for ms in sorted(moments)] == sorted(iso(ms) for ms in moments)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:00:00Z",
        "2026-11-21T10:00:00",
        "2026-11-21 10:00",
        "2026-11-21T10:00:00.000+00:00",
        "2026-11-21T12:00:00+02:00",
        "2026-11-21T04:30:00-05:30",
        "20261121T100000Z",
        "2026-11-21T10:00:00.000999Z",
    ],
)
def test_a_time_without_an_offset_is_utc(text: str) -> None:
    assert parse_time(text, "due_date") == TEN


def test_a_date_means_its_midnight_in_utc() -> None:
    assert parse_time("2026-11-21", "due_date") == TEN - 36_000_000


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2026-13-01", "2027-02-29", "10:00", "1795255200", "2026-11-21T25:00", "\0", "२"]
)
def test_a_text_that_is_not_a_time_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_time(text, "tasks[3].due_date")
    assert refused.value.problems[0].field == "tasks[3].due_date"
    assert "2026-11-21T10:00:00Z" in refused.value.problems[0].message


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_could_not_be_written_in_utc_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_time(text, "due_date")


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59:59.999Z"])
def test_the_first_and_the_last_day_are_times(text: str) -> None:
    assert parse_time(iso(parse_time(text, "")), "") == parse_time(text, "")
