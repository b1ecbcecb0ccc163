"""What an assignment's link still allows: how far the answer of one person has come.

A person reaches an assignment through a link: work (`human`), a draft to judge (`review`), or a `question` about a
call whose outcome is unknown.  The link lives longer than the assignment, so a person may come after its deadline,
after the task was cancelled, or a second time.  `answer_state` is pure: it judges values, and `service.people` acts on
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, assert_never

from consumer.core.lifecycle import EXECUTION_FINAL, TASK_FINAL, ExecutionState, TaskState
from consumer.core.outcome import REJECTED
from consumer.core.strictjson import dump_json, parse_json

Kind = Literal["human", "review", "question"]
Shown = Literal["open", "answered", "ended"]

DECLINED: Final = "declined"
"""The cause of an execution whose person said no."""
ENDED_WITHOUT_ANSWER: Final = ("deadline", "unknown_outcome", "cancelled")
"""Causes of an execution that ended without an answer.  An answer that comes later is still recorded."""
LATE_ANSWER: Final = "late answer: "
"""The beginning of the note that holds an answer which came too late."""


class AssignmentView(NamedTuple):
    """An assignment as it was read at one moment.

    `execution`, `reason` and `has_result` belong to its execution, `task` and `task_reason` to its task.
    `task` is None when the task was deleted.  `needed`: the task still needs an answer for this stage."""

    kind: Kind
    execution: ExecutionState
    reason: str
    has_result: bool
    task: TaskState | None
    task_reason: str
    needed: bool

    @property
    def cause(self) -> str:
        """The first part of the reason, which code can compare: `declined` of `declined: on holiday`."""
        return self.reason.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Open:
    """The person may answer or decline."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The provider reported progress after a person was asked about the call.  The question is no longer shown, but an
    answer to a form that was opened before still ends the call."""

    reason: str


@dataclass(frozen=True, slots=True)
class LateOpen:
    """The execution ended because no answer came in time.  The task still needs one, so an answer is used."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer is the task's answer for this stage."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer is stored with its execution, but the task had gone on without it."""

    reason: str


@dataclass(frozen=True, slots=True)
class DraftRejected:
    """The reviewer rejected the draft.  `late`: the task had been cancelled before."""

    late: bool = False


@dataclass(frozen=True, slots=True)
class Declined:
    """The person said no."""

    reason: str


@dataclass(frozen=True, slots=True)
class AssignmentEnded:
    """The assignment ended without an answer.  `keeps_answers`: an answer that comes now is still recorded."""

    reason: str
    keeps_answers: bool = False


AnswerState = Open | Withdrawn | LateOpen | Answered | Kept | DraftRejected | Declined | AssignmentEnded


def answer_state(at: AssignmentView) -> AnswerState:
    """How far the answer to this assignment has come."""
    return _given(at) or _without_answer(at)


def _given(at: AssignmentView) -> Answered | DraftRejected | Kept | Declined | None:
    """The answer that its person gave; None if there is no answer yet."""
    cancelled_with_result = at.execution is ExecutionState.CANCELLED and at.has_result
    if at.execution is ExecutionState.SUCCEEDED:
        return Answered()
    if at.kind == "review" and at.cause == REJECTED:
        return DraftRejected(late=cancelled_with_result)
    if cancelled_with_result:
        return Kept(end_reason(at))
    if at.cause == DECLINED:
        return Declined(end_reason(at))
    return None


def _without_answer(at: AssignmentView) -> Open | Withdrawn | LateOpen | AssignmentEnded:
    if at.task is None or at.task is TaskState.CANCELLED:
        return AssignmentEnded(end_reason(at))
    if at.execution not in EXECUTION_FINAL:
        if at.kind == "question" and at.execution is not ExecutionState.UNKNOWN:
            return Withdrawn(end_reason(at))
        return Open()
    if at.cause not in ENDED_WITHOUT_ANSWER:
        return AssignmentEnded(end_reason(at))
    # The page of a question shows that its time is over.  An answer is still recorded: it may come from a page that was
    # opened before.
    if at.needed and at.kind != "question":
        return LateOpen()
    return AssignmentEnded(end_reason(at), keeps_answers=True)


def shown_as(state: AnswerState) -> Shown:
    """What the page of the assignment shows: a form, a receipt, or why it has ended."""
    match state:
        case Open() | LateOpen():
            return "open"
        case Answered() | DraftRejected():
            return "answered"
        case Withdrawn() | Kept() | Declined() | AssignmentEnded():
            return "ended"
        case _:
            assert_never(state)


def is_used(state: AnswerState) -> bool:
    """Whether the answer that was given is the task's answer for this stage."""
    return isinstance(state, Answered) or (isinstance(state, DraftRejected) and not state.late)


def end_reason(at: AssignmentView) -> str:
    """Why an action on the assignment is refused, in a sentence for its person."""
    if at.task is None:
        return "the task no longer exists"
    if at.task is TaskState.CANCELLED:
        by_whom = at.task_reason if at.task_reason.startswith("cancelled by ") else "cancelled"
        return f"the task was {by_whom}"
    if (
        at.task in TASK_FINAL and at.cause == "cancelled"
    ):  # the execution was cancelled because its task had ended
        return f"the task has ended: it is {at.task.value}: {at.task_reason}".removesuffix(": ")
    if at.kind == "question" and at.execution is ExecutionState.WAITING:
        return "this assignment has ended: the provider reported progress, so no answer is needed"
    words = _ENDS.get("question" if (at.kind, at.cause) == ("question", "unknown_outcome") else at.cause)
    return f"this assignment has ended: {words}" if words else "this assignment has ended"


_ENDS: Final = {
    "deadline": "its time is over",
    "unknown_outcome": "its time is over",
    "question": "the question's time is over",
    DECLINED: "you declined",
    REJECTED: "the draft was rejected",
    "late": "the task went on without it",
    "cancelled": "the task went on without it",
    "invalid_output": "its answer does not fit",
}
"""The causes of an end, in words for a person."""


def late_note(output: Any) -> str:  # JSON is any value
    """The note that keeps an answer which came too late to be used."""
    return f"{LATE_ANSWER}{dump_json(output)}"


def late_answer(note: str) -> Any:  # JSON is any value
    """The answer in such a note.  Raises BadInput when it is not JSON."""
    return parse_json(note.removeprefix(LATE_ANSWER))
