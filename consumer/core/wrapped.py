"""Reading a JSON answer out of the wrappers that models are known to put around it.

Known are: reasoning in front of the answer, between `<think>` tags, and one code fence, with words around it.  Any
other text is left as it is, because a guess could take an example for the answer.
"""

from __future__ import annotations

import re
from typing import Any, Final

from consumer.core.errors import BadInput
from consumer.core.strictjson import parse_json

_CLOSING: Final = ("</think>", "</thinking>", "</reasoning>")
_FENCE: Final = "```"
_ONE_FENCE: Final = 3
"""The parts into which the marks of one fence divide a text: before, inside, after."""
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9_+-]{0,20}", re.ASCII)


def unwrapped(text: str) -> Any:
    """The JSON value in a text; the text itself if it holds none that is certainly the answer."""
    for candidate in _candidates(text.strip()):
        try:
            return parse_json(candidate)
        except BadInput:
            continue
    return text


def _candidates(text: str) -> list[str]:
    """The text, what follows the reasoning in it, and what stands in its only fence."""
    ends = [text.rfind(tag) + len(tag) for tag in _CLOSING if tag in text]
    after = text[max(ends) :].strip() if ends else text
    found = [text, after] if ends else [text]
    parts = after.split(_FENCE)
    if len(parts) == _ONE_FENCE:
        found.append(_without_language(parts[1]))
    elif text.startswith(_FENCE) and text.endswith(_FENCE):  # an answer that holds a fence or a tag itself
        found.append(_without_language(text[len(_FENCE) : -len(_FENCE)]))
    return found


def _without_language(fenced: str) -> str:
    return _LANGUAGE.sub("", fenced, count=1)


def json_object(text: object) -> dict[str, Any] | None:
    """The JSON object that a text consists of, after any reasoning in it; None if it is anything else."""
    found = unwrapped(text) if isinstance(text, str) and text.strip().endswith(("}", _FENCE)) else None
    return found if isinstance(found, dict) else None
