"""The facts that a decision depends on: where a task stands, its execution, and who has the say.

`decide.py` explains the words `needed`, `current`, `repeated` and `held`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from consumer.core.lifecycle import TASK_FINAL, ExecutionState, TaskState

if TYPE_CHECKING:
    from consumer.core.template import Limits, Route


class Position(NamedTuple):
    """Where a task stands in its route: each number counts from 0.

    `attempt`, `repairs`: calls of this candidate that were retried, and answers that were repaired.
    `redos`: how often reviewers sent a draft back, over the whole task.
    `replaces`: the id of the last unknown execution that was repeated; see the top of `consumer/core/decide.py`."""

    stage: int = 0
    candidate: int = 0
    attempt: int = 0
    repairs: int = 0
    redos: int = 0
    replaces: int | None = None

    def next_candidate(self) -> Position:
        """The same stage, by its next candidate."""
        return Position(self.stage, self.candidate + 1, redos=self.redos, replaces=self.replaces)

    def next_stage(self) -> Position:
        """The first candidate of the next stage."""
        return Position(self.stage + 1, redos=self.redos, replaces=self.replaces)

    def previous_stage(self) -> Position:
        """The first candidate of the stage before: a redo."""
        return Position(self.stage - 1, redos=self.redos + 1, replaces=self.replaces)

    def repeat_of(self, execution: int) -> Position:
        """The same candidate again, while this unknown execution stays open."""
        return self._replace(attempt=self.attempt + 1, replaces=execution)

    def was_repeated(self, execution: int) -> bool:
        """Whether this execution was repeated already, or is itself the repeat.

        Ids of a task's executions follow each other, so a repeat has the next id."""
        return self.replaces is not None and execution <= self.replaces + 1


class TaskView(NamedTuple):
    """A task at the moment of a decision.

    `version`: the fence that the decision is written under.  `deadline_ms`: the hard end of the task, in milliseconds
    UTC.  `held`: the worker that decides holds the task's lease."""

    id: int
    version: int
    state: TaskState
    position: Position
    deadline_ms: int | None
    held: bool


class ExecutionView(NamedTuple):
    """The execution that the outcome belongs to.

    `newest`: its task has no later execution.
    `person`: a person does it, not a model.
    `repeatable`: its provider honours our key, so that sending it again does the work once.
    `evidence`: its provider can report later how it ended (lookup, poll or webhook).
    `resolve_by_ms`: the time at which waiting ends: a waiting job becomes unknown, an unknown execution is ended; None
    before it was first set.
    `passed`: an execution of another stage has begun since.
    `accepted`: its provider accepted it as a job.
    `asked`: a person was asked how it ended.
    `cause`: why an unknown execution became unknown, such as a timeout."""

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
    cause: str | None = None


class Situation(NamedTuple):
    """Everything that a decision depends on besides the outcome.

    `now_ms`: milliseconds UTC.  `draw`: a random number from 0 to just below 1, for the jitter of delays.
    `rests_until_ms`: the profile that was called rests until then, after this outcome; 0: it does not rest."""

    task: TaskView | None
    execution: ExecutionView
    route: Route
    limits: Limits
    now_ms: int
    draw: float
    rests_until_ms: int = 0

    @property
    def needed(self) -> bool:
        """The task still wants an answer for the stage of this execution, and has not left that stage since."""
        task = self.task
        if task is None or task.state in TASK_FINAL or self.execution.passed:
            return False
        return task.position.stage == self.execution.stage

    @property
    def current(self) -> bool:
        """The execution decides how the task goes on if it brings no answer."""
        return self.needed and self.execution.newest and not self._repeated

    @property
    def _repeated(self) -> bool:
        """The task is about to repeat this execution."""
        task = self.task
        return (
            task is not None
            and task.position.replaces == self.execution.id
            and task.state in (TaskState.PENDING, TaskState.RUNNING)
        )
