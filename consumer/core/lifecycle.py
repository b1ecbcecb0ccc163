"""The life of a task and of an execution.

The two tables are the only place that allows a change of state, and this file holds nothing else: no I/O, no clock, no
knowledge of how rows are stored.  `scripts/lifecycle_doc.py` writes `docs/lifecycle.md` from them.  One test fails when
that page differs from the tables, and another when SQL uses other states.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from consumer.core.errors import IllegalTransition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


class Word(StrEnum):
    """A state or an event: the text that rows hold, together with its meaning."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:  # Enum also finds a member by its value alone
        word = str.__new__(cls, value)
        word._value_ = value
        word.meaning = meaning
        return word


class TaskState(Word):
    """The state of a task: the values of the column `tasks.status`."""

    PENDING = (
        "pending",
        "it becomes due at its time (new, or tried again later), or an obstacle that `blocked_by` names keeps it back",
    )
    RUNNING = "running", "a worker holds it for the time of a lease"
    WAITING = (
        "waiting",
        "it waits for a job, for a person, or for evidence about a call whose outcome is unknown",
    )
    COMPLETED = "completed", "its last stage has an answer"
    FAILED = "failed", "it ended without an answer; its reason is in the row"
    CANCELLED = "cancelled", "a caller or another application ended it"


class TaskEvent(Word):
    """An event that moves a task."""

    CLAIM = "claim", "a worker takes it for the time of a lease"
    RELEASE = (
        "release",
        (
            "the worker gives it back without a call: it is stopping, spending is stopped, or an obstacle "
            "that `blocked_by` names"
        ),
    )
    ADVANCE = "advance", "the next stage, candidate or repair begins under the same lease"
    RETRY = "retry", "the same candidate is called again later"
    RESUME = "resume", "an outcome arrived without a lease: the next stage, candidate or retry becomes due"
    WAIT = "wait", "it has to wait for a job, a person or evidence"
    COMPLETE = "complete", "the last stage has an answer"
    FAIL = (
        "fail",
        (
            "no candidate is left, a reviewer rejected it, a deadline passed, a budget refused it, "
            "or it lost three workers"
        ),
    )
    CANCEL = "cancel", "a caller or another application asked for it"
    LOSE = "lose", "the lease ran out, and no call had been sent"
    ORPHAN = "orphan", "the lease ran out while a call was in flight"


class ExecutionState(Word):
    """The state of an execution: the values of the column `task_executions.status`."""

    RUNNING = "running", "the intent is written; the call may or may not have been made"
    WAITING = "waiting", "the provider accepted it and answers later"
    UNKNOWN = (
        "unknown",
        "it may or may not have been done; evidence, a policy or the time to resolve it will end it",
    )
    SUCCEEDED = "succeeded", "its answer was used"
    FAILED = "failed", "it brought no usable answer"
    CANCELLED = "cancelled", "its task no longer needed it; an answer that still arrived is kept"


class ExecutionEvent(Word):
    """An event that moves an execution."""

    ACCEPT = "accept", "the provider accepted it; the answer comes later"
    SUCCEED = "succeed", "the answer arrived and fits the output schema"
    FAIL = (
        "fail",
        (
            "the provider or the person refused, the answer does not fit, the draft was rejected, or its time is over "
            "without an answer"
        ),
    )
    DOUBT = "doubt", "it may or may not have been done"
    CANCEL = "cancel", "its task no longer needs it"


_S, _E = TaskState, TaskEvent
_X, _F = ExecutionState, ExecutionEvent

# fmt: off
TASK_TRANSITIONS: Final[Mapping[TaskState, Mapping[TaskEvent, TaskState]]] = {
    _S.PENDING: {_E.CLAIM:   _S.RUNNING,
                 _E.RESUME:  _S.PENDING,
                 _E.WAIT:    _S.WAITING,
                 _E.COMPLETE: _S.COMPLETED, _E.FAIL: _S.FAILED, _E.CANCEL: _S.CANCELLED},
    _S.RUNNING: {_E.ADVANCE: _S.RUNNING,
                 _E.RELEASE: _S.PENDING, _E.RETRY: _S.PENDING, _E.LOSE: _S.PENDING, _E.RESUME: _S.PENDING,
                 _E.WAIT:    _S.WAITING, _E.ORPHAN: _S.WAITING,
                 _E.COMPLETE: _S.COMPLETED, _E.FAIL: _S.FAILED, _E.CANCEL: _S.CANCELLED},
    _S.WAITING: {_E.RESUME:  _S.PENDING,
                 _E.WAIT:    _S.WAITING,
                 _E.COMPLETE: _S.COMPLETED, _E.FAIL: _S.FAILED, _E.CANCEL: _S.CANCELLED},
    _S.COMPLETED: {},
    _S.FAILED:    {},
    _S.CANCELLED: {},
}

EXECUTION_TRANSITIONS: Final[Mapping[ExecutionState, Mapping[ExecutionEvent, ExecutionState]]] = {
    _X.RUNNING: {_F.ACCEPT:  _X.WAITING, _F.DOUBT: _X.UNKNOWN,
                 _F.SUCCEED: _X.SUCCEEDED, _F.FAIL: _X.FAILED, _F.CANCEL: _X.CANCELLED},
    _X.WAITING: {_F.ACCEPT:  _X.WAITING, _F.DOUBT: _X.UNKNOWN,
                 _F.SUCCEED: _X.SUCCEEDED, _F.FAIL: _X.FAILED, _F.CANCEL: _X.CANCELLED},
    _X.UNKNOWN: {_F.ACCEPT:  _X.WAITING, _F.DOUBT: _X.UNKNOWN,
                 _F.SUCCEED: _X.SUCCEEDED, _F.FAIL: _X.FAILED, _F.CANCEL: _X.CANCELLED},
    _X.SUCCEEDED: {},
    _X.FAILED:    {},
    _X.CANCELLED: {},
}
# fmt: on

TASK_FINAL: Final = frozenset(state for state, moves in TASK_TRANSITIONS.items() if not moves)
"""The states without a way out."""
EXECUTION_FINAL: Final = frozenset(state for state, moves in EXECUTION_TRANSITIONS.items() if not moves)
EXECUTION_OPEN: Final = frozenset(EXECUTION_TRANSITIONS) - EXECUTION_FINAL

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


def _after(table: Mapping[State, Mapping[Event, State]], state: State, event: Event) -> State:
    try:
        return table[state][event]
    except KeyError:
        msg = f"{state.value} has no {event.value}"
        raise IllegalTransition(msg) from None


def task_after(state: TaskState, event: TaskEvent) -> TaskState:
    """The state that `event` leads to.  Raises IllegalTransition when the table has no such move."""
    return _after(TASK_TRANSITIONS, state, event)


def execution_after(state: ExecutionState, event: ExecutionEvent) -> ExecutionState:
    """The state that `event` leads to.  Raises IllegalTransition when the table has no such move."""
    return _after(EXECUTION_TRANSITIONS, state, event)
