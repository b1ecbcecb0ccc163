"""When a profile rests, when it is called again, and how often."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.outcome import Accepted, Failed, Invalid, Outcome, Retry, Succeeded, Unknown
from consumer.core.policy import CLOCK_SLACK, HOUR, LEASE, MINUTE, NEVER, PATIENCE, SECOND
from consumer.core.profile import Profile, Rate
from consumer.core.rest import (
    FAILURES,
    FIRST_LIMIT,
    FIRST_REST,
    LONGEST_ASKED,
    LONGEST_LIMIT,
    LONGEST_REST,
    MOST_FAILING,
    UNTROUBLED,
    State,
    Wait,
    Way,
    after,
    choose,
    for_account,
    holding,
    next_call_ms,
    probing,
    room,
    seen_by,
    taken,
)

NOW: Final = 1_795_305_600_000
DOWN: Final = Retry("http_503: down")
LIMITED: Final = Retry("http_429", limited=True)


def ended(state: State, *outcomes: Outcome, now_ms: int = NOW) -> State:
    """The state after calls that began just before they ended."""
    for outcome in outcomes:
        state = after(state, outcome, now_ms, now_ms)
    return state


REFUSED: Final = Retry("http_401 invalid_api_key: no", account="refused_key")
BROKE: Final = Retry("http_402: pay", account="unpaid")
RESTING: Final = ended(UNTROUBLED, *[DOWN] * FAILURES)


@pytest.mark.parametrize("outcome", [Succeeded(1), Accepted("job"), Failed("http_400"), Invalid("no")])
def test_a_healthy_profile_has_no_state(outcome: Outcome) -> None:
    assert ended(UNTROUBLED, outcome) == UNTROUBLED


@pytest.mark.parametrize("outcome", [DOWN, Unknown("timeout"), Unknown("network: ReadError")])
def test_a_profile_rests_after_failures_in_a_row(outcome: Outcome) -> None:
    almost = ended(UNTROUBLED, *[outcome] * (FAILURES - 1))
    assert room(almost, None, NOW) == NEVER
    resting = ended(almost, outcome)
    assert (room(resting, None, NOW), resting.until_ms, resting.level) == (0, NOW + FIRST_REST, 1)
    assert resting.reason in ("http_503", "timeout", "network")  # the words of the provider are not shared


def test_a_profile_rests_for_the_organizations_whose_calls_failed() -> None:
    state = UNTROUBLED
    for organization in (1, 1, 2):
        state = after(state, DOWN, NOW, NOW, organization)

    assert [room(seen_by(state, organization), None, NOW) for organization in (1, 2, 3)] == [0, 0, NEVER]

    for organization in range(3, MOST_FAILING + 3):
        state = after(state, DOWN, NOW + organization, NOW + organization, organization)
    assert room(seen_by(state, 1_000), None, NOW + SECOND) == 0

    state = after(state, Succeeded({}), NOW + SECOND, NOW + SECOND, 3)
    assert [room(seen_by(state, organization), None, NOW + SECOND) for organization in (1, 2, 3)] == [
        NEVER
    ] * 3


def test_a_refusal_for_too_many_calls_holds_for_all_organizations() -> None:
    state = after(UNTROUBLED, LIMITED, NOW, NOW, 1)

    assert room(seen_by(state, 2), None, NOW) == 0


def test_an_answer_in_between_begins_the_count_again() -> None:
    state = ended(UNTROUBLED, DOWN, DOWN, Succeeded(1), DOWN, DOWN)
    assert (state.level, state.failures) == (0, 2)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(REFUSED, "refused_key http_401 invalid_api_key"), (BROKE, "unpaid http_402")],
)
def test_a_profile_whose_account_is_refused_rests_after_the_first_call(outcome: Outcome, reason: str) -> None:
    state = after(UNTROUBLED, outcome, NOW, NOW, fingerprint="this account")
    assert (state.until_ms, state.level, state.failures) == (NOW + FIRST_REST, 1, 1)
    assert (state.reason, state.account) == (reason, "this account")


def test_a_refused_account_that_is_probed_in_vain_rests_for_longer_and_an_answer_ends_it() -> None:
    state = after(UNTROUBLED, REFUSED, NOW, NOW, fingerprint="this account")
    now = state.until_ms
    again = after(state, REFUSED, now, now, fingerprint="this account")
    assert (again.until_ms - now, again.level) == (2 * FIRST_REST, 2)
    free = after(again, Succeeded(1), again.until_ms, again.until_ms)
    assert (free.level, free.until_ms, free.reason, free.account) == (0, 0, None, None)


def test_another_failure_of_the_probe_is_no_longer_about_the_account() -> None:
    state = after(UNTROUBLED, REFUSED, NOW, NOW, fingerprint="this account")
    state = after(state, DOWN, state.until_ms, state.until_ms)
    assert (state.reason, state.account, state.level) == ("http_503", None, 2)


def test_another_account_ends_the_rest_of_a_refused_one_and_no_other_rest() -> None:
    refused = after(
        UNTROUBLED._replace(version=7, recent=((1, 2),)), REFUSED, NOW, NOW, fingerprint="this account"
    )
    assert for_account(refused, "this account") == refused
    assert for_account(refused, "another") == UNTROUBLED._replace(version=7, recent=((1, 2),))
    assert for_account(RESTING, "another") == RESTING


def test_a_call_that_the_worker_cut_off_says_nothing_about_its_profile() -> None:
    assert ended(UNTROUBLED, *[Unknown("cut_off: the worker was stopped")] * 9) == UNTROUBLED


def test_failures_of_calls_that_were_in_flight_already_do_not_prolong_a_rest() -> None:
    state = RESTING
    for _ in range(50):
        state = after(state, DOWN, NOW - 1, NOW + 100)
    assert state == RESTING


def test_after_a_rest_one_call_finds_out_and_each_failure_doubles_the_next_rest() -> None:
    state, now, lengths = RESTING, NOW, [FIRST_REST]
    for _ in range(8):
        now = state.until_ms
        assert room(state, None, now) == 1
        state = probing(state, now, 60 * SECOND)
        assert (room(state, None, now), state.until_ms) == (0, now + 60 * SECOND + CLOCK_SLACK)
        state = ended(state, DOWN, now_ms=now)
        lengths.append(state.until_ms - now)
    assert all(later == min(2 * earlier, LONGEST_REST) for earlier, later in pairwise(lengths))
    assert lengths[-1] == LONGEST_REST


def test_an_answer_to_the_probe_ends_the_rest() -> None:
    probe = probing(RESTING, RESTING.until_ms, 60 * SECOND)
    assert room(ended(probe, Succeeded(1), now_ms=RESTING.until_ms), None, RESTING.until_ms) == NEVER


def test_an_answer_to_a_call_from_before_the_rest_does_not_end_it() -> None:
    assert after(RESTING, Succeeded(1), NOW - 60_000, NOW + 1) == RESTING


@pytest.mark.parametrize(
    ("asked", "wait"), [(2_000, 2_000), (0, 0), (7_200_000, LONGEST_ASKED), (None, FIRST_LIMIT)]
)
def test_a_profile_with_too_many_calls_waits_as_long_as_its_provider_asks(
    asked: int | None, wait: int
) -> None:
    state = ended(UNTROUBLED, replace(LIMITED, after_ms=asked))
    assert (state.until_ms, state.level) == (NOW + wait, 0)


def test_refusals_without_a_time_wait_longer_each_time() -> None:
    state, now, waits = UNTROUBLED, NOW, []
    for _ in range(9):
        state = ended(state, LIMITED, now_ms=now)
        waits.append(state.until_ms - now)
        now = state.until_ms
    assert waits[:4] == [FIRST_LIMIT * factor for factor in (1, 2, 4, 8)]
    assert waits[-1] == LONGEST_LIMIT


def test_refusals_of_calls_in_flight_count_once() -> None:
    state = ended(UNTROUBLED, LIMITED)
    assert after(state, LIMITED, NOW - 1, NOW + 5) == state


def test_a_refusal_for_too_many_calls_shows_that_a_resting_profile_answers() -> None:
    state = ended(probing(RESTING, NOW + HOUR, SECOND), replace(LIMITED, after_ms=5_000), now_ms=NOW + HOUR)
    assert (state.level, state.until_ms) == (0, NOW + HOUR + 5_000)


outcomes = st.sampled_from([DOWN, LIMITED, replace(LIMITED, after_ms=9_000), Unknown("x"), Succeeded(1)])


@given(st.lists(st.tuples(outcomes, st.integers(0, 60_000), st.integers(0, 60_000)), max_size=30))
def test_every_rest_ends(calls: list[tuple[Outcome, int, int]]) -> None:
    """Whatever the calls of several workers bring, and in whatever order, the profile is called again."""
    state, now = UNTROUBLED, NOW
    for outcome, age, pause in calls:
        now += pause
        state = after(state, outcome, now - age, now)
        assert state.until_ms <= now + max(LONGEST_REST, LONGEST_ASKED)
        assert room(state, None, max(now, state.until_ms)) >= 1


# ------------------------------------------------------------------------------------- the profile's own limits


def limited(calls: int = 20, per_s: int = 10, concurrency: int | None = None) -> Profile:
    return Profile(provider="blind", rate=Rate(calls=calls, per_s=per_s), concurrency=concurrency)


@given(st.lists(st.integers(0, 3_000), max_size=200), st.integers(1, 20), st.integers(1, 60))
def test_no_time_of_the_period_has_more_calls_than_the_rate(
    pauses: list[int], calls: int, per_s: int
) -> None:
    state, now, begun, profile = UNTROUBLED, NOW, list[int](), limited(calls, per_s)
    for pause in pauses:
        now += pause
        if room(state, profile, now):
            state = taken(state, profile, "run", now)
            begun.append(now)
        else:
            assert now < next_call_ms(state, profile, now) <= now + per_s * 1_100 + 1
    for one in begun:
        assert sum(one <= other < one + per_s * 1_000 for other in begun) <= calls
    assert room(state, profile, next_call_ms(state, profile, now)) >= 1
    assert len(state.recent) <= 22


def test_a_rate_allows_all_its_calls_at_once() -> None:
    state, profile = UNTROUBLED, limited()
    for left in range(20, 0, -1):
        assert room(state, profile, NOW) == left
        state = taken(state, profile, "run", NOW)
    assert room(state, profile, NOW) == 0


def test_all_runs_together_have_as_many_calls_in_flight_as_the_profile_allows() -> None:
    profile = Profile(provider="blind", concurrency=3)
    state = taken(taken(UNTROUBLED, profile, "one", NOW), profile, "two", NOW)
    assert room(state, profile, NOW) == 1
    assert room(holding(state, "one", 0, NOW), profile, NOW) == 2
    assert room(taken(state, profile, "one", NOW), profile, NOW) == 0


def test_calls_of_a_lost_run_stop_counting() -> None:
    profile = Profile(provider="blind", concurrency=1)
    state = taken(UNTROUBLED, profile, "lost", NOW)
    assert room(state, profile, NOW + LEASE - 1) == 0
    assert room(state, profile, NOW + LEASE) == 1


# ------------------------------------------------------------------------------------- the choice of a candidate

OPEN: Final = Way(NEVER, NOW, promised=True)
RESTS: Final = Way(0, NOW + FIRST_REST, promised=False)
RESTS_LONG: Final = Way(0, NOW + LONGEST_REST, promised=False)


def waits(ms: int) -> Way:
    return Way(0, NOW + ms, promised=True)


@pytest.mark.parametrize(
    ("ways", "deadline_ms", "choice"),
    [
        ([OPEN], None, 0),
        ([RESTS, OPEN], None, 1),
        ([RESTS, RESTS_LONG, OPEN], None, 2),
        ([RESTS], None, Wait(0, in_time=True)),
        ([RESTS_LONG, RESTS], None, Wait(1, in_time=True)),
        # A short wait that is sure to end is better than another candidate.
        ([waits(PATIENCE), OPEN], None, Wait(0, in_time=True)),
        ([waits(PATIENCE + 1), OPEN], None, 1),
        ([waits(5_000), OPEN], 5_000, 1),
        ([waits(HOUR)], HOUR, Wait(0, in_time=False)),
        ([waits(HOUR)], HOUR + 1, Wait(0, in_time=True)),
        # A profile that rests may answer at any time: its task waits until the deadline.
        ([RESTS_LONG], MINUTE, Wait(0, in_time=True)),
    ],
)
def test_a_task_goes_to_the_first_candidate_that_is_worth_waiting_for(
    ways: list[Way], deadline_ms: int | None, choice: int | Wait
) -> None:
    assert choose(ways, NOW, None if deadline_ms is None else NOW + deadline_ms) == choice
