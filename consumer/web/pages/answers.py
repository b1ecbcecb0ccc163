"""Reads an answer from a form.  Each error names the field that it is in."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from consumer.core.errors import BadInput, Problem
from consumer.core.schema import mismatches
from consumer.core.strictjson import parse_json
from consumer.web.pages.fields import ABSENT, MAX_SAFE, PREFIX, Field, Widget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.web.request import Form

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,16}", re.ASCII)
_NUMBER: Final = re.compile(
    r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?", re.ASCII
)
"""More than a number field of a browser sends, which is how HTML writes numbers: `.5` and `1e3` are numbers too."""
_SHOWN: Final = re.compile(r"-?([0-9]+(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
MAX_DIGITS: Final = 15
"""Digits after the first one of the largest integer that is stored exactly."""


def read(schema: Mapping[str, Any], wanted: Sequence[Field], form: Form) -> Any:
    """The answer.  Raises BadInput naming each property that is missing or does not fit, as `output.<property>`."""
    output: Any = {}
    problems: list[Problem] = []
    for field in wanted:
        try:
            value = _value(field, form.values(field.control))
        except BadInput as error:
            problems += error.within(field.name or "").problems
            continue
        if field.name is None:
            output = value
        elif value is not ABSENT:
            output[field.name] = value
    problems = problems or _misfits(schema, wanted, output)
    if problems:
        raise BadInput.of(problems).within(PREFIX)
    return output


def unchanged(wanted: Sequence[Field], form: Form) -> bool:
    """Whether the form still holds the draft."""
    return all(
        [*filter(None, form.values(field.control))] == [*filter(None, field.typed)] for field in wanted
    )


def is_number(typed: str) -> bool:
    """Whether a browser shows this text in a number field."""
    return _SHOWN.fullmatch(typed) is not None


def _value(field: Field, values: Sequence[str]) -> Any:
    if field.widget is Widget.CHECKS:
        return _checked(field, values)
    typed = values[0] if values else ""
    return _READERS[field.widget](field, typed) if typed.strip() else _nothing(field, typed)


def _checked(field: Field, values: Sequence[str]) -> Any:
    values = [value for value in values if value]
    if not {*values} <= {*dict(field.choices)}:
        raise BadInput("", "choose from the list")
    if not values and not field.required and not field.may_be_empty:
        return ABSENT
    return [value for key, value in field.choices if key in values]


def _nothing(field: Field, typed: str) -> Any:
    """The value of a control that is empty: absent, null, empty, or an error."""
    lines = field.widget is Widget.LINES
    if field.may_be_empty and field.widget in (Widget.LINE, Widget.AREA, Widget.LINES):
        return [] if lines else typed
    if not field.required:
        return ABSENT
    if field.nullable:
        return None
    if lines and not field.schema.get("minItems"):
        return []
    raise BadInput("", "choose one" if field.widget is Widget.CHOICE else "this field is required")


def _verbatim(_field: Field, typed: str) -> str:
    return typed


def _choice(field: Field, typed: str) -> Any:
    choices = dict(field.choices)
    if typed not in choices:
        raise BadInput("", "choose from the list")
    return choices[typed]


def _whole(_field: Field, typed: str) -> int:
    typed = typed.strip()
    if not _NUMBER.fullmatch(typed):
        raise BadInput("", "must be a whole number, like 3")
    number = Decimal(typed)
    if number and number.adjusted() > MAX_DIGITS:
        raise BadInput("", "is too large to be stored exactly")
    if number != number.to_integral_value():
        raise BadInput("", "must be a whole number, like 3")
    if abs(number) > MAX_SAFE:
        raise BadInput("", "is too large to be stored exactly")
    return int(number)


def _number(field: Field, typed: str) -> int | float:
    typed = typed.strip()
    if _WHOLE.fullmatch(typed):
        return _whole(field, typed)
    if not _NUMBER.fullmatch(typed):
        raise BadInput("", "must be a number, like 3.5")
    number = float(typed)
    if not math.isfinite(number):
        raise BadInput("", "is too large")
    return number


def _lines(_field: Field, typed: str) -> list[str]:
    return [line.strip() for line in typed.split("\n") if line.strip()]


def _json(_field: Field, typed: str) -> Any:
    return parse_json(typed, unique=True)


_READERS: Final[Mapping[Widget, Callable[[Field, str], Any]]] = {
    Widget.LINE: _verbatim,
    Widget.AREA: _verbatim,
    Widget.CHOICE: _choice,
    Widget.INTEGER: _whole,
    Widget.NUMBER: _number,
    Widget.LINES: _lines,
    Widget.JSON: _json,
}


def _misfits(schema: Mapping[str, Any], wanted: Sequence[Field], output: Any) -> list[Problem]:
    """The first mismatch of each field.  If no mismatch lies in a field, the first mismatch of the whole answer."""
    problems = mismatches(schema, output)
    names = [field.name for field in wanted if field.name is not None]
    first: dict[str, Problem] = {}
    for problem in problems:
        name = _field_of(problem.field, names)
        if name is not None:
            first.setdefault(name, problem)
    return [first[name] for name in names if name in first] or problems[:1]


def _field_of(path: str, names: Sequence[str]) -> str | None:
    """The field that a path such as `tags[0]` lies in.  A name may hold dots: the longest that fits is meant."""
    inside = [name for name in names if path == name or path.startswith((f"{name}.", f"{name}["))]
    return max(inside, key=len, default=None)
