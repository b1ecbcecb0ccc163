"""What an assignment's link still allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.answers import (
    ENDED_WITHOUT_ANSWER,
    Answered,
    AnswerState,
    AssignmentEnded,
    AssignmentView,
    Declined,
    DraftRejected,
    Kept,
    Kind,
    LateOpen,
    Open,
    Withdrawn,
    answer_state,
    end_reason,
    late_answer,
    late_note,
    shown_as,
)
from consumer.core.lifecycle import EXECUTION_FINAL, ExecutionState, TaskState

ASKED = AssignmentView(
    kind="human",
    execution=ExecutionState.WAITING,
    reason="",
    has_result=False,
    task=TaskState.WAITING,
    task_reason="",
    needed=True,
)
"""A person was asked and has not answered yet."""
QUESTION = ASKED._replace(kind="question", execution=ExecutionState.UNKNOWN, reason="asked")
REVIEW = ASKED._replace(kind="review")
TIMED_OUT = ASKED._replace(execution=ExecutionState.FAILED, reason="deadline")
CANCELLED = ASKED._replace(task=TaskState.CANCELLED, task_reason="cancelled by the boss", needed=False)

KINDS: list[Kind] = ["human", "review", "question"]
VIEWS = st.builds(
    AssignmentView,
    kind=st.sampled_from(KINDS),
    execution=st.sampled_from(ExecutionState),
    reason=st.sampled_from(
        ["", "asked", "late", "declined", "declined: no", "rejected", *ENDED_WITHOUT_ANSWER]
    ),
    has_result=st.booleans(),
    task=st.none() | st.sampled_from(TaskState),
    task_reason=st.sampled_from(["", "deadline"]),
    needed=st.booleans(),
)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (ASKED, Open()),
        (REVIEW, Open()),
        (QUESTION, Open()),
        (
            QUESTION._replace(execution=ExecutionState.WAITING),
            Withdrawn("this assignment has ended: the provider reported progress, so no answer is needed"),
        ),
        (ASKED._replace(execution=ExecutionState.SUCCEEDED), Answered()),
        (QUESTION._replace(execution=ExecutionState.SUCCEEDED, task=TaskState.COMPLETED), Answered()),
        (
            ASKED._replace(execution=ExecutionState.CANCELLED, has_result=True, reason="late"),
            Kept("this assignment has ended: the task went on without it"),
        ),
        (
            REVIEW._replace(execution=ExecutionState.FAILED, reason="rejected", has_result=True),
            DraftRejected(),
        ),
        (
            REVIEW._replace(execution=ExecutionState.CANCELLED, reason="rejected", has_result=True),
            DraftRejected(late=True),
        ),
        (
            ASKED._replace(execution=ExecutionState.FAILED, reason="declined: on holiday"),
            Declined("this assignment has ended: you declined"),
        ),
        (CANCELLED, AssignmentEnded("the task was cancelled by the boss")),
        (ASKED._replace(task=None), AssignmentEnded("the task no longer exists")),
        (
            TIMED_OUT._replace(task=TaskState.CANCELLED, task_reason="cancelled by x", needed=False),
            AssignmentEnded("the task was cancelled by x"),
        ),
        (TIMED_OUT, LateOpen()),
        (TIMED_OUT._replace(kind="review", reason="unknown_outcome"), LateOpen()),
        (
            TIMED_OUT._replace(needed=False, task=TaskState.FAILED, task_reason="deadline"),
            AssignmentEnded("this assignment has ended: its time is over", keeps_answers=True),
        ),
        (
            QUESTION._replace(execution=ExecutionState.FAILED, reason="unknown_outcome"),
            AssignmentEnded("this assignment has ended: the question's time is over", keeps_answers=True),
        ),
        (
            ASKED._replace(
                execution=ExecutionState.CANCELLED,
                reason="cancelled",
                task=TaskState.FAILED,
                task_reason="deadline",
                needed=False,
            ),
            AssignmentEnded("the task has ended: it is failed: deadline", keeps_answers=True),
        ),
        (
            ASKED._replace(execution=ExecutionState.FAILED, reason="invalid_output: x"),
            AssignmentEnded("this assignment has ended: its answer does not fit"),
        ),
    ],
)
def test_the_state_of_an_answer(view: AssignmentView, expected: AnswerState) -> None:
    assert answer_state(view) == expected


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (Open(), "open"),
        (LateOpen(), "open"),
        (Answered(), "answered"),
        (DraftRejected(), "answered"),
        (Withdrawn("x"), "ended"),
        (Kept("x"), "ended"),
        (Declined("x"), "ended"),
        (AssignmentEnded("x"), "ended"),
    ],
)
def test_what_a_page_shows(state: AnswerState, shown: str) -> None:
    assert shown_as(state) == shown


def test_an_end_without_a_known_cause_gives_none() -> None:
    view = ASKED._replace(execution=ExecutionState.SUCCEEDED, task=TaskState.COMPLETED)
    assert end_reason(view) == "this assignment has ended"
    cancelled = view._replace(execution=ExecutionState.CANCELLED, reason="cancelled")
    assert end_reason(cancelled) == "the task has ended: it is completed"


@given(VIEWS)
def test_an_answer_is_asked_for_only_while_the_task_exists(view: AssignmentView) -> None:
    if view.task in (None, TaskState.CANCELLED):
        assert not isinstance(answer_state(view), Open | LateOpen | Withdrawn)


@given(VIEWS)
def test_an_open_assignment_has_an_open_execution_and_a_late_one_has_not(view: AssignmentView) -> None:
    state = answer_state(view)
    if isinstance(state, Open | Withdrawn):
        assert view.execution not in EXECUTION_FINAL
    if isinstance(state, LateOpen):
        assert view.execution in EXECUTION_FINAL
        assert view.needed


@given(VIEWS)
def test_a_late_answer_is_never_refused_because_of_its_deadline(view: AssignmentView) -> None:
    asked = view._replace(execution=ExecutionState.FAILED, reason="deadline", task=TaskState.WAITING)
    state = answer_state(asked)
    assert isinstance(state, LateOpen) or (isinstance(state, AssignmentEnded) and state.keeps_answers)


@pytest.mark.parametrize("output", [None, "yes", {"answer": "late answer: x"}, [1, "ä"]])
def test_a_late_answer_is_read_back_from_its_note(output: object) -> None:
    assert late_note(output).startswith("late answer: ")
    assert late_answer(late_note(output)) == output


@pytest.mark.parametrize("reason", ["", "http_500: the provider's words"])
def test_a_cancel_by_another_application_quotes_no_older_reason(reason: str) -> None:
    assert end_reason(CANCELLED._replace(task_reason=reason)) == "the task was cancelled"
