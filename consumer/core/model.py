"""The base class of values from outside, such as requests and profiles, and the field types that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from consumer.core.errors import BadInput, Problem
from consumer.core.strictjson import clean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Model(BaseModel):
    """A value from outside: an unknown field is an error, and the value cannot change after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], value: object, field: str = "") -> M:
    """Check a value and return it as a model.

    `field` is the name of the value itself.  Raises BadInput naming each wrong field and a right value."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        places = [entry["loc"] for entry in details]
        problems = [
            Problem(_path(field, entry["loc"]), _message(entry))
            for entry in details
            if not (entry["type"] == "too_short" and any(_inside(place, entry["loc"]) for place in places))
        ]
        raise BadInput.of(problems) from None
    except BadInput as error:  # from one of our validators: it names the place inside the value
        raise error.within(field) from None
    except RecursionError:
        raise BadInput(field, "must not be nested so deeply") from None


def _message(entry: ErrorDetails) -> str:
    """The fault of a field, in our words.

    Pydantic names Python's types, and counts items in every value that a validator of ours has seen, even in a text."""
    kind, limits = entry["type"], entry.get("ctx", {})
    if kind == "too_short" and isinstance(entry["input"], str):
        least = limits.get("min_length")
        return f"must have at least {least} character{'' if least == 1 else 's'}"
    if kind == "too_long" and isinstance(entry["input"], str):
        return f"must have at most {limits.get('max_length')} characters"
    message = str(entry["msg"])
    if kind == "too_short" and " at least 1 item " in message:
        return "must have at least 1 item"
    return _MESSAGES.get(kind, message.removeprefix("Value error, "))


_MESSAGES: Final = {
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "extra_forbidden": "is not a known field",
}


def _inside(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    """Whether a place lies inside another.

    Pydantic does not count a wrong item, so that it reports the list around it as too short as well."""
    return len(place) > len(outer) and place[: len(outer)] == outer


def _path(field: str, location: tuple[int | str, ...]) -> str:
    for part in location:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else str(part)
    return field


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: object) -> object:
    if isinstance(value, str) and clean(value) != value:
        msg = "must be text without NUL characters and without half surrogate pairs"
        raise ValueError(msg)
    return value


WHOLE: Final = BeforeValidator(_whole)
"""Accepts 3.0 for the integer 3, as JSON allows, but neither "3" nor true.

It stands behind the bounds in an annotation.  In front of them, pydantic leaves the bounds out of the OpenAPI document.
"""

Id = Annotated[int, Field(ge=1, le=2**53 - 2, strict=True), WHOLE]
"""The id of a row, as callers may write it."""

PLAIN: Final = BeforeValidator(_plain)
"""Refuses text that a database cannot hold.  It stands behind a pattern, for the same reason as `WHOLE`."""

Text = Annotated[str, PLAIN]
"""Text that every database can hold."""


def dollars(digits: int) -> WithJsonSchema:
    """The JSON Schema of an amount in dollars up to ten to the power of `digits`.

    It documents the usual ways to write an amount.  Others that Python's Decimal reads are accepted too."""
    number = {"type": "number", "minimum": 0, "maximum": 10**digits}
    below, limit = rf"[0-9]{{1,{digits}}}(\.[0-9]{{1,30}})?", rf"10{{{digits}}}(\.0{{1,30}})?"
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": f"^({below}|{limit})$"}]})


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
"""The name of a profile or an adapter."""
