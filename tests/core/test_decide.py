"""What each outcome means, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consumer.core.decide import Decision, ExecutionView, Position, TaskMove, _task, decide
from consumer.core.lifecycle import ExecutionState, TaskEvent, TaskState
from consumer.core.outcome import Accepted, Failed, Invalid, Outcome, Rejected, Retry, Succeeded
from tests.core.situations import (
    FIRST,
    NOW_MS,
    STARTED_MS,
    at,
    execution,
    moved,
    route,
    task,
)

REVIEWED = route("ai", "review")
SECOND = Position(stage=1)


def reviewed(**position: Any) -> dict[str, Any]:
    """A review that a person has, and the task that waits for it."""
    return {
        "view": task(TaskState.WAITING, position=replace(SECOND, **position)),
        "call": execution(ExecutionState.WAITING, stage=1, person=True, id=FIRST + 1),
        "path": REVIEWED,
    }


# ---------------------------------------------------------------------------------------------- success


def test_the_answer_of_the_last_stage_completes_the_task() -> None:
    assert decide(at(), Succeeded({"a": 1})) == Decision(
        ExecutionState.SUCCEEDED,
        TaskMove(TaskEvent.COMPLETE, TaskState.COMPLETED, Position()),
        result={"a": 1},
        has_result=True,
    )


def test_the_answer_of_a_stage_feeds_the_next_under_the_same_lease() -> None:
    before = Position(candidate=1, attempt=3, repairs=1, redos=1)
    decision = decide(at(task(position=before), path=REVIEWED), Succeeded("draft"))
    assert decision.task == TaskMove(
        TaskEvent.ADVANCE, TaskState.RUNNING, Position(stage=1, redos=1), NOW_MS, feeds_next=True
    )


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.RUNNING, TaskState.WAITING])
def test_the_answer_that_comes_without_a_lease_makes_the_next_stage_due(state: TaskState) -> None:
    call = execution(ExecutionState.WAITING)
    decision = decide(at(task(state, held=False), call, path=REVIEWED), Succeeded("draft"))
    assert decision.task == TaskMove(TaskEvent.RESUME, TaskState.PENDING, SECOND, NOW_MS, feeds_next=True)


def test_the_answer_of_an_older_execution_is_used_while_the_stage_needs_one() -> None:
    call = execution(ExecutionState.UNKNOWN, newest=False)
    assert decide(at(task(held=False), call), Succeeded(1)).execution is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("view", [None, task(TaskState.COMPLETED), task(TaskState.CANCELLED)])
def test_a_late_answer_is_kept_and_changes_nothing(view: Any) -> None:
    situation = replace(at(call=execution(ExecutionState.UNKNOWN)), task=view)
    assert decide(situation, Succeeded(1)) == Decision(
        ExecutionState.CANCELLED, None, reason="late", result=1, has_result=True
    )


def test_the_answer_null_is_an_answer() -> None:
    decision = decide(at(), Succeeded(None))
    assert (decision.result, decision.has_result) == (None, True)


# ---------------------------------------------------------------------------------------------- accepted


def test_an_accepted_job_is_waited_for() -> None:
    decision = decide(at(job_s=600), Accepted("job-1", check_after_ms=2_000))
    assert decision == Decision(
        ExecutionState.WAITING,
        TaskMove(TaskEvent.WAIT, TaskState.WAITING, Position()),
        wake_at_ms=NOW_MS + 2_000,
        resolve_by_ms=STARTED_MS + 600_000,
    )


def test_a_person_has_their_own_time() -> None:
    decision = decide(at(call=execution(person=True), person_s=60, job_s=600), Accepted())
    assert decision.resolve_by_ms == decision.wake_at_ms == STARTED_MS + 60_000


def test_a_check_never_lies_behind_the_deadline() -> None:
    decision = decide(at(job_s=10), Accepted(check_after_ms=60_000))
    assert decision.wake_at_ms == decision.resolve_by_ms == STARTED_MS + 10_000


def test_still_working_on_it_moves_no_task_and_no_deadline() -> None:
    call = execution(ExecutionState.WAITING, resolve_by_ms=NOW_MS + 9_000)
    decision = decide(at(task(TaskState.WAITING), call), Accepted(check_after_ms=1_000))
    assert decision == Decision(
        ExecutionState.WAITING, None, wake_at_ms=NOW_MS + 1_000, resolve_by_ms=NOW_MS + 9_000
    )


def test_what_was_in_doubt_and_is_worked_on_has_the_time_of_a_job() -> None:
    call = execution(ExecutionState.UNKNOWN, resolve_by_ms=NOW_MS + 1)
    decision = decide(at(task(TaskState.WAITING), call, job_s=600), Accepted())
    assert decision.execution is ExecutionState.WAITING
    assert decision.resolve_by_ms == STARTED_MS + 600_000
    assert moved(decision).event is TaskEvent.WAIT


def test_a_job_that_nobody_needs_is_attended_to_at_once() -> None:
    decision = decide(at(task(TaskState.CANCELLED)), Accepted(check_after_ms=60_000))
    assert (decision.execution, decision.task) == (ExecutionState.WAITING, None)
    assert decision.wake_at_ms == NOW_MS


# ---------------------------------------------------------------------------------------------- retry, fail, repair


def test_a_retry_is_the_same_candidate_later() -> None:
    decision = decide(at(draw=0.5), Retry("http_429"))
    move = TaskMove(TaskEvent.RETRY, TaskState.PENDING, Position(attempt=1), NOW_MS + 500, "http_429")
    assert decision == Decision(ExecutionState.FAILED, move, reason="http_429")


def test_a_retry_that_nobody_holds_resumes() -> None:
    """A lookup may say that the job was never taken."""
    situation = at(task(TaskState.WAITING), execution(ExecutionState.UNKNOWN))
    assert moved(decide(situation, Retry("never taken"))).event is TaskEvent.RESUME


def test_after_its_attempts_a_candidate_is_followed_by_the_next() -> None:
    view = task(position=Position(attempt=1, repairs=1, redos=2))
    decision = decide(at(view, attempts=2), Retry("http_429", after_ms=60_000))
    assert moved(decision) == TaskMove(
        TaskEvent.ADVANCE, TaskState.RUNNING, Position(candidate=1, redos=2), NOW_MS
    )


def test_a_retry_behind_the_deadline_fails_the_task() -> None:
    view = task(deadline_ms=NOW_MS + 60_000)
    decision = decide(at(view, draw=0.0), Retry("http_503", after_ms=60_000))
    move = moved(decision)
    assert (move.event, move.reason) == (TaskEvent.FAIL, "deadline: http_503")
    in_time = decide(at(view, draw=0.0), Retry("http_503", after_ms=59_999))
    assert moved(in_time).event is TaskEvent.RETRY


def test_a_failure_is_followed_by_the_next_candidate() -> None:
    decision = decide(at(), Failed("http_401"))
    assert decision.reason == "http_401"
    assert moved(decision).position == Position(candidate=1)


def test_without_another_candidate_the_task_fails() -> None:
    last = Position(candidate=1, attempt=2)
    assert decide(at(task(position=last)), Failed("http_401")) == Decision(
        ExecutionState.FAILED,
        TaskMove(TaskEvent.FAIL, TaskState.FAILED, last, reason="http_401"),
        reason="http_401",
    )


def test_a_stage_that_the_template_lost_meanwhile_has_no_other_candidate() -> None:
    situation = at(task(TaskState.WAITING, position=SECOND), execution(ExecutionState.WAITING, stage=1))
    assert moved(decide(situation, Failed("http_500"))).event is TaskEvent.FAIL
    assert moved(decide(situation, Succeeded(1))).position == Position(stage=2)


def test_an_answer_that_does_not_fit_is_repaired_by_the_same_candidate() -> None:
    decision = decide(at(), Invalid("data.a must be string"))
    assert decision.reason == "invalid_output: data.a must be string"
    assert moved(decision) == TaskMove(
        TaskEvent.ADVANCE,
        TaskState.RUNNING,
        Position(repairs=1),
        NOW_MS,
        feedback="data.a must be string",
    )


def test_after_its_repairs_a_candidate_is_followed_by_the_next() -> None:
    decision = decide(at(task(position=Position(repairs=2))), Invalid("x"))
    assert moved(decision).position == Position(candidate=1)
    failed = decide(at(task(position=Position(candidate=1)), repairs=0), Invalid("x"))
    assert (moved(failed).event, moved(failed).reason) == (TaskEvent.FAIL, "invalid_output: x")


ENDS: list[Outcome] = [Retry("r"), Failed("f"), Invalid("i"), Rejected({}, "n", redo=True)]


@pytest.mark.parametrize("outcome", ENDS)
def test_what_ends_after_a_cancel_is_cancelled(outcome: Outcome) -> None:
    decision = decide(at(task(TaskState.CANCELLED)), outcome)
    assert (decision.execution, decision.task) == (ExecutionState.CANCELLED, None)


@pytest.mark.parametrize("outcome", ENDS)
@pytest.mark.parametrize(
    "call", [execution(newest=False), execution(stage=1)], ids=["superseded", "of another stage"]
)
def test_an_execution_that_does_not_decide_fails_by_itself(call: ExecutionView, outcome: Outcome) -> None:
    decision = decide(at(task(held=False), call), outcome)
    assert (decision.execution, decision.task) == (ExecutionState.FAILED, None)


@pytest.mark.parametrize("outcome", ENDS)
@pytest.mark.parametrize(
    "call", [execution(newest=False), execution(stage=1)], ids=["superseded", "of another stage"]
)
def test_a_task_does_not_go_on_waiting_for_an_execution_that_has_ended(
    call: ExecutionView, outcome: Outcome
) -> None:
    """It was kept back because an execution was open, and it may have been this one."""
    position = Position(attempt=2, replaces=FIRST - 1)
    decision = decide(at(task(TaskState.WAITING, position=position), call), outcome)
    assert moved(decision) == TaskMove(TaskEvent.RESUME, TaskState.PENDING, position, NOW_MS)


def test_a_late_answer_of_another_stage_lets_its_task_go_on() -> None:
    view = task(TaskState.WAITING, position=SECOND)
    decision = decide(at(view, path=REVIEWED), Succeeded(1))
    assert (decision.execution, decision.reason) == (ExecutionState.CANCELLED, "late")
    assert moved(decision) == TaskMove(TaskEvent.RESUME, TaskState.PENDING, SECOND, NOW_MS)


# ---------------------------------------------------------------------------------------------- review


def test_a_draft_that_is_turned_down_ends_the_task() -> None:
    decision = decide(at(**reviewed()), Rejected({"note": "no"}, "no", redo=False))
    assert decision.execution is ExecutionState.FAILED
    assert (decision.reason, decision.result, decision.has_result) == ("rejected", {"note": "no"}, True)
    assert (moved(decision).event, moved(decision).reason) == (TaskEvent.FAIL, "rejected")


def test_a_redo_goes_back_one_stage_with_the_note() -> None:
    decision = decide(at(**reviewed(redos=1)), Rejected({}, "shorter", redo=True))
    assert moved(decision) == TaskMove(
        TaskEvent.RESUME, TaskState.PENDING, Position(redos=2), NOW_MS, feedback="shorter"
    )


def test_redos_are_counted() -> None:
    assert moved(decide(at(**reviewed(redos=2)), Rejected({}, "again", redo=True))).event is TaskEvent.FAIL
    situation = at(**reviewed(), redos=0)
    assert moved(decide(situation, Rejected({}, "again", redo=True))).event is TaskEvent.FAIL


# ---------------------------------------------------------------------------------------------- mistakes of ours


def test_there_is_no_other_outcome() -> None:
    odd: Any = "done"
    with pytest.raises(AssertionError):
        decide(at(), odd)


def test_a_task_that_is_not_there_is_not_moved() -> None:
    with pytest.raises(AssertionError, match="a task that does not exist"):
        _task(replace(at(), task=None))
