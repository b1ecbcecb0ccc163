"""Prompts of templates: plain text with placeholders, checked when a template is written and filled for each call.

`input` is always the input of the task.  `previous` is the answer of the stage before, which the first stage does not
have.  A placeholder without a default must be filled: a model would invent an answer about a text that is not there,
and the tenant would pay for it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumer.core.errors import BadInput
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOTS: Final = ("title", "description", "input", "previous")
"""The names that a placeholder can begin with."""
_WITH_FIELDS: Final = ("input", "previous")
_LITERAL: Final = ""

_TEXT: Final = r'"(?:[^"\\\n]|\\.)*+"'
_PLACEHOLDER: Final = re.compile(
    rf'\{{\{{(?!\{{)\s*+(?:({_TEXT})|(\w++)((?:\.[^\s.{{}}\[\]|"]++|\[{_TEXT}\])*+))\s*+(?:\|([^{{}}]*+))?+\}}\}}'
)
"""Group 1: a text in quotes.  Groups 2, 3, 4: a name, the path behind it, a default.  No part ever gives back what it
has matched, so that the search takes time in proportion to the prompt."""
_KEY: Final = re.compile(rf"\.([^.\[]++)|\[({_TEXT})\]")


class Unfillable(BadInput):
    """A placeholder without a default is empty for this task."""


class Placeholder(NamedTuple):
    """A place in a prompt: `{{input.name|default}}`.  `default` is None if it has none.

    `{{"text"}}` is a placeholder with the root `_LITERAL`, whose default is the text."""

    source: str
    root: str
    path: tuple[str, ...]
    default: str | None


def check_prompt(prompt: str, field: str = "prompt", *, has_previous: bool = False) -> None:
    """Refuse a placeholder that can never be filled.  Raises BadInput naming it.

    `has_previous`: every stage that uses this prompt has a stage before it."""
    for part in _parts(prompt):
        if isinstance(part, str):
            start = part.find("{{")
            if start >= 0:
                shown = part[start : start + 60]
                raise BadInput(
                    field, f'unknown placeholder {shown}: {_USE}, or {{{{"{{{{"}}}} for two braces'
                )
        elif part.root == _LITERAL:
            continue
        elif part.root not in ROOTS or (part.path and part.root not in _WITH_FIELDS):
            raise BadInput(field, f"unknown placeholder {part.source[:60]}: {_USE}")
        elif part.root == "previous" and part.default is None and not has_previous:
            raise BadInput(
                field,
                f"the first stage has no previous answer for {part.source[:60]}: give it a default, as in"
                " {{previous|none yet}}, or give a later stage a prompt of its own",
            )


_USE: Final = "use title, description, input, input.<field>, previous or previous.<field>"


def has_placeholder(prompt: str, root: str | None = None) -> bool:
    """Whether a prompt has a placeholder, or one that begins with `root`."""
    roots = {part.root for part in _parts(prompt) if isinstance(part, Placeholder)} - {_LITERAL}
    return bool(roots) if root is None else root in roots


def render(prompt: str, fields: Mapping[str, Any], *, lenient: bool = False) -> str:
    """Fill the placeholders of a prompt.

    `fields` has a value for each root, except for `previous` in a first stage.  Text goes in as it is, any other value
    as JSON.  A text that is filled in is never searched for placeholders: a task cannot show more of itself than its
    template allows.  Raises Unfillable for a placeholder that is empty and has no default; with `lenient` it becomes
    an empty text, for a reader of a call that began before its template was changed."""
    return "".join(
        part if isinstance(part, str) else _fill(part, fields, lenient=lenient) for part in _parts(prompt)
    )


def _fill(part: Placeholder, fields: Mapping[str, Any], *, lenient: bool) -> str:
    value = fields.get(part.root)
    for key in part.path:
        value = value.get(key) if isinstance(value, dict) else None
    text = "" if value is None else value if isinstance(value, str) else dump_json(value)
    if text.strip():
        return text
    if part.default is None and not lenient:
        name = part.source[2:-2].strip()
        raise Unfillable(
            name, f"is empty, and the template's prompt needs it: give it, or a default: {{{{{name}|none}}}}"
        )
    return part.default or ""


def _parts(prompt: str) -> Iterator[str | Placeholder]:
    """The texts and placeholders of a prompt, in order."""
    end = 0
    for found in _PLACEHOLDER.finditer(prompt):
        yield prompt[end : found.start()]
        end = found.end()
        quoted, root, path, default = found.groups()
        if quoted is not None:
            yield Placeholder(found[0], _LITERAL, (), _unquoted(quoted))
            continue
        keys = (key[1] or _unquoted(key[2]) for key in _KEY.finditer(path))
        yield Placeholder(found[0], root, tuple(keys), None if default is None else default.strip())
    yield prompt[end:]


def _unquoted(text: str) -> str:
    """The text between quotes, with JSON's escapes.  Another text stays as it is."""
    try:
        return str(json.loads(text))
    except ValueError:
        return text
