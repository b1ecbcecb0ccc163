"""The only place where an outcome becomes a future: `decide(task, execution, outcome, ...) -> Decision`.

Pure: the time and the jitter's draw are arguments.  `execute` gathers the facts, calls it, and `store` writes
what it says in one batch that carries the fence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from consumer.core import policy
from consumer.core.lifecycle import (
    TASK_FINAL,
    ExecutionEvent,
    ExecutionState,
    TaskEvent,
    TaskState,
    execution_after,
    task_after,
)
from consumer.core.outcome import Accepted, Failed, Invalid, Outcome, Rejected, Retry, Succeeded, Unknown

if TYPE_CHECKING:
    from consumer.core.template import Limits, Route


@dataclass(frozen=True, slots=True)
class Position:
    """Where a task stands in its route.

    `replaces`: the last unknown execution that was repeated, knowing the price of a duplicate.  It may stay open
    for long, and is the one that does not keep the next from beginning, whatever stage the task has come to."""

    stage: int = 0
    candidate: int = 0
    attempt: int = 0
    repairs: int = 0
    redos: int = 0
    replaces: int | None = None

    def next_candidate(self) -> Position:
        return Position(self.stage, self.candidate + 1, redos=self.redos, replaces=self.replaces)

    def next_stage(self) -> Position:
        return Position(self.stage + 1, redos=self.redos, replaces=self.replaces)

    def previous_stage(self) -> Position:
        return Position(self.stage - 1, redos=self.redos + 1, replaces=self.replaces)


@dataclass(frozen=True, slots=True)
class TaskView:
    """What is known of a task when an outcome is judged.  `held`: the judge holds its lease."""

    id: int
    version: int
    state: TaskState
    position: Position
    deadline_ms: int | None
    held: bool


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """What is known of the execution that the outcome belongs to.

    `newest`: no later execution of its task exists.  `repeatable`: its provider honours our key.
    `evidence`: its provider can tell later what became of it (lookup, poll or webhook).
    `passed`: a later stage has begun since, so that a redo of its own is another matter.
    `accepted`: its provider took it on as a job.  `asked`: a person was asked what became of it."""

    id: int
    state: ExecutionState
    stage: int
    started_ms: int
    newest: bool
    person: bool
    repeatable: bool
    evidence: bool
    resolve_by_ms: int | None
    passed: bool = False
    accepted: bool = False
    asked: bool = False


@dataclass(frozen=True, slots=True)
class TaskMove:
    """What happens to the task.  `fed`: the execution's result is what the next stage works on.
    `feedback`: what the next candidate is told."""

    event: TaskEvent
    state: TaskState
    position: Position
    run_at_ms: int = 0
    reason: str | None = None
    fed: bool = False
    feedback: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What an outcome means.  `task` is None when it does not move its task (a late answer, say).
    `keeps`: the result to store with the execution.  `wake_at_ms` and `resolve_by_ms` are for open ones."""

    execution: ExecutionState
    task: TaskMove | None
    reason: str | None = None
    keeps: Any = None
    has_result: bool = False
    wake_at_ms: int | None = None
    resolve_by_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a decision depends on besides the outcome."""

    task: TaskView | None
    execution: ExecutionView
    route: Route
    limits: Limits
    now_ms: int
    draw: float

    @property
    def needed(self) -> bool:
        """The task still wants an answer for this stage."""
        task = self.task
        if task is None or task.state in TASK_FINAL or self.execution.passed:
            return False
        return task.position.stage == self.execution.stage

    @property
    def current(self) -> bool:
        """It is this execution that decides how the task goes on when it brings no answer."""
        return self.needed and self.execution.newest and not self._repeated

    @property
    def _repeated(self) -> bool:
        """The task has its next turn already: it is to be done again, at the price of a duplicate."""
        task = self.task
        return (
            task is not None
            and task.position.replaces == self.execution.id
            and task.state in (TaskState.PENDING, TaskState.RUNNING)
        )


ASKED: Final = "asked"
"""The reason of an unknown execution whose fate a person shall tell."""


def asks(at: Situation) -> bool:
    """Whether a person is to be asked what became of it, now that its time is over without evidence."""
    execution, wanted = at.execution, at.limits.unknown
    if not at.current or execution.asked:
        return False
    return wanted == "ask" or (wanted == "default" and (execution.person or execution.accepted))


def decide(at: Situation, outcome: Outcome) -> Decision:
    """The execution's next state and the task's move."""
    match outcome:
        case Succeeded(output=output):
            return _succeeded(at, output)
        case Accepted():
            return _accepted(at, outcome)
        case Retry():
            return _ended(at, outcome.why, _retry(at, outcome) if at.current else None)
        case Failed():
            return _ended(at, outcome.why, _next_candidate(at, outcome.why) if at.current else None)
        case Invalid():
            return _ended(
                at, f"invalid_output: {outcome.why}", _repair(at, outcome.why) if at.current else None
            )
        case Rejected():
            move = _rejected(at, outcome) if at.current else None
            return replace(_ended(at, "rejected", move), keeps=outcome.output, has_result=True)
        case Unknown():
            return _unknown(at, outcome)
        case _:
            assert_never(outcome)


def _succeeded(at: Situation, output: Any) -> Decision:  # JSON is any value
    if not at.needed:
        state = execution_after(at.execution.state, ExecutionEvent.CANCEL)
        return Decision(state, _resume_waiting(at), reason="late", keeps=output, has_result=True)
    task = _task(at)
    state = execution_after(at.execution.state, ExecutionEvent.SUCCEED)
    if at.execution.stage + 1 == len(at.route.stages):
        move = _move(at, TaskEvent.COMPLETE, task.position)
    else:
        move = _go_on(at, task.position.next_stage(), fed=True)
    return Decision(state, move, keeps=output, has_result=True)


def _accepted(at: Situation, outcome: Accepted) -> Decision:
    state = execution_after(at.execution.state, ExecutionEvent.ACCEPT)
    execution = at.execution
    patience = (at.limits.person_s if execution.person else at.limits.job_s) * policy.SECOND
    resolve_by = execution.resolve_by_ms
    if execution.state is not ExecutionState.WAITING or resolve_by is None:
        resolve_by = execution.started_ms + patience
    wake_at = resolve_by
    if outcome.check_after_ms is not None:
        wake_at = min(resolve_by, at.now_ms + outcome.check_after_ms)
    if not at.needed and execution.state is not ExecutionState.WAITING:
        wake_at = at.now_ms  # to be cancelled at the provider
    # A second "still working on it" changes nothing for the task.
    moves = at.current and execution.state is not ExecutionState.WAITING
    move = _move(at, TaskEvent.WAIT, _task(at).position) if moves else None
    return Decision(state, move, wake_at_ms=wake_at, resolve_by_ms=resolve_by)


def _ended(at: Situation, why: str, move: TaskMove | None) -> Decision:
    cancelled = at.task is not None and at.task.state is TaskState.CANCELLED
    event = ExecutionEvent.CANCEL if cancelled else ExecutionEvent.FAIL
    return Decision(execution_after(at.execution.state, event), move or _resume_waiting(at), reason=why)


def _resume_waiting(at: Situation) -> TaskMove | None:
    """An execution that ends without deciding may be what its task waits for: whoever claims it will see."""
    if at.task is None or at.task.state is not TaskState.WAITING:
        return None
    return _go_on(at, at.task.position)


def _retry(at: Situation, outcome: Retry) -> TaskMove:
    task = _task(at)
    if task.position.attempt + 1 >= at.limits.attempts:
        return _next_candidate(at, outcome.why)
    position = replace(task.position, attempt=task.position.attempt + 1)
    delay = policy.retry_delay(task.position.attempt, at.draw, outcome.after_ms)
    return _later(at, position, delay, outcome.why)


def _repair(at: Situation, why: str) -> TaskMove:
    task = _task(at)
    if task.position.repairs >= at.limits.repairs:
        return _next_candidate(at, f"invalid_output: {why}")
    position = replace(task.position, repairs=task.position.repairs + 1)
    return replace(_go_on(at, position), feedback=why)


def _rejected(at: Situation, outcome: Rejected) -> TaskMove:
    position = _task(at).position
    if not outcome.redo or position.redos >= at.limits.redos:
        return _move(at, TaskEvent.FAIL, position, reason="rejected")
    return replace(_go_on(at, position.previous_stage()), feedback=outcome.note)


def _next_candidate(at: Situation, why: str) -> TaskMove:
    position = _task(at).position
    stages = at.route.stages
    # A template that was changed meanwhile may have fewer stages.
    candidates = stages[position.stage].candidates if position.stage < len(stages) else ()
    if position.candidate + 1 >= len(candidates):
        return _move(at, TaskEvent.FAIL, position, reason=why)
    return _go_on(at, position.next_candidate())


def _unknown(at: Situation, outcome: Unknown) -> Decision:
    """Keep the reservation; repeat under the same key, retry once at the price of a duplicate, or wait."""
    execution, limits = at.execution, at.limits
    state = execution_after(execution.state, ExecutionEvent.DOUBT)
    patience = (
        policy.RESOLVE_WITH_EVIDENCE
        if execution.evidence or execution.person
        else policy.RESOLVE_WITHOUT_EVIDENCE
    )
    resolve_by = at.now_ms + patience
    if outcome.asked:
        resolve_by = at.now_ms + limits.person_s * policy.SECOND
    elif execution.state is ExecutionState.UNKNOWN and execution.resolve_by_ms is not None:
        resolve_by = execution.resolve_by_ms
    why = ASKED if outcome.asked or execution.asked else outcome.why
    open_until = Decision(state, None, reason=why, resolve_by_ms=resolve_by, wake_at_ms=resolve_by)
    if execution.repeatable or execution.evidence:
        # The consumer attends to it: looks it up, or repeats it under its key.
        age = max(at.now_ms - execution.started_ms, 0)
        wake_at = min(resolve_by, at.now_ms + policy.poll_delay(age, at.draw))
        open_until = replace(open_until, wake_at_ms=wake_at)
    if not at.current:
        return open_until
    task = _task(at)
    blind = not (execution.repeatable or execution.evidence or execution.person or execution.accepted)
    once_more = limits.unknown == "retry" or (limits.unknown == "default" and blind)
    repeated = task.position.replaces
    # Neither the one that was repeated nor the repeat itself: ids of a task's executions follow each other.
    if once_more and (repeated is None or execution.id > repeated + 1):
        position = replace(task.position, attempt=task.position.attempt + 1, replaces=execution.id)
        delay = policy.retry_delay(task.position.attempt, at.draw, None)
        return replace(open_until, task=_later(at, position, delay, outcome.why))
    if execution.state is ExecutionState.UNKNOWN:
        return open_until
    return replace(open_until, task=_move(at, TaskEvent.WAIT, task.position, reason=outcome.why))


def _task(at: Situation) -> TaskView:
    if at.task is None:  # `needed` was asked before
        msg = "a decision about a task that is not there"
        raise AssertionError(msg)
    return at.task


def _move(at: Situation, event: TaskEvent, position: Position, *, reason: str | None = None) -> TaskMove:
    return TaskMove(event, task_after(_task(at).state, event), position, reason=reason)


def _go_on(at: Situation, position: Position, *, fed: bool = False) -> TaskMove:
    """At once: under the same lease, or, without one, as soon as a worker claims it."""
    event = TaskEvent.ADVANCE if _task(at).held else TaskEvent.RESUME
    return replace(_move(at, event, position), run_at_ms=at.now_ms, fed=fed)


def _later(at: Situation, position: Position, delay_ms: int, why: str) -> TaskMove:
    task, run_at = _task(at), at.now_ms + delay_ms
    if task.deadline_ms is not None and run_at >= task.deadline_ms:
        return _move(at, TaskEvent.FAIL, task.position, reason=f"deadline: {why}")
    event = TaskEvent.RETRY if task.held else TaskEvent.RESUME
    return replace(_move(at, event, position, reason=why), run_at_ms=run_at)
