"""What to do with an open execution, as tables: nothing here needs a database or a provider."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.decide import ASKED
from consumer.core.follow_up import (
    LAST_ASK_MS,
    MAX_FRUITLESS,
    Action,
    Ask,
    Nothing,
    Settle,
    View,
    after,
    given_up,
    in_time,
    next_action,
)
from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.core.outcome import Accepted, Failed, Outcome, Retry, Succeeded, Unknown
from consumer.core.policy import HOUR, SECOND
from tests.core import situations
from tests.core.situations import NOW_MS as NOW

LATER = NOW + HOUR
JOB: dict[str, Any] = {"state": ExecutionState.WAITING, "resolve_by_ms": LATER}
DOUBT: dict[str, Any] = {"state": ExecutionState.UNKNOWN, "resolve_by_ms": LATER}
LOST: dict[str, Any] = {"state": ExecutionState.UNKNOWN, "resolve_by_ms": None}
OVER: dict[str, Any] = {"resolve_by_ms": NOW}
PERSON: dict[str, Any] = {"person": True}
BOUND = Settle(Failed("unknown_outcome"), bound=True)
NO_EVIDENCE = Settle(Unknown("no_evidence: none has come yet"))


def view(execution: dict[str, Any], *, needed: bool = True, asks: bool = False, **traits: Any) -> View:
    """A view of an execution, of a task that needs its answer or was cancelled."""
    task = situations.task(TaskState.WAITING if needed else TaskState.CANCELLED)
    at = situations.at(task, situations.execution(**execution), unknown="ask" if asks else "wait")
    return View(at, **traits)


FIRST: dict[str, tuple[View, Action]] = {
    "worker lost": (view(LOST), Settle(Unknown("worker_lost: the call was in flight"))),
    "worker lost, assignment": (view(LOST | PERSON, local=True), Settle(Accepted())),
    "worker lost, superfluous assignment": (
        view(LOST | PERSON, needed=False, local=True),
        Settle(Failed("cancelled")),
    ),
    "person without an API": (view(JOB | PERSON, local=True), Settle(Accepted())),
    "person without an API, not needed": (view(JOB | PERSON, needed=False), Settle(Failed("cancelled"))),
    "person without an API, time over": (view(JOB | OVER | PERSON), Settle(Failed("deadline"))),
    "person with an API": (view(JOB | PERSON, poll=True, reachable=True), Ask.POLL),
    "job": (view(JOB, poll=True), Ask.POLL),
    "job of a template that is gone": (view(JOB, poll=True, callable=False), Nothing()),
    "job that is not needed": (view(JOB, needed=False, poll=True, cancel=True), Ask.CANCEL),
    "job that cannot be cancelled": (view(JOB, needed=False, poll=True), Ask.POLL),
    "job, time over": (view(JOB | OVER, poll=True, cancel=True), Ask.CANCEL),
    "job, time over, no cancel": (view(JOB | OVER, poll=True), Settle(Unknown("deadline"))),
    "job, time over, template gone": (
        view(JOB | OVER, cancel=True, callable=False),
        Settle(Unknown("deadline")),
    ),
    "doubt about a job": (view(DOUBT, poll=True, has_job=True, lookup=True), Ask.POLL),
    "doubt without a job id": (view(DOUBT, poll=True, lookup=True), Ask.LOOKUP),
    "doubt, key honoured": (view(DOUBT | {"repeatable": True}), Ask.REPEAT),
    "doubt, key honoured, spending stopped": (view(DOUBT | {"repeatable": True}, stopped=True), NO_EVIDENCE),
    "doubt, key honoured, not needed": (view(DOUBT | {"repeatable": True}, needed=False), NO_EVIDENCE),
    "doubt, no way to ask": (view(DOUBT), NO_EVIDENCE),
    "doubt, time over": (view(DOUBT | OVER), BOUND),
    "doubt, time over, a last lookup": (view(DOUBT | OVER, lookup=True), Ask.LOOKUP),
    "doubt, time long over": (view(DOUBT | {"resolve_by_ms": NOW - LAST_ASK_MS}, lookup=True), BOUND),
    "doubt, time over, template gone": (view(DOUBT | OVER, lookup=True, callable=False), BOUND),
    "doubt, time over, a person may know": (
        view(DOUBT | OVER, asks=True),
        Settle(Unknown(ASKED, asked=True)),
    ),
    "doubt, time over, a person was asked": (view(DOUBT | OVER | {"asked": True}, asks=True), BOUND),
}


@pytest.mark.parametrize("name", FIRST)
def test_next_action(name: str) -> None:
    seen, expected = FIRST[name]
    action = next_action(seen)
    if isinstance(action, Settle) and isinstance(action.outcome, Accepted):
        assert action.outcome.check_after_ms is None or action.outcome.check_after_ms > 0
        action = Settle(Accepted())
    assert action == expected


DONE = Succeeded({"answer": 1})
REPLIES: dict[str, tuple[View, Ask, Outcome, Action]] = {
    "poll: done": (view(JOB, poll=True), Ask.POLL, DONE, Settle(DONE)),
    "poll: the time of the next one": (view(JOB), Ask.POLL, Accepted("j", 5), Settle(Accepted("j", 5))),
    "poll: no such job": (view(JOB), Ask.POLL, Retry("gone"), Settle(Retry("gone"))),
    "poll in doubt: no reply": (view(DOUBT), Ask.POLL, Unknown("timeout"), NO_EVIDENCE),
    "poll in doubt, time over: no reply": (view(DOUBT | OVER), Ask.POLL, Unknown("timeout"), BOUND),
    "lookup: done": (view(DOUBT), Ask.LOOKUP, DONE, Settle(DONE)),
    "lookup, time over: failed": (view(DOUBT | OVER), Ask.LOOKUP, Failed("no"), Settle(Failed("no"))),
    "repeat: done": (view(DOUBT), Ask.REPEAT, DONE, Settle(DONE)),
    "repeat: refused": (
        view(DOUBT),
        Ask.REPEAT,
        Failed("429"),
        Settle(Unknown("no_evidence: repeated under its key without an answer")),
    ),
    "cancel: cancelled": (view(JOB, needed=False), Ask.CANCEL, Failed("stopped"), Settle(Failed("stopped"))),
    "cancel: it was done already": (view(JOB, needed=False), Ask.CANCEL, DONE, Settle(DONE)),
    "cancel: no reply, so poll": (
        view(JOB, needed=False, poll=True),
        Ask.CANCEL,
        Unknown("timeout"),
        Ask.POLL,
    ),
    "cancel, time over: cancelled": (
        view(JOB | OVER),
        Ask.CANCEL,
        Failed("stopped"),
        Settle(Failed("deadline")),
    ),
    "cancel, time over: no reply": (
        view(JOB | OVER),
        Ask.CANCEL,
        Unknown("timeout"),
        Settle(Unknown("deadline")),
    ),
}


@pytest.mark.parametrize("name", REPLIES)
def test_after_a_reply(name: str) -> None:
    seen, asked, outcome, expected = REPLIES[name]
    assert after(seen, asked, outcome) == expected


def test_a_poll_without_a_reply_keeps_a_job_waiting() -> None:
    action = after(view(JOB), Ask.POLL, Unknown("timeout"))
    assert isinstance(action, Settle)
    assert isinstance(action.outcome, Accepted)


@pytest.mark.parametrize("asked", [Ask.LOOKUP, Ask.REPEAT])
def test_a_job_found_again_is_polled_where_that_is_possible(asked: Ask) -> None:
    action = after(view(DOUBT, poll=True), asked, Accepted("j"))
    assert isinstance(action, Settle)
    assert isinstance(action.outcome, Accepted)
    assert action.outcome.check_after_ms is not None
    assert after(view(DOUBT), asked, Accepted("j")) == Settle(Accepted("j"))


def test_an_old_job_is_polled_less_often() -> None:
    def pause(age_ms: int) -> int:
        seen = view(JOB | {"started_ms": NOW - age_ms})
        action = after(seen, Ask.POLL, Accepted("j"))
        assert isinstance(action, Settle)
        assert isinstance(action.outcome, Accepted)
        assert action.outcome.check_after_ms is not None
        return action.outcome.check_after_ms

    assert pause(60 * SECOND) > pause(10 * SECOND) > 0


@pytest.mark.parametrize("fruitless", [0, MAX_FRUITLESS])
def test_a_few_follow_ups_without_a_result_are_no_reason_to_give_up(fruitless: int) -> None:
    assert given_up(view(JOB, fruitless=fruitless)) is None


def test_an_execution_that_kills_its_workers_is_followed_up_ever_more_rarely() -> None:
    often: dict[str, Any] = {"fruitless": MAX_FRUITLESS + 2}
    assert given_up(view(JOB, **often)) == Nothing()
    done = [count for count in range(1, 100) if given_up(view(JOB, fruitless=count)) is None]
    assert done == [1, 2, 3, 4, 8, 16, 32, 64]
    assert given_up(view(JOB | OVER, **often)) == Settle(Unknown("deadline"))
    assert given_up(view(DOUBT | OVER, **often)) == BOUND
    assert given_up(view(LOST, **often)) == Settle(Unknown("worker_lost"))


def test_an_overdue_doubt_does_not_wait_for_ever() -> None:
    overdue = view(DOUBT | {"started_ms": NOW - 91 * 24 * HOUR}).at
    assert in_time(overdue, Accepted("j")) == Unknown("deadline")
    assert in_time(overdue, DONE) == DONE
    assert in_time(view(DOUBT).at, Accepted("j")) == Accepted("j")


flags = st.booleans()
views = st.builds(
    lambda execution, needed, asks, traits: view(execution, needed=needed, asks=asks, **traits),
    st.builds(
        lambda base, over, person, repeatable: (
            base | ({"resolve_by_ms": NOW} if over else {}) | {"person": person, "repeatable": repeatable}
        ),
        st.sampled_from([JOB, DOUBT, LOST]),
        flags,
        flags,
        flags,
    ),
    flags,
    flags,
    st.fixed_dictionaries(
        dict.fromkeys(
            ("callable", "has_job", "poll", "lookup", "cancel", "reachable", "local", "stopped"), flags
        )
    ),
)
outcomes = st.sampled_from([DONE, Accepted("j"), Accepted(), Retry("r"), Failed("f"), Unknown("u")])


@given(views, outcomes)
def test_a_follow_up_ends_after_at_most_two_requests(seen: View, outcome: Outcome) -> None:
    action = next_action(seen)
    for _ in range(2):
        if isinstance(action, Ask):
            assert seen.callable
            action = after(seen, action, outcome)
    assert isinstance(action, Settle | Nothing)


@given(views)
def test_a_repeat_needs_a_task_that_waits_for_it_and_no_stop(seen: View) -> None:
    if next_action(seen) is Ask.REPEAT:
        assert seen.at.current
        assert seen.at.execution.repeatable
        assert not seen.stopped


@given(views)
def test_an_assignment_without_an_api_is_never_asked_about(seen: View) -> None:
    person = seen.at.execution._replace(person=True)
    action = next_action(seen._replace(at=seen.at._replace(execution=person), reachable=False))
    assert not isinstance(action, Ask)


def test_the_end_of_an_unknown_call_says_what_had_happened_to_it() -> None:
    over = view(DOUBT | OVER | {"cause": "timeout: no answer within 60 s"})
    assert next_action(over) == Settle(Failed("unknown_outcome: timeout: no answer within 60 s"), bound=True)
