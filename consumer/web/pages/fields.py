"""The fields of a form, from a JSON Schema.

Text, choices, yes or no, numbers, dates and lists of text have a control of their own.  Every other value is typed as
JSON.  A control has the name of its property and not a number, so that a template that changes while a person types
cannot mix up the answers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from consumer.core.strictjson import clean, dump_json
from consumer.web.pages.format import pretty

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX: Final = "output"
SHORT_TEXT: Final = 200
"""Text whose maximum length is at most this is typed into one line, longer text into an area."""
MAX_CHOICES: Final = 200
"""With more choices than this, the value is typed."""
MAX_HOPS: Final = 8
"""References and alternatives that are followed from one property: a schema can refer to itself."""
MAX_SAFE: Final = 2**53 - 1
"""The largest integer that every reader of JSON holds exactly."""

Choices: TypeAlias = tuple[tuple[str, Any], ...]
"""The text that the form sends for each choice, and the value that the choice stands for."""


class Widget(StrEnum):
    """The kind of control of a property."""

    LINE = "line"
    AREA = "area"
    CHOICE = "choice"
    CHECKS = "checks"
    NUMBER = "number"
    INTEGER = "integer"
    LINES = "lines"
    JSON = "json"


class Field(NamedTuple):
    """One property of the answer; with the name None, the whole answer.

    `control`: its name in the form.  `typed`: the texts that the form holds at first.
    `may_be_empty`: an empty control means an empty value, and not an absent one."""

    name: str | None
    control: str
    label: str
    description: str
    widget: Widget
    schema: Mapping[str, Any]
    required: bool
    nullable: bool = False
    choices: Choices = ()
    typed: tuple[str, ...] = ()
    may_be_empty: bool = False


ABSENT: Final = object()
"""The property is absent, and not null."""


# --- from a schema to fields ----------------------------------------------------------------------------------------


def fields(schema: Mapping[str, Any], given: object = None) -> list[Field]:
    """The controls of an answer; `given` is a draft that they show at first.

    One control takes the whole answer as JSON if the schema names no properties, or the draft has others."""
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
        label=title if isinstance(title, str) and title.strip() else _label(name),
        description=description if isinstance(description, str) else "",
        widget=widget,
        schema=schema,
        required=required,
        nullable=nullable or None in (schema.get("enum") or ()),
        choices=choices,
        typed=typed,
        may_be_empty=_is_empty(start) or schema.get("minLength") == 0,
    )


def _label(name: str) -> str:
    """The name of a property as a label; a schema without a title has nothing better."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:] or "(no name)"


def _is_empty(start: object) -> bool:
    return start == [] or (isinstance(start, str) and not start.strip())


def _resolve(root: Mapping[str, Any], part: object) -> tuple[dict[str, Any], bool]:
    """The schema of a property without references and without null, and whether null fits too.

    Keywords beside a reference or an alternative win over those inside it."""
    schema = dict(part) if isinstance(part, dict) else {}
    nullable = False
    for _ in range(MAX_HOPS):
        if isinstance(reference := schema.pop("$ref", None), str):
            schema = {**_follow(root, reference), **schema}
        elif inner := _or_null(schema):
            schema, nullable = inner, True
        else:
            break
    types = schema.get("type")
    if isinstance(types, list) and len(types) == 2 and "null" in types:
        nullable = True
        schema["type"] = next((name for name in types if name != "null"), "null")
    return schema, nullable


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema with its first choice between one schema and null replaced by that schema; None without a choice."""
    for word in ("anyOf", "oneOf"):
        options = schema.get(word)
        if not isinstance(options, list) or not all(isinstance(option, dict) for option in options):
            continue
        others = [option for option in options if option.get("type") != "null"]
        if len(others) == 1 and len(options) == 2:
            return {**others[0], **{name: value for name, value in schema.items() if name != word}}
    return None


def _follow(root: Mapping[str, Any], reference: str) -> dict[str, Any]:
    """The schema that a reference leads to; an empty one if it leads nowhere."""
    node: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return dict(node) if isinstance(node, dict) else {}


def _widget(root: Mapping[str, Any], schema: Mapping[str, Any], start: object) -> tuple[Widget, Choices]:
    """The control of a property, and its choices."""
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


def _choices(schema: Mapping[str, Any]) -> Choices:
    """The values that an `enum` or a `const` allows, except null."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or not 0 < len(values) <= MAX_CHOICES:
        return ()
    return tuple({_key(value): value for value in values if value is not None}.items())


def _key(value: object) -> str:
    """The text that the form sends for a choice: its own text if a form can carry that, and JSON otherwise."""
    if isinstance(value, str) and value and value.isprintable() and value.strip() == value:
        return value
    return clean(dump_json(value)) if dump_json(value).isprintable() else ascii(value)


def _text_widget(schema: Mapping[str, Any], start: object) -> Widget:
    longest = schema.get("maxLength")
    short = isinstance(longest, int) and longest <= SHORT_TEXT
    bounded = longest is None and ("format" in schema or "pattern" in schema)
    one_line = not isinstance(start, str) or "\n" not in start
    return Widget.LINE if (short or bounded) and one_line else Widget.AREA


def _typed(widget: Widget, choices: Choices, start: object) -> tuple[str, ...] | None:
    """The texts with which a control shows a value; None if only JSON can show it.

    Reading these texts again gives the same value, so that an untouched draft is returned unchanged."""
    if start is ABSENT or start is None:
        return ()
    match widget:
        case Widget.JSON:
            return (pretty(start),)
        case Widget.CHOICE:
            return _chosen(choices, [start])
        case Widget.CHECKS:
            return _checked(choices, start)
        case _:
            text = _text(widget, start)
            return None if text is None else (text,)


def _text(widget: Widget, start: object) -> str | None:
    """The text with which a control that is typed into shows a value; None if only JSON can show it."""
    match widget, start:
        case Widget.LINES, list() if all(map(_is_line, start)):
            return "\n".join(start)
        case ((Widget.NUMBER | Widget.INTEGER), (int() | float())) if _is_exact(widget, start):
            return dump_json(start)
        case ((Widget.LINE | Widget.AREA), str()) if clean(start) == start and "\r" not in start:
            return start
        case _:
            return None


def _is_exact(widget: Widget, value: float) -> bool:
    """Whether the number that is read from the text of a number is the same one.  true and false are no numbers."""
    if isinstance(value, bool):
        return False
    return abs(value) <= MAX_SAFE if isinstance(value, int) else widget is Widget.NUMBER


def _checked(choices: Choices, start: object) -> tuple[str, ...] | None:
    """The boxes that are ticked; None if the value is no list of different choices."""
    found = _chosen(choices, start) if isinstance(start, list) else None
    return found if found is not None and len(set(found)) == len(found) else None


def _chosen(choices: Choices, values: Sequence[object]) -> tuple[str, ...] | None:
    """The texts that the form sends for these values; None if one of them is no choice."""
    keys = {dump_json(value): key for key, value in choices}
    found = [keys.get(dump_json(value)) for value in values]
    return tuple(key for key in found if key is not None) if None not in found else None


def _is_line(value: object) -> bool:
    """Whether a value is one line of a list of lines: reading drops empty lines and outer spaces."""
    return isinstance(value, str) and bool(value) and value.isprintable() and value.strip() == value
