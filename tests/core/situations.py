"""Situations for `decide`: by default a task that a worker holds, with one call in flight."""

from __future__ import annotations

from typing import Any, Final

from consumer.core.decide import Decision, ExecutionView, Position, Situation, TaskMove, TaskView
from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.core.template import Candidate, Limits, Route, Stage

NOW_MS: Final = 1_795_305_600_000
STARTED_MS: Final = NOW_MS - 5_000
FIRST: Final = 2**40 + 1024 + 1
"""The id of the first execution of task 1."""

Kind = dict[str, Any]

PERSON: Final[Kind] = {"person": True}
BLIND: Final[Kind] = {}
"""A model whose provider honours no keys and offers no evidence."""
WITH_KEYS: Final[Kind] = {"repeatable": True}
WITH_EVIDENCE: Final[Kind] = {"evidence": True}


def route(*kinds: str, candidates: int = 2) -> Route:
    """A route with a stage of each kind, each with this number of candidates."""
    choice = tuple(Candidate(profile=f"p{number}") for number in range(candidates))
    return Route(stages=tuple(Stage.model_validate({"kind": kind, "candidates": choice}) for kind in kinds))


def task(state: TaskState = TaskState.RUNNING, *, held: bool | None = None, **more: Any) -> TaskView:
    """A task.  If it is running, the worker that decides holds its lease."""
    position = more.pop("position", Position())
    deadline_ms = more.pop("deadline_ms", None)
    held = state is TaskState.RUNNING if held is None else held
    return TaskView(1, 7, state, position, deadline_ms, held, **more)


def execution(state: ExecutionState = ExecutionState.RUNNING, **more: Any) -> ExecutionView:
    """The newest execution of the task, by a model without keys and evidence."""
    values: dict[str, Any] = {
        "id": FIRST,
        "stage": 0,
        "started_ms": STARTED_MS,
        "newest": True,
        "person": False,
        "repeatable": False,
        "evidence": False,
        "resolve_by_ms": None,
    }
    return ExecutionView(state=state, **(values | more))


def at(
    view: TaskView | None = None,
    call: ExecutionView | None = None,
    *,
    path: Route | None = None,
    draw: float = 0.5,
    **limits: Any,
) -> Situation:
    """A situation, by default with a route of one stage with two candidates."""
    return Situation(view or task(), call or execution(), path or route("ai"), Limits(**limits), NOW_MS, draw)


def moved(decision: Decision) -> TaskMove:
    """The move of a decision, which must have one."""
    assert decision.task is not None
    return decision.task
