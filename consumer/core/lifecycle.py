"""The life of a task and of an execution.

Everything that may change a state is in this file, and nothing else is: no I/O, no clock, no knowledge of
where rows are stored.  `docs/lifecycle.md` is drawn from the two tables; a test fails when they differ, and
another one proves that the states in SQL are these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from consumer.core.errors import IllegalTransition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


class Word(StrEnum):
    """A state or an event: the value that rows hold, with what it means."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:  # a member is also looked up by its value alone
        word = str.__new__(cls, value)
        word._value_ = value
        word.meaning = meaning
        return word


class TaskState(Word):
    """Where a task stands.  A value is what the column `tasks.status` holds."""

    PENDING = "pending", "due at its time: new, to be tried again, or kept back until a budget has room"
    RUNNING = "running", "a worker has it for the time of a lease"
    WAITING = "waiting", "for a job, a person, or evidence about a call that nobody knows the end of"
    COMPLETED = "completed", "its last stage has its answer"
    FAILED = "failed", "it ended without an answer, and its reason is written down"
    CANCELLED = "cancelled", "somebody ended it"


class TaskEvent(Word):
    """What can happen to a task."""

    CLAIM = "claim", "a worker takes it for the time of a lease"
    RELEASE = "release", "the worker gives it back unstarted: stopping, no budget, no valid route"
    ADVANCE = "advance", "the next stage, candidate or repair, under the same lease"
    RETRY = "retry", "the same candidate again, later"
    RESUME = "resume", "it goes on by what no lease holder brought: next stage, candidate, retry"
    WAIT = "wait", "something outside is awaited: a job, a person, evidence"
    COMPLETE = "complete", "the last stage has its answer"
    FAIL = "fail", "no candidate is left, or a deadline passed"
    CANCEL = "cancel", "somebody asked for it"
    LOSE = "lose", "the lease ran out and nothing was sent"
    ORPHAN = "orphan", "the lease ran out while a call was in flight"


class ExecutionState(Word):
    """Where an execution stands.  A value is what the column `task_executions.status` holds."""

    RUNNING = "running", "the intent is written; the call may or may not have been made"
    WAITING = "waiting", "the provider took it and answers later"
    UNKNOWN = "unknown", "nobody knows whether it was done; evidence, a policy or its time will tell"
    SUCCEEDED = "succeeded", "its answer was used"
    FAILED = "failed", "it brought no answer that could be used"
    CANCELLED = "cancelled", "its task no longer needed it; an answer that came all the same is kept"


class ExecutionEvent(Word):
    """What can happen to an execution."""

    ACCEPT = "accept", "the provider took it; the answer comes later"
    SUCCEED = "succeed", "the answer is there and fits"
    FAIL = "fail", "the provider refused, or the answer does not fit"
    DOUBT = "doubt", "it may or may not have happened"
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
    """The state that `event` leads to.  Raises `IllegalTransition`."""
    return _after(TASK_TRANSITIONS, state, event)


def execution_after(state: ExecutionState, event: ExecutionEvent) -> ExecutionState:
    """The state that `event` leads to.  Raises `IllegalTransition`."""
    return _after(EXECUTION_TRANSITIONS, state, event)
