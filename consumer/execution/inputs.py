"""The inputs of an execution: the task's input, the previous stage's result, and the task's position in its route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from consumer.core.decide import Position
from consumer.core.errors import BadInput
from consumer.core.strictjson import dump_json, parse_json
from consumer.execution import large
from consumer.store.sql import integer, optional_integer, optional_text, text

if TYPE_CHECKING:
    from consumer.ports import Row
    from consumer.world import World

MAX_REFUSED_CHARS: Final = 16_000
"""Characters of a refused answer that a repair shows to the model, which reads them again for money."""


def task_input(row: Row) -> Any:  # JSON is any value
    """The task's input.  A task without one, inserted by another application, has its title and description as input.

    Raises BadInput when the stored text is not JSON."""
    stored = optional_text(row, "input")
    if stored is None:
        return {"title": text(row, "title"), "description": text(row, "description")}
    return parse_json(stored, "input")


def known_input(row: Row) -> Any:  # JSON is any value
    """The task's input; None for one that cannot be read, because another application wrote it."""
    try:
        return task_input(row)
    except BadInput:
        return None


def has_input(row: Row) -> bool:
    """Whether the task's input can be read."""
    try:
        task_input(row)
    except BadInput:
        return False
    return True


async def previous_result(world: World, row: Row) -> Any:  # JSON is any value
    """The result that `input_from` names, from its row or from the blob store; None if it names none.

    That is the result of the previous stage or, after a redo of the first stage, the draft that was sent back.

    Raises BadInput when it is lost or unreadable, PortError when the store cannot be reached."""
    key = optional_text(row, "previous_key")
    if key is not None:
        data = await large.read(world, key)
        if data is None:
            raise BadInput("result", f"the blob store has no {key}")
        return parse_json(data, "result")
    stored = optional_text(row, "previous")
    return None if stored is None else parse_json(stored, "result")


def refused_answer(row: Row) -> Any:  # JSON is any value
    """The last answer of the task's candidate, if it did not fit the output schema; cut to a text if it is long."""
    stored = optional_text(row, "refused")
    return None if stored is None else bounded(parse_json(stored, "result"), stored)


def bounded(answer: Any, stored: str | None = None) -> Any:  # JSON is any value
    """An answer as a repair shows it.  `stored`: its JSON, if it is known."""
    text = answer if isinstance(answer, str) else stored or dump_json(answer)
    return answer if len(text) <= MAX_REFUSED_CHARS else f"{text[:MAX_REFUSED_CHARS]}…"


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
