"""The laws of the two tables."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from consumer.core.errors import IllegalTransition
from consumer.core.lifecycle import (
    EXECUTION_FINAL,
    EXECUTION_OPEN,
    EXECUTION_TRANSITIONS,
    TASK_FINAL,
    TASK_TRANSITIONS,
    ExecutionEvent,
    ExecutionState,
    TaskEvent,
    TaskState,
    Word,
    execution_after,
    task_after,
)


class Machine(NamedTuple):
    """One of the two tables."""

    table: Mapping[Any, Mapping[Any, Any]]
    states: type[Word]
    events: type[Word]
    after: Callable[[Any, Any], Any]


both = pytest.mark.parametrize(
    "machine",
    [
        Machine(TASK_TRANSITIONS, TaskState, TaskEvent, task_after),
        Machine(EXECUTION_TRANSITIONS, ExecutionState, ExecutionEvent, execution_after),
    ],
    ids=["task", "execution"],
)


@both
def test_the_table_has_exactly_the_states_and_events(machine: Machine) -> None:
    rows = machine.table.values()
    assert list(machine.table) == list(machine.states)
    assert all(isinstance(event, machine.events) for moves in rows for event in moves)
    assert all(isinstance(target, machine.states) for moves in rows for target in moves.values())


@both
def test_every_state_can_be_reached(machine: Machine) -> None:
    found: set[Any] = set()
    new = {next(iter(machine.states))}
    while new:
        found |= new
        new = {target for state in new for target in machine.table[state].values()} - found
    assert found == set(machine.states)


@both
def test_a_final_state_can_be_reached_from_every_state(machine: Machine) -> None:
    before: set[Any] = set()
    ends = {state for state, moves in machine.table.items() if not moves}
    while before != ends:
        before = ends
        ends = ends | {state for state, moves in machine.table.items() if ends & set(moves.values())}
    assert ends == set(machine.states)


@both
def test_every_event_is_in_the_table(machine: Machine) -> None:
    assert {event for moves in machine.table.values() for event in moves} == set(machine.events)


@both
def test_an_event_leads_to_the_same_state_from_every_state(machine: Machine) -> None:
    """The meaning of an event does not depend on the state before it."""
    pairs = {(event, target) for moves in machine.table.values() for event, target in moves.items()}
    assert len(pairs) == len(machine.events)


@both
def test_every_state_and_event_is_a_move_or_an_error(machine: Machine) -> None:
    before = copy.deepcopy(machine.table)
    for state in machine.states:
        for event in machine.events:
            if event in machine.table[state]:
                assert machine.after(state, event) is machine.table[state][event]
            else:
                with pytest.raises(IllegalTransition, match=f"^{state} has no {event}$"):
                    machine.after(state, event)
    assert machine.table == before


def test_the_final_states_are_those_without_moves() -> None:
    assert {state for state in TaskState if not TASK_TRANSITIONS[state]} == TASK_FINAL
    assert {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED} == TASK_FINAL
    assert {state for state in ExecutionState if not EXECUTION_TRANSITIONS[state]} == EXECUTION_FINAL
    assert {ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.CANCELLED} == EXECUTION_FINAL
    assert {ExecutionState.RUNNING, ExecutionState.WAITING, ExecutionState.UNKNOWN} == EXECUTION_OPEN


def test_only_a_claim_makes_a_task_run() -> None:
    """A running task always has a lease, so that the sweep finds it after its worker was lost."""
    to_running = {
        (state, event)
        for state, moves in TASK_TRANSITIONS.items()
        for event, target in moves.items()
        if target is TaskState.RUNNING
    }
    assert to_running == {
        (TaskState.PENDING, TaskEvent.CLAIM),
        (TaskState.RUNNING, TaskEvent.ADVANCE),
    }


def test_an_unfinished_task_can_always_be_cancelled() -> None:
    for state in set(TaskState) - TASK_FINAL:
        assert task_after(state, TaskEvent.CANCEL) is TaskState.CANCELLED


@pytest.mark.parametrize("words", [TaskState, TaskEvent, ExecutionState, ExecutionEvent])
def test_a_state_or_event_is_its_value_and_has_a_meaning(words: type[Word]) -> None:
    for word in words:
        assert word == word.value == str(word) == f"{word}" == word.name.lower()
        assert words(word.value) is word
        assert pickle.loads(pickle.dumps(word)) is word  # noqa: S301  # our own
        assert word.meaning
        assert not word.meaning.endswith(".")
    assert len({word.meaning for word in words}) == len(words)


def test_a_state_that_rows_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="done"):
        TaskState("done")
