"""Quiet organizations get what they ask for, whatever noisy ones do: a small version of `make bench-fair`."""

from __future__ import annotations

import pytest

from tests.bench.fair import LEAST, NOISES, fair_parts, jain, measure


def test_jains_index_is_one_for_equal_parts_and_lower_for_others() -> None:
    assert jain([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


def test_the_fair_part_is_what_one_asked_for_or_an_equal_part_of_the_rest() -> None:
    assert fair_parts({1: 1.0, 2: 9.0, 3: 20.0}, 11.0) == {1: 1.0, 2: 5.0, 3: 5.0}


@pytest.mark.parametrize("noise", ["a flood of tasks", "failing tasks"])
def test_two_noisy_organizations_hold_up_no_quiet_one(noise: str) -> None:
    row = measure(NOISES[noise], 2, window_s=120)

    assert min(row.share, row.speed) >= LEAST
    assert row.quiet_wait_s < 10


@pytest.mark.heavy
@pytest.mark.parametrize("noise", [name for name in NOISES if NOISES[name].tasks])
def test_ten_noisy_organizations_hold_up_no_quiet_one(noise: str) -> None:
    row = measure(NOISES[noise], 10)

    assert min(row.share, row.speed) >= LEAST
