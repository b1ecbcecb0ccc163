"""What follows from an outcome: the only place where the next state of an execution and of its task is decided.

`decide(at, outcome)` is pure: time and chance are values in the situation `at`.  `consumer/run/begin.py` gathers the
situation of a call that a run made under its lease, and `consumer/execution/facts.py` that of any other outcome: of a
webhook, a form or a follow-up.  `consumer/execution/settlement.py` calls `decide` and adds the cost, and
`consumer/execution/settle.py` writes both in one batch that carries the fence, the task's version.  If another worker
moved the task in the meantime, that batch changes nothing: the worker gathers the facts again and decides again.


Two machines
============

A task and each of its executions are machines of their own (the tables are in `lifecycle.py`).  An outcome belongs to
one execution and always moves that one.  It moves the task too if this execution *has the say*, which means that it
decides how the task goes on:

    outcome     execution becomes    task, if this execution has the say
    ---------   -----------------    -------------------------------------------------------------------
    Succeeded   succeeded            the next stage begins, or the task completes
    Accepted    waiting              waits for the job or the person
    Retry       failed               the same candidate later; as Failed without attempts left, and where another
                                     candidate is sooner there
    Invalid     failed               the same candidate immediately; without repairs left, as Failed
    Failed      failed               the next candidate immediately; without one left, the task fails
    Rejected    failed               the stage before again, with the note; or the task fails
    Unknown     unknown              the call is repeated, or the task waits

An execution that ends without an answer after its task was cancelled becomes cancelled instead of failed.

Two questions decide who has the say.

needed: does the task still want an answer for the stage of this execution?  Then an answer counts, whichever execution
    brings it: it was paid for.  The task must not have ended and must still be at this stage.  It must not have left
    the stage and come back: once an execution of another stage has begun (`passed`), the stage may work on another
    input, and an answer from the earlier round does not fit it.  An answer that is not needed is late: it is stored
    with its execution, which ends as cancelled.

current: does this execution decide how the task goes on when it brings no answer?  Only one may, or an old failure
    would move a task on which a newer call is working.  It is the newest execution of a stage that is needed, unless
    the task is about to repeat it (`repeated`, below).

An execution that ends without the say still does one thing.  If its task is waiting, it may have waited for just this
execution.  So the task becomes due, and the worker that claims it finds out what it waits for now.

held: a decision under a lease lets the holder go on immediately (ADVANCE keeps the task running).  Without a lease, the
    task becomes due (RESUME makes it pending), and any worker claims it.


Repeating an unknown call
=========================

An unknown execution stays open while its task goes on with a new one, at the price of a possible duplicate.
`Position.replaces` holds the id of the open one.  An execution begins only if the one before it has ended, or is in
`replaces` (`BEGIN` in `consumer/store/begin.py`).  That rule is the same at every stage.

Between this decision and the begin of the repeat, the unknown execution is still the newest.  It is `repeated` in that
time, while its task is pending or running: without an answer it has no say, or the task would be moved twice.  If the
task is waiting instead, it does wait for this execution, because the worker that was to repeat it was lost.  Then the
execution has its say again.

Each call is repeated once.  The executions of a task have consecutive ids, so the repeat of execution 7 is execution 8.
Neither of them is repeated again.  Execution 9 is another call, and may be repeated.


Outside of this picture
=======================

A person may answer after the deadline, when the execution has ended.  The worker then inserts a new execution for that
answer and decides about it as about an open one that is not the newest (`use_late_answer` in
`consumer/execution/late.py`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, assert_never

from consumer.core import policy
from consumer.core.lifecycle import (
    ExecutionEvent,
    ExecutionState,
    TaskEvent,
    TaskState,
    execution_after,
    task_after,
)
from consumer.core.outcome import (
    REJECTED,
    Accepted,
    Failed,
    Invalid,
    Outcome,
    Rejected,
    Retry,
    Succeeded,
    Unknown,
)
from consumer.core.situation import ExecutionView, Position, Situation, TaskView

__all__ = [
    "ASKED",
    "Decision",
    "ExecutionView",
    "Position",
    "Situation",
    "TaskMove",
    "TaskView",
    "asks",
    "cause_in",
    "decide",
    "was_asked",
]


class TaskMove(NamedTuple):
    """The move of the task.

    `run_at_ms`: when it is due, if it is pending or running afterwards.
    `feeds_next`: the result of the execution is the input of the next stage.
    `feedback`: for the next call, why the last answer was not accepted.  The task keeps it while its stage stays, so
    that the next review does not show it."""

    event: TaskEvent
    state: TaskState
    position: Position
    run_at_ms: int = 0
    reason: str | None = None
    feeds_next: bool = False
    feedback: str | None = None


class Decision(NamedTuple):
    """The next state of an execution, and the move of its task.

    `task` is None when the task does not move, for example after a late answer.
    `result` is stored with the execution if `has_result`; the answer may be the value null.
    `wake_at_ms`: the next follow-up of an open execution.  `resolve_by_ms`: the time at which waiting ends: a waiting
    job becomes unknown, an unknown execution is ended."""

    execution: ExecutionState
    task: TaskMove | None
    reason: str | None = None
    result: Any = None
    has_result: bool = False
    wake_at_ms: int | None = None
    resolve_by_ms: int | None = None


ASKED: Final = "asked"
"""The code in the reason of an unknown execution about which a person was asked."""


def was_asked(reason: str | None) -> bool:
    """Whether the reason of an unknown execution says that a person was asked about it."""
    return reason is not None and reason.partition(":")[0] == ASKED


def cause_in(reason: str | None) -> str | None:
    """Why an execution became unknown, in its reason."""
    return (reason or "").removeprefix(ASKED).removeprefix(": ") or None if was_asked(reason) else reason


def asks(at: Situation) -> bool:
    """Whether to ask a person how an unknown execution ended, when its time is over and no evidence came."""
    execution, policy_of_unknown = at.execution, at.limits.unknown
    if not at.current or execution.asked:
        return False
    by_default = policy_of_unknown == "default" and (execution.person or execution.accepted)
    return policy_of_unknown == "ask" or by_default


def decide(at: Situation, outcome: Outcome) -> Decision:
    """The next state of the execution, and the move of its task.

    Raises IllegalTransition for an execution that has ended."""
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
            move = _repair(at, outcome.why) if at.current else None
            ended = _ended(at, f"invalid_output: {outcome.why}", move)
            return ended._replace(result=outcome.output, has_result=outcome.output is not None)
        case Rejected():
            move = _rejected(at, outcome) if at.current else None
            return _ended(at, REJECTED, move)._replace(result=outcome.output, has_result=True)
        case Unknown():
            return _unknown(at, outcome)
        case _:
            assert_never(outcome)


def _succeeded(at: Situation, output: Any) -> Decision:  # JSON is any value
    """Use the answer if the task needs it; otherwise keep it as a late one."""
    if not at.needed:
        state = execution_after(at.execution.state, ExecutionEvent.CANCEL)
        return Decision(state, _resume_waiting(at), reason="late", result=output, has_result=True)
    task = _task(at)
    state = execution_after(at.execution.state, ExecutionEvent.SUCCEED)
    # The route may have fewer stages than when the task began: its last answer is then the result.
    if at.execution.stage + 1 >= len(at.route.stages):
        move = _move(at, TaskEvent.COMPLETE, task.position)
    else:
        move = _go_on(at, task.position.next_stage(), feeds_next=True)
    return Decision(state, move, result=output, has_result=True)


def _accepted(at: Situation, outcome: Accepted) -> Decision:
    """The execution waits for the job.  A second report that the provider works on it changes nothing for the task."""
    execution = at.execution
    state = execution_after(execution.state, ExecutionEvent.ACCEPT)
    is_news = execution.state is not ExecutionState.WAITING
    resolve_by = execution.resolve_by_ms
    if is_news or resolve_by is None:
        limit_s = at.limits.person_s if execution.person else at.limits.job_s
        resolve_by = execution.started_ms + limit_s * policy.SECOND
    wake_at = resolve_by
    if outcome.check_after_ms is not None:
        wake_at = min(resolve_by, at.now_ms + outcome.check_after_ms)
    if is_news and not at.needed:
        wake_at = at.now_ms  # the follow-up cancels it at the provider
    move = _move(at, TaskEvent.WAIT, _task(at).position) if is_news and at.current else None
    return Decision(state, move, wake_at_ms=wake_at, resolve_by_ms=resolve_by)


def _ended(at: Situation, why: str, move: TaskMove | None) -> Decision:
    """The execution ends without an answer; `move` is None when it is not the current one."""
    cancelled = at.task is not None and at.task.state is TaskState.CANCELLED
    event = ExecutionEvent.CANCEL if cancelled else ExecutionEvent.FAIL
    return Decision(execution_after(at.execution.state, event), move or _resume_waiting(at), reason=why)


def _resume_waiting(at: Situation) -> TaskMove | None:
    """The move of a task when an execution without the say ends: if the task is waiting, it may have waited for this.

    The worker that claims the task finds out what it waits for now."""
    if at.task is None or at.task.state is not TaskState.WAITING:
        return None
    return _go_on(at, at.task.position)


def _retry(at: Situation, outcome: Retry) -> TaskMove:
    """The same candidate later, or the next one, if that is sooner or no attempt is left.

    A profile that rests or gets too many calls, or whose account is refused, refuses every task alike: that counts no
    attempt."""
    position = _task(at).position
    rests = outcome.account is not None or (at.rests_until_ms > at.now_ms and not outcome.limited)
    if not (rests or outcome.limited):
        if position.attempt + 1 >= at.limits.attempts:
            return _next_candidate(at, outcome.why)
        position = position._replace(attempt=position.attempt + 1)
    delay = policy.retry_delay(_task(at).position.attempt, at.draw, outcome.after_ms)
    delay = max(delay, at.rests_until_ms - at.now_ms)
    if outcome.account is not None:
        delay += policy.BEHIND_PROBES
    if _candidates_left(at) and (rests or delay > policy.PATIENCE or _is_too_late(at, delay)):
        return _next_candidate(at, outcome.why)
    return _later(at, position, delay, outcome.why)


def _repair(at: Situation, why: str) -> TaskMove:
    task = _task(at)
    if task.position.repairs >= at.limits.repairs:
        return _next_candidate(at, f"invalid_output: {why}")
    position = task.position._replace(repairs=task.position.repairs + 1)
    return _go_on(at, position)._replace(feedback=why)


def _rejected(at: Situation, outcome: Rejected) -> TaskMove:
    position = _task(at).position
    if not outcome.redo or position.redos >= at.limits.redos:
        return _move(at, TaskEvent.FAIL, position, reason="rejected")
    return _go_on(at, position.previous_stage())._replace(feedback=outcome.note)


def _next_candidate(at: Situation, why: str) -> TaskMove:
    position = _task(at).position
    if position.stage >= len(at.route.stages):
        # The template can be changed at any time.  Without this stage, the answer of the stage before is the result.
        return _go_on(at, position)
    if not _candidates_left(at):
        return _move(at, TaskEvent.FAIL, position, reason=why)
    return _go_on(at, position.next_candidate())


def _candidates_left(at: Situation) -> bool:
    """Whether the stage has a candidate after the present one."""
    position, stages = _task(at).position, at.route.stages
    # The template may have fewer stages than when the task began: it can be changed at any time.
    candidates = stages[position.stage].candidates if position.stage < len(stages) else ()
    return position.candidate + 1 < len(candidates)


def _unknown(at: Situation, outcome: Unknown) -> Decision:
    """The execution stays open and keeps its reservation.  Its task repeats the call, or waits for evidence."""
    execution = at.execution
    state = execution_after(execution.state, ExecutionEvent.DOUBT)
    resolve_by = _resolve_by(at, outcome)
    # Finding it unknown again is no news: the reason keeps what happened to the call.
    cause = execution.cause if execution.state is ExecutionState.UNKNOWN else outcome.why
    reason = cause or outcome.why
    if outcome.asked or execution.asked:
        reason = f"{ASKED}: {cause}" if cause else ASKED
    return Decision(
        state,
        _move_of_unknown(at, outcome.why) if at.current else None,
        reason=reason,
        wake_at_ms=_wake_at(at, resolve_by),
        resolve_by_ms=resolve_by,
    )


def _resolve_by(at: Situation, outcome: Unknown) -> int:
    """When an unknown execution is ended by policy.  Finding it unknown again does not put this time off."""
    execution = at.execution
    if outcome.asked:
        return at.now_ms + at.limits.person_s * policy.SECOND
    if execution.state is ExecutionState.UNKNOWN and execution.resolve_by_ms is not None:
        return execution.resolve_by_ms
    if execution.evidence or execution.person:
        return at.now_ms + policy.RESOLVE_WITH_EVIDENCE
    return at.now_ms + policy.RESOLVE_WITHOUT_EVIDENCE


def _wake_at(at: Situation, resolve_by: int) -> int:
    """When to follow an unknown execution up: soon if the provider can be asked or the call repeated under its key."""
    execution = at.execution
    if not (execution.repeatable or execution.evidence):
        return resolve_by
    age = max(at.now_ms - execution.started_ms, 0)  # a clock may have been set back
    return min(resolve_by, at.now_ms + policy.poll_delay(age, at.draw))


def _move_of_unknown(at: Situation, why: str) -> TaskMove | None:
    """The move of a task whose current execution is unknown; None if it waits for that already."""
    position = _task(at).position
    if _may_repeat(at):
        delay = policy.retry_delay(position.attempt, at.draw, None)
        delay = max(delay, at.rests_until_ms - at.now_ms)
        return _later(at, position.repeat_of(at.execution.id), delay, why)
    if at.execution.state is ExecutionState.UNKNOWN:
        return None
    return _move(at, TaskEvent.WAIT, position, reason=why)


def _may_repeat(at: Situation) -> bool:
    """Whether to repeat the call as a new execution, at the price of a possible duplicate.

    By default only where nothing cheaper can resolve it: no evidence, no key, no person and no accepted job."""
    execution, policy_of_unknown = at.execution, at.limits.unknown
    if _task(at).position.was_repeated(execution.id):
        return False
    resolvable = execution.repeatable or execution.evidence or execution.person or execution.accepted
    return policy_of_unknown == "retry" or (policy_of_unknown == "default" and not resolvable)


def _task(at: Situation) -> TaskView:
    if at.task is None:  # callers check `needed` or `current` first
        msg = "a decision needs a task that does not exist"
        raise AssertionError(msg)
    return at.task


def _move(at: Situation, event: TaskEvent, position: Position, *, reason: str | None = None) -> TaskMove:
    return TaskMove(event, task_after(_task(at).state, event), position, reason=reason)


def _go_on(at: Situation, position: Position, *, feeds_next: bool = False) -> TaskMove:
    """The task goes on immediately: under the same lease or, without one, as soon as a worker claims it."""
    event = TaskEvent.ADVANCE if _task(at).held else TaskEvent.RESUME
    return _move(at, event, position)._replace(run_at_ms=at.now_ms, feeds_next=feeds_next)


def _later(at: Situation, position: Position, delay_ms: int, why: str) -> TaskMove:
    """The task goes on after a delay, or fails if its deadline comes first."""
    task, run_at = _task(at), at.now_ms + delay_ms
    if _is_too_late(at, delay_ms):
        return _move(at, TaskEvent.FAIL, task.position, reason=f"deadline: {why}")
    event = TaskEvent.RETRY if task.held else TaskEvent.RESUME
    return _move(at, event, position, reason=why)._replace(run_at_ms=run_at)


def _is_too_late(at: Situation, delay_ms: int) -> bool:
    """Whether the task's deadline comes before the end of this delay."""
    deadline = _task(at).deadline_ms
    return deadline is not None and at.now_ms + delay_ms >= deadline
