"""The controls of a form: each with its label, its hint and its error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from consumer.web.pages.answers import is_number
from consumer.web.pages.fields import MAX_SAFE, Field, Widget
from consumer.web.pages.format import pretty
from consumer.web.pages.markup import Markup, Part, element

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RADIOS: Final = 6
"""More choices than this become a drop-down list."""
_TYPES: Final = {"date": "date", "email": "email", "uri": "url"}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_EXAMPLES: Final = {
    "date-time": "A date and time like 2026-11-21T10:00:00Z.",
    "time": "A time like 10:00:00Z.",
    "date": "A date like 2026-11-21.",
}


def control(field: Field, identity: str, values: Sequence[str], wrong: str | None) -> Markup:
    """The control of a field, with the values that were typed and the error, if there is one."""
    hints = hint(field)
    described = " ".join(
        note for note in (f"{identity}-hint" if hints else "", f"{identity}-error" if wrong else "") if note
    )
    notes = (
        element("p", hints, class_="hint", id=f"{identity}-hint", dir="auto") if hints else None,
        element("p", f"Error: {wrong}", class_="error", id=f"{identity}-error") if wrong else None,
    )
    name: Part = [
        element("span", field.label, dir="auto"),
        None if field.required else " (optional)",
    ]
    class_ = "field wrong" if wrong else "field"
    grouped = field.widget is Widget.CHECKS or (
        field.widget is Widget.CHOICE and len(field.choices) <= RADIOS
    )
    if grouped:
        options = _options(field, identity, values)
        # A link to the field leads to its first option, which has the field's id.
        return element(
            "fieldset",
            element("legend", name),
            notes,
            options,
            class_=class_,
            aria_describedby=described or None,
        )
    common = {
        "id": identity,
        "name": field.control,
        "aria_describedby": described or None,
        "aria_invalid": "true" if wrong else None,
        "required": _is_demanded(field),
    }
    label = element("label", name, for_=identity)
    return element("div", label, notes, _single(field, values[0] if values else "", common), class_=class_)


def _is_demanded(field: Field) -> bool:
    """Whether the browser should demand a value."""
    if field.widget is Widget.LINES:
        return field.required and bool(field.schema.get("minItems"))
    return field.required and not field.nullable and not field.may_be_empty


def _options(field: Field, identity: str, values: Sequence[str]) -> list[Markup]:
    checks = field.widget is Widget.CHECKS
    choices = [(key, _label(value)) for key, value in field.choices]
    if not checks and not _is_demanded(field):
        choices.append(("", "No answer"))
    chosen = set(values) or ({""} if not checks and not _is_demanded(field) else set())
    return [
        option(
            field.control,
            key,
            label,
            identity if number == 0 else f"{identity}-{number}",
            kind="checkbox" if checks else "radio",
            checked=key in chosen,
            required=not checks and _is_demanded(field),
        )
        for number, (key, label) in enumerate(choices)
    ]


def option(  # an option has this many parts
    name: str,
    key: str,
    label: str,
    identity: str,
    *,
    kind: str = "radio",
    checked: bool = False,
    required: bool = False,
) -> Markup:
    """A radio button or a checkbox, with its label."""
    typed = element("input", type=kind, name=name, value=key, id=identity, checked=checked, required=required)
    return element("div", typed, element("label", label, for_=identity, dir="auto"), class_="option")


def _label(value: object) -> str:
    """The label of a choice."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return value if isinstance(value, str) and value.strip() else pretty(value)


def _single(field: Field, typed: str, common: Mapping[str, Any]) -> Markup:
    schema = field.schema
    match field.widget:
        case Widget.CHOICE:
            choices = [
                ("", "Choose" if _is_demanded(field) else "No answer"),
                *((key, _label(value)) for key, value in field.choices),
            ]
            options = [element("option", label, value=key, selected=key == typed) for key, label in choices]
            return element("select", *options, **common)
        case Widget.INTEGER | Widget.NUMBER:
            step = "1" if field.widget is Widget.INTEGER else "any"
            bounds = {name: _bound(schema, of) for name, of in (("min", "minimum"), ("max", "maximum"))}
            if typed and not is_number(typed):  # a browser would show nothing
                return element("input", type="text", inputmode="decimal", value=typed, **common)
            return element("input", type="number", step=step, value=typed, **bounds, **common)
        case Widget.LINE:
            kind = _TYPES.get(str(schema.get("format")), "text")
            kind = "text" if kind == "date" and typed and not _DATE.fullmatch(typed) else kind
            return element("input", type=kind, value=typed, dir="auto" if kind == "text" else None, **common)
        case _:
            rows = str(max(3, min(25, typed.count("\n") + 2)))
            code = field.widget is Widget.JSON
            return element(
                "textarea", typed, rows=rows, spellcheck="false" if code else None, dir="auto", **common
            )


def _bound(schema: Mapping[str, Any], name: str) -> str | None:
    bound = schema.get(name)
    known = isinstance(bound, int | float) and not isinstance(bound, bool) and abs(bound) <= MAX_SAFE
    return str(bound) if known else None


def hint(field: Field) -> str:
    """The limits and the format of a field, in words."""
    schema = field.schema
    description = field.description.strip()
    hints = [description]
    if field.widget in (Widget.LINE, Widget.AREA):
        hints.append(_EXAMPLES.get(str(schema.get("format")), ""))
        hints.append(
            _range(
                schema.get("minLength") or None,
                schema.get("maxLength"),
                one="character",
                several="characters",
            )
        )
    if field.widget in (Widget.INTEGER, Widget.NUMBER):
        hints.append(_range(schema.get("minimum"), schema.get("maximum")))
    if field.widget in (Widget.LINES, Widget.CHECKS):
        hints.append("One entry per line." if field.widget is Widget.LINES else "Choose all that apply.")
        hints.append(
            _range(schema.get("minItems") or None, schema.get("maxItems"), one="entry", several="entries")
        )
    if field.widget is Widget.JSON and field.name is not None:
        hints.append("As JSON.")
    hints = [text for text in hints if text]
    if len(hints) > 1 and hints[0] == description and description[-1].isalnum():
        hints[0] += "."
    return " ".join(hints)


def _range(least: object, most: object, *, one: str = "", several: str = "") -> str:
    """The bounds of a number, or of how many there may be of something, as a sentence."""
    bounds = [
        (bound, words) for bound, words in ((least, "at least"), (most, "at most")) if _is_number(bound)
    ]
    if not bounds:
        return ""
    last, _ = bounds[-1]
    noun = one if last == 1 else several
    return f"{' and '.join(f'{words} {bound}' for bound, words in bounds)} {noun}".strip().capitalize() + "."


def _is_number(bound: object) -> bool:
    return isinstance(bound, int | float) and not isinstance(bound, bool)
