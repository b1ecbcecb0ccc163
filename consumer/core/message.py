"""The doorbell: a queue message that wakes a worker.  The database decides which tasks the worker takes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from consumer.core.errors import BadInput

VERSION: Final = 1
"""The version of the message format."""

DEAD_LETTER_QUEUE: Final = "dead-letters"
"""The name of the queue of dead letters on one machine, and the end of its name in wrangler.toml: `bizq-dead-letters`.

By this name the worker distinguishes a batch of dead letters from a batch of doorbells."""


class Doorbell(NamedTuple):
    """A doorbell.  `task` is the id of the task that caused it, for tracing only."""

    task: int | None = None

    def body(self) -> dict[str, Any]:
        """The JSON object that is sent."""
        return {"v": VERSION} if self.task is None else {"v": VERSION, "task": self.task}


def parse(body: object) -> Doorbell:
    """Read a message.  Raises BadInput for a message that is not a doorbell: it becomes a dead letter."""
    if not isinstance(body, dict):
        raise BadInput("", "a doorbell is a JSON object like {'v': 1}")
    version = body.get("v")
    if version != VERSION or isinstance(version, bool):
        raise BadInput("v", f"only version {VERSION} is understood")
    task = body.get("task")
    if task is not None and (isinstance(task, bool) or not isinstance(task, int)):
        raise BadInput("task", "must be an integer: the id of a task")
    return Doorbell(task)
