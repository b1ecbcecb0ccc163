"""The decision about a call whose outcome is unknown."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core import policy
from consumer.core.decide import ExecutionView, Position, TaskMove, cause_in, decide, was_asked
from consumer.core.lifecycle import ExecutionState, TaskEvent, TaskState
from consumer.core.outcome import Accepted, Failed, Invalid, Outcome, Rejected, Retry, Succeeded, Unknown
from tests.core.situations import (
    BLIND,
    FIRST,
    NOW_MS,
    PERSON,
    STARTED_MS,
    WITH_EVIDENCE,
    WITH_KEYS,
    Kind,
    at,
    execution,
    moved,
    route,
    task,
)


def test_a_call_without_keys_and_evidence_is_repeated_at_the_price_of_a_duplicate() -> None:
    decision = decide(at(draw=0.5), Unknown("timeout"))
    assert decision.execution is ExecutionState.UNKNOWN
    assert decision.wake_at_ms == decision.resolve_by_ms == NOW_MS + policy.RESOLVE_WITHOUT_EVIDENCE
    assert moved(decision) == TaskMove(
        TaskEvent.RETRY, TaskState.PENDING, Position(attempt=1, replaces=FIRST), NOW_MS + 500, "timeout"
    )


@pytest.mark.parametrize(
    "call",
    [execution(ExecutionState.UNKNOWN), execution(id=FIRST + 1)],
    ids=["the same again", "the repeat"],
)
def test_a_repeat_is_not_repeated(call: ExecutionView) -> None:
    view = task(position=Position(attempt=1, replaces=FIRST))
    move = decide(at(view, call), Unknown("timeout")).task
    assert move is None or move.event is TaskEvent.WAIT


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.RUNNING])
@pytest.mark.parametrize("outcome", [Retry("r"), Failed("f"), Invalid("i"), Accepted("job")])
def test_a_call_that_is_about_to_be_repeated_does_not_decide(state: TaskState, outcome: Outcome) -> None:
    view = task(state, held=False, position=Position(attempt=1, replaces=FIRST))
    assert decide(at(view, execution(ExecutionState.UNKNOWN)), outcome).task is None


def test_a_call_that_is_about_to_be_repeated_may_still_answer() -> None:
    view = task(TaskState.PENDING, position=Position(attempt=1, replaces=FIRST))
    decision = decide(at(view, execution(ExecutionState.UNKNOWN)), Succeeded(1))
    assert moved(decision).event is TaskEvent.COMPLETE


def test_a_call_decides_again_if_its_task_waits_for_it() -> None:
    """The worker that was about to repeat it was lost."""
    view = task(TaskState.WAITING, position=Position(attempt=1, replaces=FIRST))
    assert moved(decide(at(view, execution(ExecutionState.UNKNOWN)), Failed("f"))).position.candidate == 1


def test_another_call_that_becomes_unknown_later_is_repeated_too() -> None:
    view = task(position=Position(stage=1, replaces=FIRST))
    decision = decide(at(view, execution(id=FIRST + 2, stage=1), path=route("ai", "ai")), Unknown("timeout"))
    assert moved(decision).position == Position(stage=1, attempt=1, replaces=FIRST + 2)


@pytest.mark.parametrize(
    "outcome", [Succeeded(1), Retry("r"), Failed("f"), Invalid("i"), Rejected({}, "n", redo=True)]
)
def test_after_any_outcome_of_the_repeat_the_repeated_execution_stays_known(outcome: Outcome) -> None:
    """It may still be open, and an open execution that the task does not know keeps the next from beginning."""
    path = route("ai", "ai", "ai")
    view = task(position=Position(stage=1, attempt=1, replaces=FIRST))
    move = moved(decide(at(view, execution(id=FIRST + 1, stage=1), path=path), outcome))
    assert move.position.replaces == FIRST


@pytest.mark.parametrize("kind", [PERSON, WITH_EVIDENCE, WITH_KEYS])
def test_a_task_waits_for_a_call_that_evidence_a_key_or_a_person_can_resolve(kind: Kind) -> None:
    decision = decide(at(call=execution(**kind)), Unknown("lost"))
    move = TaskMove(TaskEvent.WAIT, TaskState.WAITING, Position(), reason="lost")
    assert decision.task == move
    assert decision.resolve_by_ms is not None


@pytest.mark.parametrize(
    ("kind", "patience"),
    [
        (BLIND, policy.RESOLVE_WITHOUT_EVIDENCE),
        (WITH_KEYS, policy.RESOLVE_WITHOUT_EVIDENCE),
        (WITH_EVIDENCE, policy.RESOLVE_WITH_EVIDENCE),
        (WITH_KEYS | WITH_EVIDENCE, policy.RESOLVE_WITH_EVIDENCE),
        (PERSON, policy.RESOLVE_WITH_EVIDENCE),
    ],
)
def test_a_call_stays_unknown_longer_if_evidence_may_come(kind: Kind, patience: int) -> None:
    assert decide(at(call=execution(**kind)), Unknown("lost")).resolve_by_ms == NOW_MS + patience


@pytest.mark.parametrize("kind", [WITH_KEYS, WITH_EVIDENCE])
def test_an_unknown_call_with_a_key_or_evidence_is_followed_up_soon(kind: Kind) -> None:
    decision = decide(at(call=execution(**kind), draw=0.5), Unknown("lost"))
    assert decision.wake_at_ms == NOW_MS + policy.poll_delay(NOW_MS - STARTED_MS, 0.5)


def test_the_next_follow_up_is_never_later_than_the_time_to_resolve() -> None:
    call = execution(ExecutionState.UNKNOWN, evidence=True, resolve_by_ms=NOW_MS + 10)
    decision = decide(at(task(TaskState.WAITING), call), Unknown("no_evidence: none has come yet"))
    assert decision.wake_at_ms == NOW_MS + 10


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    call = execution(started_ms=NOW_MS + 60_000, evidence=True)
    decision = decide(at(call=call, draw=0.5), Unknown("lost"))
    assert decision.wake_at_ms == NOW_MS + policy.poll_delay(0, 0.5)


def test_without_new_evidence_the_time_to_resolve_and_the_task_stay() -> None:
    call = execution(ExecutionState.UNKNOWN, evidence=True, resolve_by_ms=NOW_MS + policy.DAY)
    decision = decide(at(task(TaskState.WAITING), call), Unknown("no_evidence: none has come yet"))
    assert (decision.resolve_by_ms, decision.task) == (NOW_MS + policy.DAY, None)


@pytest.mark.parametrize("again", [Unknown("no_evidence: none has come yet"), Unknown("asked", asked=True)])
def test_the_reason_keeps_what_happened_to_the_call(again: Unknown) -> None:
    first = decide(at(), Unknown("timeout: no answer within 60 s")).reason
    call = execution(
        ExecutionState.UNKNOWN, evidence=True, resolve_by_ms=NOW_MS + policy.DAY, cause=cause_in(first)
    )
    reason = decide(at(task(TaskState.WAITING), call), again).reason

    assert (was_asked(reason), cause_in(reason)) == (again.asked, first)


@pytest.mark.parametrize(
    ("reason", "asked", "cause"),
    [
        (None, False, None),
        ("asked", True, None),
        ("asked: lost", True, "lost"),
        ("asked_it: x", False, "asked_it: x"),
    ],
)
def test_a_reason_says_whether_a_person_was_asked(reason: str | None, asked: bool, cause: str | None) -> None:  # noqa: FBT001
    assert (was_asked(reason), cause_in(reason)) == (asked, cause)


def test_a_call_of_a_lost_worker_gets_its_time_at_the_first_follow_up() -> None:
    call = execution(ExecutionState.UNKNOWN, evidence=True, resolve_by_ms=None)
    decision = decide(at(task(TaskState.WAITING), call), Unknown("worker lost"))
    assert decision.resolve_by_ms == NOW_MS + policy.RESOLVE_WITH_EVIDENCE


def test_a_job_past_its_deadline_is_unknown_from_now_on() -> None:
    call = execution(ExecutionState.WAITING, evidence=True, resolve_by_ms=NOW_MS)
    decision = decide(at(task(TaskState.WAITING), call), Unknown("deadline"))
    assert decision.resolve_by_ms == NOW_MS + policy.RESOLVE_WITH_EVIDENCE


@pytest.mark.parametrize("kind", [PERSON, WITH_EVIDENCE, WITH_KEYS, BLIND])
def test_a_template_may_require_a_repeat(kind: Kind) -> None:
    decision = decide(at(call=execution(**kind), unknown="retry"), Unknown("lost"))
    assert moved(decision).position.replaces == FIRST


@pytest.mark.parametrize("kind", [PERSON, WITH_EVIDENCE, WITH_KEYS, BLIND])
def test_a_template_may_require_a_wait(kind: Kind) -> None:
    decision = decide(at(call=execution(**kind), unknown="wait"), Unknown("lost"))
    assert moved(decision).event is TaskEvent.WAIT


@pytest.mark.parametrize(
    "situation",
    [
        at(task(TaskState.CANCELLED)),
        at(task(TaskState.WAITING), execution(ExecutionState.UNKNOWN, newest=False)),
        at()._replace(task=None),
    ],
    ids=["cancelled", "superseded", "without a task"],
)
def test_an_unknown_call_that_does_not_decide_stays_open(situation: Any) -> None:
    decision = decide(situation, Unknown("lost"))
    assert (decision.execution, decision.task) == (ExecutionState.UNKNOWN, None)
    assert decision.resolve_by_ms is not None
