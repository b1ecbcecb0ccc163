"""The doorbell: a queue message that says "there is work".  D1 decides which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from consumer.core.errors import BadInput

VERSION: Final = 1

DEAD_LETTER_QUEUE: Final = "dead-letters"
"""The name of the queue of dead letters on one machine, and the end of its name in wrangler.toml: `bizq-dead-letters`.

By this name the worker distinguishes a batch of dead letters from a batch of doorbells."""


@dataclass(frozen=True, slots=True)
class Doorbell:
    """`task` is only for tracing: nothing is decided by it."""

    task: int | None = None

    def body(self) -> dict[str, Any]:
        """The JSON object that travels."""
        return {"v": VERSION} if self.task is None else {"v": VERSION, "task": self.task}


def parse(body: object) -> Doorbell:
    """Read a message.  Raises BadInput: such a message is a dead letter."""
    if not isinstance(body, dict):
        raise BadInput("", "a doorbell is a JSON object like {'v': 1}")
    version = body.get("v")
    if version != VERSION or isinstance(version, bool):
        raise BadInput("v", f"version {VERSION} is understood")
    task = body.get("task")
    if task is not None and (isinstance(task, bool) or not isinstance(task, int)):
        raise BadInput("task", "a task id is an integer")
    return Doorbell(task)
