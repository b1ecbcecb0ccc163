"""The inputs of an execution: the task's input, the previous stage's result, and the task's position in its route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.core.decide import Position
from consumer.core.errors import BadInput
from consumer.core.strictjson import parse_json
from consumer.store.sql import integer, optional_integer, optional_text, text

if TYPE_CHECKING:
    from consumer.ports import Row
    from consumer.world import World


def task_input(row: Row) -> Any:  # JSON is any value
    """The task's input.  A task without one, inserted by another application, has its title and description as input.

    Raises BadInput when the stored text is not JSON."""
    stored = optional_text(row, "input")
    if stored is None:
        return {"title": text(row, "title"), "description": text(row, "description")}
    return parse_json(stored, "input")


async def previous_result(world: World, row: Row) -> Any:  # JSON is any value
    """The result that `input_from` names, from its row or from the blob store; None if it names none.

    That is the result of the previous stage or, after a redo of the first stage, the draft that was sent back.

    Raises BadInput when it is lost or unreadable, PortError when the store cannot be reached."""
    key = optional_text(row, "previous_key")
    if key is not None:
        data = await world.blobs.get(key)
        if data is None:
            raise BadInput("result", f"the blob store has no {key}")
        return parse_json(data, "result")
    stored = optional_text(row, "previous")
    return None if stored is None else parse_json(stored, "result")


def position(row: Row) -> Position:
    """The task's position in its route, from its row."""
    return Position(
        stage=integer(row, "stage"),
        candidate=integer(row, "candidate"),
        attempt=integer(row, "attempt"),
        repairs=integer(row, "repairs"),
        redos=integer(row, "redos"),
        replaces=optional_integer(row, "replaces"),
    )
