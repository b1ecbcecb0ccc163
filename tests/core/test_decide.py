"""The decision about each outcome, case by case."""

from __future__ import annotations

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
    """A task that waits for a person's review."""
    return {
        "view": task(TaskState.WAITING, position=SECOND._replace(**position)),
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


def test_an_answer_is_the_input_of_the_next_stage_under_the_same_lease() -> None:
    before = Position(candidate=1, attempt=3, repairs=1, redos=1)
    decision = decide(at(task(position=before), path=REVIEWED), Succeeded("draft"))
    assert decision.task == TaskMove(
        TaskEvent.ADVANCE, TaskState.RUNNING, Position(stage=1, redos=1), NOW_MS, feeds_next=True
    )


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.RUNNING, TaskState.WAITING])
def test_an_answer_without_a_lease_makes_the_next_stage_due(state: TaskState) -> None:
    call = execution(ExecutionState.WAITING)
    decision = decide(at(task(state, held=False), call, path=REVIEWED), Succeeded("draft"))
    assert decision.task == TaskMove(TaskEvent.RESUME, TaskState.PENDING, SECOND, NOW_MS, feeds_next=True)


def test_an_older_execution_may_answer_while_its_stage_needs_an_answer() -> None:
    call = execution(ExecutionState.UNKNOWN, newest=False)
    assert decide(at(task(held=False), call), Succeeded(1)).execution is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("view", [None, task(TaskState.COMPLETED), task(TaskState.CANCELLED)])
def test_a_late_answer_is_kept_and_moves_no_task(view: Any) -> None:
    situation = at(call=execution(ExecutionState.UNKNOWN))._replace(task=view)
    assert decide(situation, Succeeded(1)) == Decision(
        ExecutionState.CANCELLED, None, reason="late", result=1, has_result=True
    )


def test_the_answer_null_is_an_answer() -> None:
    decision = decide(at(), Succeeded(None))
    assert (decision.result, decision.has_result) == (None, True)


# ---------------------------------------------------------------------------------------------- accepted


def test_a_task_waits_for_an_accepted_job() -> None:
    decision = decide(at(job_s=600), Accepted("job-1", check_after_ms=2_000))
    assert decision == Decision(
        ExecutionState.WAITING,
        TaskMove(TaskEvent.WAIT, TaskState.WAITING, Position()),
        wake_at_ms=NOW_MS + 2_000,
        resolve_by_ms=STARTED_MS + 600_000,
    )


def test_a_person_has_a_limit_of_their_own() -> None:
    decision = decide(at(call=execution(person=True), person_s=60, job_s=600), Accepted())
    assert decision.resolve_by_ms == decision.wake_at_ms == STARTED_MS + 60_000


def test_a_poll_is_never_later_than_the_deadline_of_the_job() -> None:
    decision = decide(at(job_s=10), Accepted(check_after_ms=60_000))
    assert decision.wake_at_ms == decision.resolve_by_ms == STARTED_MS + 10_000


def test_a_job_that_is_still_worked_on_moves_no_task_and_no_deadline() -> None:
    call = execution(ExecutionState.WAITING, resolve_by_ms=NOW_MS + 9_000)
    decision = decide(at(task(TaskState.WAITING), call), Accepted(check_after_ms=1_000))
    assert decision == Decision(
        ExecutionState.WAITING, None, wake_at_ms=NOW_MS + 1_000, resolve_by_ms=NOW_MS + 9_000
    )


def test_an_unknown_call_that_was_accepted_gets_the_time_of_a_job() -> None:
    call = execution(ExecutionState.UNKNOWN, resolve_by_ms=NOW_MS + 1)
    decision = decide(at(task(TaskState.WAITING), call, job_s=600), Accepted())
    assert decision.execution is ExecutionState.WAITING
    assert decision.resolve_by_ms == STARTED_MS + 600_000
    assert moved(decision).event is TaskEvent.WAIT


def test_a_job_that_is_no_longer_needed_is_followed_up_immediately() -> None:
    decision = decide(at(task(TaskState.CANCELLED)), Accepted(check_after_ms=60_000))
    assert (decision.execution, decision.task) == (ExecutionState.WAITING, None)
    assert decision.wake_at_ms == NOW_MS


# ---------------------------------------------------------------------------------------------- retry, fail, repair


def test_a_retry_calls_the_same_candidate_later() -> None:
    decision = decide(at(draw=0.5), Retry("http_429"))
    move = TaskMove(TaskEvent.RETRY, TaskState.PENDING, Position(attempt=1), NOW_MS + 500, "http_429")
    assert decision == Decision(ExecutionState.FAILED, move, reason="http_429")


def test_a_retry_without_a_lease_makes_the_task_due_later() -> None:
    """A lookup may report that the provider never accepted the job."""
    situation = at(task(TaskState.WAITING), execution(ExecutionState.UNKNOWN))
    assert moved(decide(situation, Retry("never taken"))).event is TaskEvent.RESUME


def test_without_attempts_left_the_next_candidate_follows() -> None:
    view = task(position=Position(attempt=1, repairs=1, redos=2))
    decision = decide(at(view, attempts=2), Retry("http_429", after_ms=60_000))
    assert moved(decision) == TaskMove(
        TaskEvent.ADVANCE, TaskState.RUNNING, Position(candidate=1, redos=2), NOW_MS
    )


