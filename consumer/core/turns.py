"""The conversation that asks a model for an answer: one user message, or three after an answer that was refused.

Adapters of chat APIs differ in how they write a message, and not in what they say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping


_WARMER: Final = 0.3
"""How much each repair of an answer raises the temperature, up to 1."""


class Asked(Protocol):
    """The parts of a call that a model reads; `consumer/provider.py` explains them."""

    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def value(self) -> Any: ...
    @property
    def task_input(self) -> Any: ...
    @property
    def output_schema(self) -> Mapping[str, Any]: ...
    @property
    def feedback(self) -> str | None: ...
    @property
    def draft(self) -> Any: ...


class Turn(NamedTuple):
    """A message of the conversation."""

    role: Literal["user", "assistant"]
    text: str


def turns(call: Asked, *, schema: bool) -> list[Turn]:
    """The messages of a call.  `schema`: the request does not bind the answer to the schema, so the prompt names it."""
    parts = [call.prompt or _plain_prompt(call)]
    if schema:
        parts.append(
            f"Answer with one JSON object that fits this JSON Schema:\n{dump_json(call.output_schema)}"
        )
    feedback = f"That answer was not accepted: {call.feedback}\nGive the whole answer again, corrected."
    if call.feedback and call.draft is None:
        # It is not a message of its own, because many chat templates refuse two user messages in a row.
        parts.append(feedback.replace("That", "An earlier", 1))
    asked = Turn("user", "\n\n".join(parts))
    if not call.feedback or call.draft is None:
        return [asked]
    last = call.draft if isinstance(call.draft, str) else dump_json(call.draft)
    return [asked, Turn("assistant", last), Turn("user", feedback)]


def warmed(temperature: float, repair: int) -> float:
    """The temperature of a call that repairs an answer: the same request at 0 would bring the same answer."""
    return max(temperature, min(1, temperature + _WARMER * repair))


def _plain_prompt(call: Asked) -> str:
    """The prompt of a template that has none: the task's title, description and input."""
    first = call.task_input is None
    values = {
        "Input": call.value if first else call.task_input,
        "The answer of the stage before": None if first else call.value,
    }
    given = [f"{name}:\n{dump_json(value)}" for name, value in values.items() if value is not None]
    return "\n\n".join(part for part in (call.title, call.description, *given) if part)
