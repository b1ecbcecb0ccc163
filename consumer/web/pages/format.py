"""JSON values and times, formatted for people."""

from __future__ import annotations

import json
from typing import Any, Final

from consumer.core.errors import BadInput
from consumer.core.strictjson import clean, dump_json
from consumer.core.times import iso
from consumer.web.pages.markup import Markup, element

MAX_NAMES: Final = 100
"""An object with more names than this is shown as JSON."""
LAST_DAY_MS: Final = 253_402_300_799_000
"""The last second of the year 9999."""


def pretty(value: object) -> str:
    """JSON with indentation; a value that is nested too deeply for that is written on one line."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2)
        return text if clean(text) == text else json.dumps(value, indent=2)
    except RecursionError:
        pass
    try:
        return dump_json(value)
    except BadInput:
        return '"too deeply nested to show"'


def shown(value: Any) -> Markup:
    """A value: text as text, an object as a list of its names, everything else as JSON."""
    if isinstance(value, dict) and 0 < len(value) <= MAX_NAMES:
        pairs = [
            (element("dt", name, dir="auto"), element("dd", _inner(part))) for name, part in value.items()
        ]
        return element("dl", *pairs)
    return _inner(value)


def _inner(value: Any) -> Markup:
    if isinstance(value, str):
        return element("div", value or "(empty)", class_="text", dir="auto")
    if isinstance(value, bool) or value is None:
        return element("div", {True: "yes", False: "no", None: "(nothing)"}[value])
    if isinstance(value, int | float):
        return element("div", dump_json(value))
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return element("ul", *(element("li", item, dir="auto") for item in value))
    return element("pre", pretty(value), dir="auto")


def moment(ms: int) -> Markup:
    """A time, to the minute."""
    exact = iso(max(0, min(ms, LAST_DAY_MS)))
    return element("time", f"{exact[:10]} {exact[11:16]} UTC", datetime=exact)