def test_a_retry_later_than_the_deadline_fails_the_task() -> None:
    view = task(deadline_ms=NOW_MS + 60_000)
    alone = route("ai", candidates=1)
    decision = decide(at(view, path=alone, draw=0.0), Retry("http_503", after_ms=60_000))
    move = moved(decision)
    assert (move.event, move.reason) == (TaskEvent.FAIL, "deadline: http_503")
    in_time = decide(at(view, path=alone, draw=0.0), Retry("http_503", after_ms=59_999))
    assert moved(in_time).event is TaskEvent.RETRY


def test_after_a_failure_the_next_candidate_follows() -> None:
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


def test_a_stage_that_was_removed_from_the_template_leaves_the_last_answer() -> None:
    """The worker that claims the task finds the answer of the stage before (`prepare` in run/begin.py)."""
    situation = at(task(TaskState.WAITING, position=SECOND), execution(ExecutionState.WAITING, stage=1))
    assert moved(decide(situation, Failed("http_500"))).event is TaskEvent.RESUME
    assert moved(decide(situation, Succeeded(1))).event is TaskEvent.COMPLETE


def test_the_same_candidate_repairs_an_answer_that_does_not_fit() -> None:
    decision = decide(at(), Invalid("a must be string"))
    assert decision.reason == "invalid_output: a must be string"
    assert moved(decision) == TaskMove(
        TaskEvent.ADVANCE,
        TaskState.RUNNING,
        Position(repairs=1),
        NOW_MS,
        feedback="a must be string",
    )


def test_without_repairs_left_the_next_candidate_follows() -> None:
    decision = decide(at(task(position=Position(repairs=2))), Invalid("x"))
    assert moved(decision).position == Position(candidate=1)
    failed = decide(at(task(position=Position(candidate=1)), repairs=0), Invalid("x"))
    assert (moved(failed).event, moved(failed).reason) == (TaskEvent.FAIL, "invalid_output: x")


ENDS: list[Outcome] = [Retry("r"), Failed("f"), Invalid("i"), Rejected({}, "n", redo=True)]


@pytest.mark.parametrize("outcome", ENDS)
def test_an_execution_that_fails_after_a_cancel_is_cancelled(outcome: Outcome) -> None:
    decision = decide(at(task(TaskState.CANCELLED)), outcome)
    assert (decision.execution, decision.task) == (ExecutionState.CANCELLED, None)


@pytest.mark.parametrize("outcome", ENDS)
@pytest.mark.parametrize(
    "call", [execution(newest=False), execution(stage=1)], ids=["superseded", "of another stage"]
)
def test_an_execution_that_is_not_current_fails_without_moving_its_task(
    call: ExecutionView, outcome: Outcome
) -> None:
    decision = decide(at(task(held=False), call), outcome)
    assert (decision.execution, decision.task) == (ExecutionState.FAILED, None)


@pytest.mark.parametrize("outcome", ENDS)
@pytest.mark.parametrize(
    "call", [execution(newest=False), execution(stage=1)], ids=["superseded", "of another stage"]
)
def test_a_task_does_not_wait_for_an_execution_that_has_ended(call: ExecutionView, outcome: Outcome) -> None:
    """The task waited because an execution was open, and it may have been this one."""
    position = Position(attempt=2, replaces=FIRST - 1)
    decision = decide(at(task(TaskState.WAITING, position=position), call), outcome)
    assert moved(decision) == TaskMove(TaskEvent.RESUME, TaskState.PENDING, position, NOW_MS)


def test_a_late_answer_of_another_stage_makes_its_waiting_task_due() -> None:
    view = task(TaskState.WAITING, position=SECOND)
    decision = decide(at(view, path=REVIEWED), Succeeded(1))
    assert (decision.execution, decision.reason) == (ExecutionState.CANCELLED, "late")
    assert moved(decision) == TaskMove(TaskEvent.RESUME, TaskState.PENDING, SECOND, NOW_MS)


# ---------------------------------------------------------------------------------------------- review


def test_a_rejected_draft_ends_the_task() -> None:
    decision = decide(at(**reviewed()), Rejected({"note": "no"}, "no", redo=False))
    assert decision.execution is ExecutionState.FAILED
    assert (decision.reason, decision.result, decision.has_result) == ("rejected", {"note": "no"}, True)
    assert (moved(decision).event, moved(decision).reason) == (TaskEvent.FAIL, "rejected")


def test_a_redo_goes_back_one_stage_with_the_note() -> None:
    decision = decide(at(**reviewed(redos=1)), Rejected({}, "shorter", redo=True))
    assert moved(decision) == TaskMove(
        TaskEvent.RESUME, TaskState.PENDING, Position(redos=2), NOW_MS, feedback="shorter"
    )


def test_redos_are_limited() -> None:
    assert moved(decide(at(**reviewed(redos=2)), Rejected({}, "again", redo=True))).event is TaskEvent.FAIL
    situation = at(**reviewed(), redos=0)
    assert moved(decide(situation, Rejected({}, "again", redo=True))).event is TaskEvent.FAIL


# ---------------------------------------------------------------------------------------------- programming errors


def test_any_other_outcome_is_a_programming_error() -> None:
    odd: Any = "done"
    with pytest.raises(AssertionError):
        decide(at(), odd)


def test_a_task_that_does_not_exist_is_not_moved() -> None:
    with pytest.raises(AssertionError, match="a task that does not exist"):
        _task(at()._replace(task=None))
