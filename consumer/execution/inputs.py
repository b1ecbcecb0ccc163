"""What an execution works on: the task's input, the result of the stage before, and where the task stands."""

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
    """A task's input; one that another application inserted has its title and description."""
    stored = optional_text(row, "input")
    if stored is None:
        return {"title": text(row, "title"), "description": text(row, "description")}
    return parse_json(stored, "input")


async def fed(world: World, row: Row) -> Any:  # JSON is any value
    """The output of the stage before, from its row or from the blobs.  Raises BadInput, PortError."""
    key = optional_text(row, "previous_key")
    if key is not None:
        data = await world.blobs.get(key)
        if data is None:
            raise BadInput("result", f"there is no {key} any more")
        return parse_json(data, "result")
    stored = optional_text(row, "previous")
    return None if stored is None else parse_json(stored, "result")


def position(row: Row) -> Position:
    """Where a task's row says it stands."""
    return Position(
        stage=integer(row, "stage"),
        candidate=integer(row, "candidate"),
        attempt=integer(row, "attempt"),
        repairs=integer(row, "repairs"),
        redos=integer(row, "redos"),
        replaces=optional_integer(row, "replaces"),
    )
