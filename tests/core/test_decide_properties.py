"""Properties of every decision, for any combination of task, execution, outcome, route and limits."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core import policy
from consumer.core.decide import ExecutionView, Position, Situation, TaskView, decide
from consumer.core.errors import IllegalTransition
from consumer.core.lifecycle import (
    EXECUTION_FINAL,
    EXECUTION_OPEN,
    EXECUTION_TRANSITIONS,
    TASK_FINAL,
    TASK_TRANSITIONS,
    ExecutionState,
    TaskEvent,
    TaskState,
)
from consumer.core.outcome import Accepted, Failed, Invalid, Outcome, Rejected, Retry, Succeeded, Unknown
from consumer.core.template import Limits, Route
from tests.core.situations import FIRST, NOW_MS, route

MAX_STAGES: Final = 3
MAX_CANDIDATES: Final = 3

milliseconds = st.integers(0, 30 * policy.DAY)
times = milliseconds.map(lambda ms: NOW_MS - 15 * policy.DAY + ms)
words = st.text(max_size=20)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Succeeded, output=st.none() | st.integers() | words),
    st.builds(Accepted, external_id=st.none() | words, check_after_ms=st.none() | milliseconds),
    st.builds(Retry, why=words, after_ms=st.none() | milliseconds),
    st.builds(Failed, why=words),
    st.builds(Unknown, why=words),
    st.builds(Invalid, why=words),
    st.builds(Rejected, output=words, note=words, redo=st.booleans()),
)
limits = st.builds(
    Limits,
    attempts=st.integers(1, 20),
    repairs=st.integers(0, 2),
    redos=st.integers(0, 2),
    job_s=st.integers(1, 30 * 86_400),
    person_s=st.integers(1, 90 * 86_400),
    unknown=st.sampled_from(["default", "retry", "wait"]),
)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    kinds = ["ai", *draw(st.lists(st.sampled_from(["ai", "human", "review"]), max_size=MAX_STAGES - 1))]
    return route(*kinds, candidates=draw(st.integers(1, MAX_CANDIDATES)))


@st.composite
def situations(
    draw: st.DrawFn,
    *,
    task_states: Iterable[TaskState] = TaskState,
    states: Iterable[ExecutionState] = EXECUTION_OPEN,
    current: bool | None = None,
) -> Situation:
    """Every possible situation.  Only the newest execution of a running task is decided about under a lease."""
    state = draw(st.sampled_from(sorted(task_states)))
    newest = draw(st.booleans()) if current is None else current
    same_stage = newest if current is not None else draw(st.booleans())
    call = ExecutionView(
        id=FIRST + draw(st.integers(0, 9)),
        state=draw(st.sampled_from(sorted(states))),
        stage=draw(st.integers(0, MAX_STAGES)),
        started_ms=draw(times),
        newest=newest,
        person=draw(st.booleans()),
        repeatable=draw(st.booleans()),
        evidence=draw(st.booleans()),
        resolve_by_ms=draw(st.none() | times),
    )
    # An execution that is about to be repeated does not decide.
    last = call.id if current is None or state is TaskState.WAITING else call.id - 1
    position = Position(
        stage=call.stage if same_stage else draw(st.integers(0, MAX_STAGES)),
        candidate=draw(st.integers(0, MAX_CANDIDATES - 1)),
        attempt=draw(st.integers(0, 20)),
        repairs=draw(st.integers(0, 2)),
        redos=draw(st.integers(0, 2)),
        replaces=draw(st.none() | st.integers(FIRST - 1, last)),
    )
    held = state is TaskState.RUNNING and newest and position.stage == call.stage and draw(st.booleans())
    task = TaskView(1, 1, state, position, draw(st.none() | times), held)
    there = held or current is True or draw(st.booleans())
    return Situation(
        task if there else None,
        call,
        draw(routes()),
        draw(limits),
        NOW_MS,
        draw(st.floats(0, 1, exclude_max=True)),
    )


UNFINISHED: Final = frozenset(TaskState) - TASK_FINAL
deciding = situations(task_states=UNFINISHED, current=True)
"""Situations in which the execution decides how its task goes on."""


def possible(at: Situation, outcome: Outcome) -> Outcome:
    """Only a review rejects, and no route begins with one."""
    return Failed("x") if isinstance(outcome, Rejected) and at.execution.stage == 0 else outcome


def check(at: Situation, outcome: Outcome) -> None:
    """A decision is a legal move in both tables, to a position that exists."""
    decision, task = decide(at, outcome), at.task
    assert decision.execution in EXECUTION_TRANSITIONS[at.execution.state].values()
    move = decision.task
    if move is None:
        return
    assert task is not None
    assert move.state is TASK_TRANSITIONS[task.state][move.event]
    assert move.position.stage >= 0
    if move.state in {TaskState.PENDING, TaskState.RUNNING}:
        assert move.run_at_ms >= NOW_MS
    if move.state is TaskState.FAILED:
        assert move.reason is not None
    if move.state is TaskState.RUNNING:
        assert task.held


FLAGS: Final = tuple(product((False, True), repeat=5))
EACH: Final[tuple[Outcome, ...]] = (
    Succeeded({}),
    Accepted(),
    Accepted(check_after_ms=1),
    Retry("r"),
    Retry("r", 1),
    Failed("f"),
    Unknown("u"),
    Invalid("i"),
    Rejected({}, "n", redo=True),
    Rejected({}, "n", redo=False),
)


@pytest.mark.parametrize("outcome", EACH, ids=repr)
@pytest.mark.parametrize("policy_of_unknown", ["default", "retry", "wait"])
def test_every_combination_is_a_legal_decision(outcome: Outcome, policy_of_unknown: Any) -> None:
    """All states, all flags; the first of three stages, one in between and the last."""
    bounds = Limits(unknown=policy_of_unknown)
    path = route("ai", "review", "review")
    for state, call_state, flags, (stage, task_stage) in product(
        [None, *TaskState], EXECUTION_OPEN, FLAGS, product(range(3), repeat=2)
    ):
        newest, person, repeatable, evidence, held = flags
        if held and not (state is TaskState.RUNNING and newest and stage == task_stage):
            continue  # such a task is not held
        call = ExecutionView(
            FIRST, call_state, stage, NOW_MS, newest, person, repeatable, evidence, resolve_by_ms=None
        )
        task = None if state is None else TaskView(1, 1, state, Position(task_stage), None, held)
        at = Situation(task, call, path, bounds, NOW_MS, 0.5)
        check(at, possible(at, outcome))


@given(situations(), outcomes)
@settings(max_examples=500)
def test_a_decision_is_legal_for_any_numbers(at: Situation, outcome: Outcome) -> None:
    check(at, possible(at, outcome))


@given(situations(), outcomes)
def test_the_same_situation_leads_to_the_same_decision(at: Situation, outcome: Outcome) -> None:
    """A worker decides again after another worker moved the task."""
    outcome = possible(at, outcome)
    assert decide(at, outcome) == decide(at, outcome)


@given(situations(states=EXECUTION_FINAL), outcomes)
def test_a_finished_execution_accepts_no_outcome(at: Situation, outcome: Outcome) -> None:
    outcome = possible(at, outcome)
    with pytest.raises(IllegalTransition):
        decide(at, outcome)


@given(situations(task_states=TASK_FINAL), outcomes)
def test_a_finished_task_never_changes(at: Situation, outcome: Outcome) -> None:
    decision = decide(at, outcome)
    assert decision.task is None
    if isinstance(outcome, Succeeded):
        assert (decision.execution, decision.result) == (ExecutionState.CANCELLED, outcome.output)


@given(at=deciding, newest=st.booleans(), output=st.integers())
def test_an_answer_to_a_stage_that_needs_one_is_always_used(
    *, at: Situation, newest: bool, output: int
) -> None:
    """Any execution of the stage may bring it."""
    at = at._replace(execution=at.execution._replace(newest=newest))
    assert at.task is not None
    decision = decide(at, Succeeded(output))
    move = decision.task
    assert decision.execution is ExecutionState.SUCCEEDED
    assert (decision.result, decision.has_result) == (output, True)
    assert move is not None
    if at.execution.stage >= len(at.route.stages) - 1:
        assert move.event is TaskEvent.COMPLETE
    else:
        assert move.feeds_next
        assert move.event is (TaskEvent.ADVANCE if at.task.held else TaskEvent.RESUME)
        fresh = Position(
            at.execution.stage + 1, redos=at.task.position.redos, replaces=at.task.position.replaces
        )
        assert move.position == fresh


@given(situations(), outcomes)
def test_no_answer_is_thrown_away(at: Situation, outcome: Outcome) -> None:
    outcome = possible(at, outcome)
    decision = decide(at, outcome)
    assert decision.has_result == isinstance(outcome, Succeeded | Rejected)
    if isinstance(outcome, Succeeded | Rejected):
        assert decision.result == outcome.output


@given(situations(), outcomes)
def test_an_open_execution_has_a_time_for_its_follow_up(at: Situation, outcome: Outcome) -> None:
    outcome = possible(at, outcome)
    decision = decide(at, outcome)
    if decision.execution in EXECUTION_FINAL:
        assert (decision.wake_at_ms, decision.resolve_by_ms) == (None, None)
    else:
        assert decision.resolve_by_ms is not None
        assert decision.wake_at_ms is not None
        assert decision.wake_at_ms <= max(decision.resolve_by_ms, NOW_MS)


@given(situations(), times, st.sampled_from([Accepted(), Accepted(check_after_ms=0), Unknown("x")]))
def test_the_time_to_resolve_is_set_once(at: Situation, known: int, outcome: Outcome) -> None:
    """Another poll or lookup does not postpone the end."""
    same = ExecutionState.WAITING if isinstance(outcome, Accepted) else ExecutionState.UNKNOWN
    at = at._replace(execution=at.execution._replace(state=same, resolve_by_ms=known))
    assert decide(at, outcome).resolve_by_ms == known


@given(deciding, st.none() | milliseconds)
def test_a_retry_is_never_earlier_than_the_provider_asked_for(at: Situation, after_ms: int | None) -> None:
    at = at._replace(limits=Limits(attempts=20))
    move = decide(at, Retry("http_429", after_ms)).task
    assert move is not None
    if move.state is not TaskState.PENDING or move.reason is None:
        return  # no attempt or no time was left
    asked = min(after_ms or 0, policy.LONGEST_WAIT)
    longest = policy.BACKOFF_CAP if after_ms is None else asked + policy.SECOND
    assert NOW_MS + asked <= move.run_at_ms <= NOW_MS + longest


@given(deciding, outcomes)
def test_no_task_is_delayed_beyond_its_deadline(at: Situation, outcome: Outcome) -> None:
    move = decide(at, possible(at, outcome)).task
    deadline = None if at.task is None else at.task.deadline_ms
    if move is not None and deadline is not None and move.run_at_ms > NOW_MS:
        assert move.run_at_ms < deadline


@given(deciding, outcomes)
def test_limits_are_kept(at: Situation, outcome: Outcome) -> None:
    move = decide(at, possible(at, outcome)).task
    assert at.task is not None
    if move is None:
        return
    before, after = at.task.position, move.position
    assert after.repairs <= max(before.repairs, at.limits.repairs)
    assert after.redos <= max(before.redos, at.limits.redos)
    if after.candidate > before.candidate:
        assert after == Position(
            before.stage, before.candidate + 1, redos=before.redos, replaces=before.replaces
        )
        assert after.candidate < len(at.route.stages[before.stage].candidates)
    if isinstance(outcome, Retry) and after.attempt > before.attempt:
        assert after.attempt < at.limits.attempts


@given(situations(current=False), outcomes)
def test_an_execution_that_is_not_current_can_only_make_its_waiting_task_due(
    at: Situation, outcome: Outcome
) -> None:
    assert not at.current
    outcome = Failed("x") if isinstance(outcome, Succeeded) else outcome
    decision = decide(at, outcome)
    if decision.task is not None:
        assert at.task is not None
        assert decision.execution in EXECUTION_FINAL
        assert at.task.state is TaskState.WAITING
        assert (decision.task.event, decision.task.position) == (TaskEvent.RESUME, at.task.position)


@given(deciding, words)
def test_an_unknown_execution_is_repeated_once_and_only_by_policy(at: Situation, why: str) -> None:
    decision = decide(at, Unknown(why))
    move, call = decision.task, at.execution
    assert decision.execution is ExecutionState.UNKNOWN
    if move is None or move.position.replaces != call.id:
        return
    assert at.task is not None
    if at.task.position.replaces == call.id:  # it was repeated before; now its task waits for it
        assert move.event is TaskEvent.WAIT
        return
    blind = not (call.person or call.evidence or call.repeatable)
    assert at.limits.unknown == "retry" or (at.limits.unknown == "default" and blind)
    in_doubt = call._replace(state=ExecutionState.UNKNOWN)
    again = at._replace(task=at.task._replace(position=move.position), execution=in_doubt)
    second = decide(again, Unknown(why)).task
    assert second is None or second.event is TaskEvent.WAIT
