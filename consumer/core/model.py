"""The base of every value that comes from outside, and the field types that such values share."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from consumer.core.errors import BadInput, Problem
from consumer.core.strictjson import clean


class Model(BaseModel):
    """Values from outside: unknown fields are errors, nothing is changed after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], value: object, field: str = "") -> M:
    """Check a value.  Raises BadInput naming each wrong field and what would be right."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        places = [entry["loc"] for entry in found]
        problems = [
            Problem(_path(field, entry["loc"]), str(entry["msg"]).removeprefix("Value error, "))
            for entry in found
            if not (entry["type"] == "too_short" and any(_inside(place, entry["loc"]) for place in places))
        ]
        raise BadInput.of(problems) from None
    except BadInput as error:  # of a validator, which knows the place better
        raise error.within(field) from None
    except RecursionError:
        raise BadInput(field, "nested too deeply") from None


def _inside(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    """A wrong item is not counted, so that its list is said to be too short as well."""
    return len(place) > len(outer) and place[: len(outer)] == outer


def _path(field: str, location: tuple[int | str, ...]) -> str:
    for part in location:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else str(part)
    return field


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: object) -> object:
    if isinstance(value, str) and clean(value) != value:
        msg = "text without NUL characters and without half surrogate pairs"
        raise ValueError(msg)
    return value


WHOLE: Final = BeforeValidator(_whole)
"""Behind the bounds of an integer, or the document loses them: JSON may write 3 as 3.0, but not as "3" or true."""

Id = Annotated[int, Field(ge=1, le=2**53 - 2, strict=True), WHOLE]
"""What a row may be called from outside."""

PLAIN: Final = BeforeValidator(_plain)
"""Behind a pattern too, or the document loses it."""

Text = Annotated[str, PLAIN]
"""What every database can hold."""


def dollars(digits: int) -> WithJsonSchema:
    """What is promised of an amount below ten to the power of `digits`; other ways to write a decimal are read too."""
    number = {"type": "number", "minimum": 0, "maximum": 10**digits}
    return WithJsonSchema(
        {"anyOf": [number, {"type": "string", "pattern": rf"^[0-9]{{1,{digits}}}(\.[0-9]{{1,30}})?$"}]}
    )


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
