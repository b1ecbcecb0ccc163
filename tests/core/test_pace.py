"""What a run does next, as a table: nothing here needs a database or a clock."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.pace import (
    COMMIT,
    DONE,
    HAND_OVER,
    WIND_DOWN,
    Load,
    Pace,
    Step,
    Wait,
    can_claim,
    flush_due,
    is_over,
    next_step,
    should_settle,
)
from consumer.core.policy import MINUTE, SECOND
from consumer.core.template import MAX_CALL_S
from consumer.world import Config

PACE = Pace(flush_after_ms=50, flush_size=50, prefetch_below=0, settle_with_begins_at=1, statements=900)
IDLE = Load(
    now_ms=1_000,
    stop_at_ms=600_000,
    cut_at_ms=870_000,
    renew_at_ms=60_000,
    exhausted=True,
    room=10,
    connections=5,
)
FLYING = IDLE._replace(in_flight=3, room=7, connections=2)
OVER = FLYING._replace(now_ms=600_000, renew_at_ms=660_000, handed_over=True)

STEPS: dict[str, tuple[Load, Step]] = {
    "nothing in hand and nothing due": (IDLE, DONE),
    "nothing in hand, and something may be due": (IDLE._replace(exhausted=False), COMMIT),
    "the time is over with nothing in hand": (IDLE._replace(exhausted=False, now_ms=600_000), DONE),
    "the time is over with a call in flight": (FLYING._replace(now_ms=600_000), HAND_OVER),
    "the time is over with a task in hand": (OVER._replace(ready=1), HAND_OVER),
    "the time is over with a follow-up in hand": (OVER._replace(follow_ups=1), HAND_OVER),
    "calls go on after the time": (OVER, Wait(660_000)),
    "a lease is renewed after the time": (OVER._replace(renew_at_ms=600_000), COMMIT),
    "calls end after the time": (OVER._replace(ended=1, first_ended_ms=599_000), COMMIT),
    "the hard limit comes before the renewal": (
        OVER._replace(now_ms=840_000, renew_at_ms=900_000),
        Wait(870_000),
    ),
    "the hard limit": (OVER._replace(now_ms=870_000), WIND_DOWN),
    "asked to stop after the time": (OVER._replace(stopping=True), WIND_DOWN),
    "asked to stop with a task in hand": (IDLE._replace(ready=1, stopping=True), WIND_DOWN),
    "a task in hand and room for it": (FLYING._replace(ready=1), COMMIT),
    "a task in hand that waits for a connection": (FLYING._replace(ready=1, stalled=True), Wait(60_000)),
    "a task in hand and no room": (FLYING._replace(ready=1, room=0), Wait(60_000)),
    "a follow-up and a free connection": (FLYING._replace(follow_ups=1), COMMIT),
    "a follow-up and no free connection": (FLYING._replace(follow_ups=1, connections=0), Wait(60_000)),
    "a task to give up": (FLYING._replace(releases=1), COMMIT),
    "calls in flight alone": (FLYING, Wait(60_000)),
    "a lease that needs renewal": (FLYING._replace(renew_at_ms=1_000), COMMIT),
    "the stop time comes before the renewal": (FLYING._replace(stop_at_ms=2_000), Wait(2_000)),
    "a call that has just ended": (FLYING._replace(ended=1, first_ended_ms=990), Wait(1_040)),
    "a call that ended long enough ago": (FLYING._replace(ended=1, first_ended_ms=950), COMMIT),
    "enough calls that have ended": (FLYING._replace(ended=50, first_ended_ms=1_000), COMMIT),
    "ended calls and none in flight": (IDLE._replace(ended=1, first_ended_ms=1_000), COMMIT),
    "room, and something may be due": (FLYING._replace(exhausted=False), COMMIT),
    "no statements left to claim with": (FLYING._replace(exhausted=False, sent=900), HAND_OVER),
    "no statements left beside the ends of calls": (FLYING._replace(exhausted=False, sent=870), HAND_OVER),
    "statements left for one more claim": (FLYING._replace(exhausted=False, sent=869), COMMIT),
    "no statements left beside the follow-ups": (FLYING._replace(following_up=3, sent=840), HAND_OVER),
}


@pytest.mark.parametrize("name", STEPS)
def test_next_step(name: str) -> None:
    load, expected = STEPS[name]
    assert next_step(load, PACE) == expected


CLAIMS: dict[str, tuple[dict[str, Any], int, bool]] = {
    "room and a connection": ({}, 0, True),
    "no room": ({"room": 0}, 0, False),
    "no connection": ({"connections": 0}, 0, False),
    "tasks in hand, no prefetch": ({"ready": 1, "room": 0}, 0, False),
    "few tasks in hand and no room: prefetch": ({"ready": 1, "room": 0}, 2, True),
    "enough tasks in hand": ({"ready": 2, "room": 0}, 2, False),
    "tasks in hand that can start": ({"ready": 1}, 2, False),
    "an ended call goes first": ({"ready": 1, "room": 0, "ended": 1}, 2, False),
    "nothing was due a moment ago": ({"exhausted": True}, 0, False),
    "all statements are used up": ({"sent": 900}, 0, False),
    "asked to stop": ({"stopping": True}, 0, False),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_can_claim(name: str) -> None:
    changes, prefetch_below, expected = CLAIMS[name]
    load = IDLE._replace(**({"exhausted": False} | changes))
    assert can_claim(load, PACE._replace(prefetch_below=prefetch_below)) is expected


@pytest.mark.parametrize(
    ("ended", "begins", "at", "expected"),
    [(0, False, 1, True), (1, True, 1, True), (1, True, 2, False), (2, True, 2, True), (0, True, 1, False)],
)
def test_should_settle(ended: int, begins: bool, at: int, expected: bool) -> None:  # noqa: FBT001  # a table's columns
    load = FLYING._replace(ended=ended, first_ended_ms=1_000)
    assert should_settle(load, PACE._replace(settle_with_begins_at=at), begins=begins) is expected


def test_nothing_that_has_ended_waits_for_ever() -> None:
    load = FLYING._replace(ended=1, first_ended_ms=1_000)
    assert not flush_due(load, PACE)
    assert flush_due(load._replace(now_ms=1_050), PACE)


small = st.integers(0, 60)


@given(
    st.builds(
        Load,
        now_ms=st.integers(0, 100_000),
        stop_at_ms=st.integers(0, 100_000),
        cut_at_ms=st.integers(0, 100_000),
        renew_at_ms=st.integers(0, 100_000),
        stopping=st.booleans(),
        ready=small,
        follow_ups=small,
        releases=small,
        in_flight=small,
        following_up=small,
        room=small,
        connections=small,
        ended=small,
        first_ended_ms=st.integers(0, 100_000),
        exhausted=st.booleans(),
        stalled=st.booleans(),
        sent=st.integers(0, 1_000),
        handed_over=st.booleans(),
    )
)
def test_a_run_never_waits_without_a_call_in_flight(load: Load) -> None:
    step = next_step(load, PACE)
    if isinstance(step, Wait):
        assert load.in_flight
        assert step.until_ms > load.now_ms
    if step == DONE:
        assert not load.has_work
    if load.has_work and (load.stopping or load.now_ms >= load.cut_at_ms):
        assert step == WIND_DOWN
    elif load.has_work and is_over(load, PACE) and (load.ready or load.follow_ups):
        assert step == HAND_OVER
    if is_over(load, PACE):
        assert not can_claim(load, PACE)


def test_calls_that_began_in_time_end_before_the_hard_limit() -> None:
    config = Config()
    assert config.invocation_ms + MAX_CALL_S * SECOND < config.cut_ms <= 15 * MINUTE - 30 * SECOND
