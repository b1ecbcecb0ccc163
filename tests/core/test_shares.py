"""Turns of organizations, and the last connection of a run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.shares import ANSWERING_MS, SLOW_MS, Connections, Speeds, turns

organizations = st.lists(st.sampled_from([None, 1, 2, 3]), max_size=20)


@pytest.mark.parametrize(
    ("owners", "held", "order"),
    [
        ([1, 1, 1], {}, [0, 1, 2]),
        ([1, 1, 1, 2, 2], {}, [0, 3, 1, 4, 2]),
        ([1, 1, 2, 3], {}, [0, 2, 3, 1]),
        ([1, 1, 2, 2], {1: 4}, [2, 3, 0, 1]),
        ([1, 2], {1: 1, 2: 1}, [0, 1]),
        ([], {}, []),
    ],
)
def test_organizations_take_turns_and_those_with_calls_in_flight_wait(
    owners: list[int], held: dict[int | None, int], order: list[int]
) -> None:
    assert list(turns(owners, held)) == order


@given(organizations, st.dictionaries(st.sampled_from([None, 1, 2, 3]), st.integers(0, 9)))
def test_every_wish_gets_one_turn_and_no_organization_overtakes_one_with_fewer_calls(
    owners: list[int | None], held: dict[int | None, int]
) -> None:
    order = list(turns(owners, held))

    assert sorted(order) == list(range(len(owners)))
    for owner in set(owners):
        mine = [place for place in order if owners[place] == owner]
        assert mine == sorted(mine)
    counts, left = Counter(held), Counter(owners)
    for place in order:
        owner = owners[place]
        if len(set(owners)) > 1:
            assert all(counts[owner] <= counts[other] for other in left if left[other])
        counts[owner] += 1
        left[owner] -= 1


def connections(**changes: Any) -> Connections:
    values: dict[str, Any] = {"total": 5, "free": 1, "held": {"slow": 4, 1: 4}, "one_profile": False}
    values |= {"one_organization": True} | changes
    speeds = Speeds(values.pop("answered_ms", {}), values.pop("slow", {}))
    return Connections(speeds=speeds, **values)


@pytest.mark.parametrize(
    ("profile", "changes", "may"),
    [
        ("slow", {}, False),
        ("other", {}, True),
        ("slow", {"free": 2, "held": {"slow": 3}}, True),
        ("other", {"free": 0}, False),
        ("slow", {"answered_ms": {"slow": 10_000 - ANSWERING_MS}}, True),
        ("slow", {"answered_ms": {"slow": 10_000 - ANSWERING_MS - 1}}, False),
        ("slow", {"answered_ms": {"other": 10_000}}, False),
        ("slow", {"one_profile": True}, True),
        ("slow", {"total": 2, "held": {"slow": 1}}, True),
    ],
)
def test_the_last_connection_is_for_a_profile_without_calls_or_one_that_answers(
    profile: str, changes: dict[str, Any], *, may: bool
) -> None:
    assert connections(**changes).may_take(profile, 1, 10_000) is may


@pytest.mark.parametrize(
    ("organization", "changes", "may"),
    [
        (1, {}, False),
        (2, {}, True),
        (2, {"slow": {2: None}}, False),
        (1, {"answered_ms": {1: 10_000 - ANSWERING_MS}}, True),
        (1, {"answered_ms": {1: 10_000 - ANSWERING_MS - 1}}, False),
        (1, {"one_organization": True}, True),
        (2, {"slow": {2: None}, "held": {}}, True),
        (2, {"slow": {2: None}, "free": 2}, True),
        (1, {"free": 2}, True),
        (1, {"free": 2, "one_profile": False}, False),
        (1, {"free": 3, "one_profile": False}, True),
    ],
)
def test_the_last_connection_is_for_an_organization_without_calls_or_one_that_gets_quick_answers(
    organization: int, changes: dict[str, Any], *, may: bool
) -> None:
    usual = {"one_profile": True, "one_organization": False}
    assert connections(**(usual | changes)).may_take("p", organization, 10_000) is may


def test_a_slow_answer_makes_an_organization_slow_and_a_quick_one_does_not() -> None:
    speeds = Speeds()
    speeds.note("p", 1, SLOW_MS + 1, 10_000, answered=True)
    speeds.note("p", 2, SLOW_MS, 10_000, answered=True)

    assert (1 in speeds.slow, 2 in speeds.slow) == (True, False)
    assert [speeds.is_answering(owner, 10_000) for owner in ("p", 1, 2, 3)] == [True, False, True, False]

    speeds.note("p", 1, 5, 11_000, answered=True)
    assert 1 not in speeds.slow
