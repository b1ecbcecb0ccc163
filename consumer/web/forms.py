"""The fields of a form, from a JSON Schema.

What a form can show well has its own control: text, choices, yes or no, numbers, dates, lists of text.  All else is
typed as JSON.  A control is named after its property and not after its place, so that a template that is changed
while somebody types mixes no answers up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from consumer.core.strictjson import clean, dump_json
from consumer.web.showing import pretty

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX: Final = "output"
SHORT_TEXT: Final = 200
"""Text that may be longer, or as long as it likes, is typed into an area."""
MAX_CHOICES: Final = 200
MAX_SAFE: Final = 2**53 - 1
"""The largest integer that whoever reads the answer can hold exactly."""


class Widget(StrEnum):
    """How a property is typed."""

    LINE = "line"
    AREA = "area"
    CHOICE = "choice"
    CHECKS = "checks"
    NUMBER = "number"
    INTEGER = "integer"
    LINES = "lines"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """One property of the answer, or with the name None all of it.

    `control`: its name in the form.  `choices`: what a form sends, and the value that it stands for.
    `typed`: what stands there before anybody types.  `empty`: what it means to type nothing; left out by default."""

    name: str | None
    control: str
    label: str
    description: str
    widget: Widget
    schema: Mapping[str, Any]
    required: bool
    nullable: bool = False
    choices: tuple[tuple[str, Any], ...] = ()
    typed: tuple[str, ...] = ()
    may_be_empty: bool = False


ABSENT: Final = object()
"""No value at all, not even null."""


# --- from a schema to fields ----------------------------------------------------------------------------------------


def fields(schema: Mapping[str, Any], given: object = None) -> list[Field]:
    """The controls for an answer; `given` is a draft that they start with."""
    properties = schema.get("properties")
    known = dict(properties) if isinstance(properties, dict) and "$ref" not in schema else {}
    required = {name for name in schema.get("required", ()) if isinstance(name, str)}
    draft = given if isinstance(given, dict) else {}
    shows_all = required | {*draft} <= {*known} and (given is None or draft is given)
    if not known or not shows_all:
        typed = () if given is None else (pretty(given),)
        return [Field(None, PREFIX, "Answer", "As JSON.", Widget.JSON, schema, required=True, typed=typed)]
    return [
        _field(schema, name, part, draft.get(name, ABSENT), required=name in required)
        for name, part in known.items()
    ]


def _field(root: Mapping[str, Any], name: str, part: object, given: object, *, required: bool) -> Field:
    schema, nullable = _resolve(root, part)
    start = schema.get("default", ABSENT) if given is ABSENT else given
    widget, choices = _widget(root, schema, start)
    typed = _typed(widget, choices, start)
    if typed is None:
        widget, choices, typed = Widget.JSON, (), (pretty(start),)
    title, description = schema.get("title"), schema.get("description")
    return Field(
        name=name,
        control=f"{PREFIX}.{name if name.isprintable() else quote(name, safe=' ', errors='surrogatepass')}",
        label=title if isinstance(title, str) and title.strip() else _spoken(name),
        description=description if isinstance(description, str) else "",
        widget=widget,
        schema=schema,
        required=required,
        nullable=nullable or None in (schema.get("enum") or ()),
        choices=choices,
        typed=typed,
        may_be_empty=_is_empty(start) or schema.get("minLength") == 0,
    )


def _spoken(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:] or "(no name)"


def _is_empty(start: object) -> bool:
    return start == [] or (isinstance(start, str) and not start.strip())


def _resolve(root: Mapping[str, Any], part: object) -> tuple[dict[str, Any], bool]:
    """A schema without its references, and whether null fits as well; what is said beside a reference stays."""
    schema = dict(part) if isinstance(part, dict) else {}
    nullable = False
    for _ in range(8):
        if isinstance(reference := schema.pop("$ref", None), str):
            schema = {**_follow(root, reference), **schema}
            continue
        for word in ("anyOf", "oneOf"):
            options = schema.get(word)
            if not isinstance(options, list) or not all(isinstance(option, dict) for option in options):
                continue
            others = [option for option in options if option.get("type") != "null"]
            if len(others) == 1 and len(options) == 2:
                nullable = True
                schema = {**others[0], **{key: value for key, value in schema.items() if key != word}}
                break
        else:
            break
    types = schema.get("type")
    if isinstance(types, list) and len(types) == 2 and "null" in types:
        nullable = True
        schema["type"] = next((each for each in types if each != "null"), "null")
    return schema, nullable


def _follow(root: Mapping[str, Any], reference: str) -> dict[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return dict(node) if isinstance(node, dict) else {}


def _widget(
    root: Mapping[str, Any], schema: Mapping[str, Any], start: object
) -> tuple[Widget, tuple[tuple[str, Any], ...]]:
    if choices := _choices(schema):
        return Widget.CHOICE, choices
    match schema.get("type"):
        case "boolean":
            return Widget.CHOICE, (("true", True), ("false", False))
        case "integer":
            return Widget.INTEGER, ()
        case "number":
            return Widget.NUMBER, ()
        case "string":
            return _text_widget(schema, start), ()
        case "array":
            items, _ = _resolve(root, schema.get("items"))
            if choices := _choices(items):
                return Widget.CHECKS, choices
            return (Widget.LINES if items.get("type") == "string" else Widget.JSON), ()
        case _:
            return Widget.JSON, ()


def _choices(schema: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What an `enum` or a `const` allows, by what the form sends for it."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or not 0 < len(values) <= MAX_CHOICES:
        return ()
    return tuple({_key(value): value for value in values if value is not None}.items())


def _key(value: object) -> str:
    """Text as it is where a form can carry it, all else as JSON."""
    if isinstance(value, str) and value and value.isprintable() and value.strip() == value:
        return value
    return clean(dump_json(value)) if dump_json(value).isprintable() else ascii(value)


def _text_widget(schema: Mapping[str, Any], start: object) -> Widget:
    longest = schema.get("maxLength")
    short = isinstance(longest, int) and longest <= SHORT_TEXT
    bounded = longest is None and ("format" in schema or "pattern" in schema)
    one_line = not isinstance(start, str) or "\n" not in start
    return Widget.LINE if (short or bounded) and one_line else Widget.AREA


def _typed(widget: Widget, choices: Sequence[tuple[str, Any]], start: object) -> tuple[str, ...] | None:
    """How a value stands in its control; None when only JSON can show it."""
    if start is ABSENT or start is None:
        return ()
    match widget:
        case Widget.JSON:
            return (pretty(start),)
        case Widget.CHOICE:
            return _chosen(choices, [start])
        case Widget.CHECKS:
            found = _chosen(choices, start) if isinstance(start, list) else None
            return found if found is not None and len(set(found)) == len(found) else None
        case Widget.LINES:
            return ("\n".join(start),) if isinstance(start, list) and all(map(_is_line, start)) else None
        case Widget.NUMBER | Widget.INTEGER:
            return (dump_json(start),) if _is_number(widget, start) else None
        case Widget.LINE | Widget.AREA:
            return (
                (start,) if isinstance(start, str) and clean(start) == start and "\r" not in start else None
            )


def _is_number(widget: Widget, value: object) -> bool:
    """Whether what is shown of a number is what will be read again."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= MAX_SAFE
    return isinstance(value, float) and widget is Widget.NUMBER


def _chosen(choices: Sequence[tuple[str, Any]], values: Sequence[object]) -> tuple[str, ...] | None:
    keys = {dump_json(value): key for key, value in choices}
    found = [keys.get(dump_json(value)) for value in values]
    return tuple(key for key in found if key is not None) if None not in found else None


def _is_line(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable() and value.strip() == value
