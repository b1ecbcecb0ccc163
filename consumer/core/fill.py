"""Filling the placeholders of a request that a profile describes: `{{prompt}}` in a JSON value, a path or a header.

A text that is just one placeholder becomes the value itself, with its type.  Such a field of an object, or item of a
list, is left out when there is no value.  Within other text a value is written as text.  A value is never searched for
placeholders, so no task can reach another one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Values = Callable[[str], Any]
    """The value of a name; None if there is none."""

_PLACEHOLDER: Final = re.compile(r"\{\{\s*+([a-zA-Z0-9_.-]++)\s*+\}\}", re.ASCII)


def fill(template: Any, values: Values) -> Any:
    """The value that a template describes; None if it is one placeholder without a value."""
    if isinstance(template, str):
        whole = _PLACEHOLDER.fullmatch(template)
        return values(whole[1]) if whole else fill_text(template, values)
    if isinstance(template, dict):
        filled = {name: (part, fill(part, values)) for name, part in template.items()}
        return {name: made for name, (part, made) in filled.items() if made is not None or part is None}
    if isinstance(template, list):
        made = [(part, fill(part, values)) for part in template]
        return [value for part, value in made if value is not None or part is None]
    return template


def fill_text(template: str, values: Values) -> str:
    """The text that a template describes."""
    return _PLACEHOLDER.sub(lambda found: _text(values(found[1])), template)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dump_json(value)


def names_in(template: Any) -> set[str]:
    """The names of all placeholders."""
    return {name for _, text in texts_in(template) for name in _PLACEHOLDER.findall(text)}


def texts_in(template: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """The texts of a template, each with its place, which begins with `field`."""
    if isinstance(template, str):
        yield field, template
    elif isinstance(template, dict):
        for name, part in template.items():
            yield from texts_in(part, f"{field}.{name}")
    elif isinstance(template, list):
        for index, part in enumerate(template):
            yield from texts_in(part, f"{field}[{index}]")


def without_placeholders(text: str) -> str:
    """The rest of a text: two braces in it show a placeholder that is written wrongly."""
    return _PLACEHOLDER.sub("", text)
