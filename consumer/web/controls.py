"""The controls of a form: each with its label, its hint and what is wrong with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from consumer.web.answers import is_number
from consumer.web.forms import MAX_SAFE, Field, Widget
from consumer.web.markup import Markup, Part, element
from consumer.web.showing import pretty

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RADIOS: Final = 6
"""More choices than this are a list to open."""
_TYPES: Final = {"date": "date", "email": "email", "uri": "url"}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_EXAMPLES: Final = {
    "date-time": "A date and time like 2026-11-21T10:00:00Z.",
    "time": "A time like 10:00:00Z.",
    "date": "A date like 2026-11-21.",
}


def control(field: Field, identity: str, values: Sequence[str], wrong: str | None) -> Markup:
    """A field with what was typed into it."""
    hints = hint(field)
    described = " ".join(
        each for each in (f"{identity}-hint" if hints else "", f"{identity}-error" if wrong else "") if each
    )
    notes = (
        element("p", hints, class_="hint", id=f"{identity}-hint", dir="auto") if hints else None,
        element("p", f"Error: {wrong}", class_="error", id=f"{identity}-error") if wrong else None,
    )
    name: Part = [
        element("span", field.label, dir="auto"),
        None if field.required else " (may be left out)",
    ]
    class_ = "field wrong" if wrong else "field"
    grouped = field.widget is Widget.CHECKS or (
        field.widget is Widget.CHOICE and len(field.choices) <= RADIOS
    )
    if grouped:
        options = _options(field, identity, values)
        # What links to the group leads to its first option.
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
        "required": _must(field),
    }
    label = element("label", name, for_=identity)
    return element("div", label, notes, _single(field, values[0] if values else "", common), class_=class_)


def _must(field: Field) -> bool:
    """Whether a browser may insist on something being typed."""
    if field.widget is Widget.LINES:
        return field.required and bool(field.schema.get("minItems"))
    return field.required and not field.nullable and not field.may_be_empty


def _options(field: Field, identity: str, values: Sequence[str]) -> list[Markup]:
    checks = field.widget is Widget.CHECKS
    choices = [(key, _words(value)) for key, value in field.choices]
    if not checks and not _must(field):
        choices.append(("", "No answer"))
    chosen = set(values) or ({""} if not checks and not _must(field) else set())
    return [
        option(
            field.control,
            key,
            words,
            identity if number == 0 else f"{identity}-{number}",
            kind="checkbox" if checks else "radio",
            checked=key in chosen,
            required=not checks and _must(field),
        )
        for number, (key, words) in enumerate(choices)
    ]


def option(  # an option has this many parts
    name: str,
    key: str,
    words: str,
    identity: str,
    *,
    kind: str = "radio",
    checked: bool = False,
    required: bool = False,
) -> Markup:
    """A radio button or a box to tick, with its words."""
    typed = element("input", type=kind, name=name, value=key, id=identity, checked=checked, required=required)
    return element("div", typed, element("label", words, for_=identity, dir="auto"), class_="option")


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return value if isinstance(value, str) and value.strip() else pretty(value)


def _single(field: Field, typed: str, common: Mapping[str, Any]) -> Markup:
    schema = field.schema
    match field.widget:
        case Widget.CHOICE:
            choices = [
                ("", "Choose" if _must(field) else "No answer"),
                *((k, _words(v)) for k, v in field.choices),
            ]
            options = [element("option", words, value=key, selected=key == typed) for key, words in choices]
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
    """What the schema says of a field, in words."""
    schema = field.schema
    said = [field.description.strip()]
    if field.widget in (Widget.LINE, Widget.AREA):
        said.append(_EXAMPLES.get(str(schema.get("format")), ""))
        said.append(_range(schema.get("minLength") or None, schema.get("maxLength"), "characters"))
    if field.widget in (Widget.INTEGER, Widget.NUMBER):
        said.append(_range(schema.get("minimum"), schema.get("maximum"), ""))
    if field.widget in (Widget.LINES, Widget.CHECKS):
        said.append("One on each line." if field.widget is Widget.LINES else "Choose all that apply.")
        said.append(_range(schema.get("minItems") or None, schema.get("maxItems"), "of them"))
    if field.widget is Widget.JSON and field.name is not None:
        said.append("As JSON.")
    said = [each for each in said if each]
    if len(said) > 1 and said[0] == field.description.strip() and said[0][-1].isalnum():
        said[0] += "."
    return " ".join(said)


def _range(least: object, most: object, of: str) -> str:
    bounds = [(least, "at least"), (most, "at most")]
    said = [f"{words} {bound}" for bound, words in bounds if isinstance(bound, int | float)]
    return f"{' and '.join(said)} {of}".strip().capitalize() + "." if said else ""
