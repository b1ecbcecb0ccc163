"""Amounts: exact, rounded up once, never guessed."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.money import FREE, MICRO, UNKNOWN, Cost, Usage, from_micro, reported_amount, show, to_micro
from consumer.ports import MAX_INTEGER

micros = st.integers(0, MAX_INTEGER)
amounts = st.decimals(0, 10**9, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("amount", "micro"),
    [
        ("0", 0),
        ("-0", 0),
        ("1", 1_000_000),
        ("0.000001", 1),
        ("0.0000000000001", 1),
        ("1e-999", 1),
        ("0.0000010000001", 2),
        ("1.2345678", 1_234_568),
        ("12E+2", 1_200_000_000),
        ("0.1000000000000000000000000000000000001", 100_001),  # more digits than decimal's context has
        ("123456789.0000000000000000000000000001", 123_456_789_000_001),
    ],
)
def test_an_amount_is_rounded_up(amount: str, micro: int) -> None:
    assert to_micro(Decimal(amount)) == micro


@given(amounts)
def test_rounding_up_is_exact_for_any_amount(amount: Decimal) -> None:
    assert to_micro(amount) == ceil(Fraction(amount) * MICRO)


@given(amounts)
def test_the_rounding_mode_of_a_caller_does_no_harm(amount: Decimal) -> None:
    with localcontext(rounding="ROUND_FLOOR"):
        assert to_micro(amount) == ceil(Fraction(amount) * MICRO)


@given(micros)
def test_micro_dollars_come_back_unchanged(micro: int) -> None:
    assert to_micro(from_micro(micro)) == micro


@pytest.mark.parametrize(
    "amount", ["NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "-1", "-0.0000001", "1e30", "9e999999"]
)
def test_a_value_that_is_not_an_amount_of_money_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="not an amount of money: "):
        to_micro(Decimal(amount))


def test_unknown_is_not_free() -> None:
    assert Cost(0, "none") == FREE
    assert Cost(None, None) == UNKNOWN


def test_people_see_six_digits_or_unknown() -> None:
    assert [show(micro) for micro in (None, 0, 1, 1_234, 12_000_000)] == [
        "unknown",
        "$0.000000",
        "$0.000001",
        "$0.001234",
        "$12.000000",
    ]


@given(micros)
def test_an_amount_for_people_is_exact(micro: int) -> None:
    assert to_micro(Decimal(show(micro).removeprefix("$"))) == micro


def test_two_usages_share_no_dictionary() -> None:
    assert Usage().raw is not Usage().raw


@pytest.mark.parametrize(
    ("reported", "micro"),
    [
        ("0.028575000000000003", 28_575),
        (0.1 + 0.2, 300_000),
        (sum([0.0001] * 1000), 100_000),
        ("0.0285750001", 28_576),
        ("8.75e-06", 9),
        (999_999.999999, 999_999_999_999),
        (0, 0),
    ],
)
def test_the_noise_of_a_float_is_no_money(reported: object, micro: int) -> None:
    amount = reported_amount(reported)
    assert amount is not None
    assert to_micro(amount) == micro


@pytest.mark.parametrize("reported", [None, True, "", "free", "NaN", "inf", -1, "-0.1", 2_000_000, [], {}])
def test_what_is_no_amount_is_not_read_as_one(reported: object) -> None:
    assert reported_amount(reported) is None
