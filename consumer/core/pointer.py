"""JSON Pointers (RFC 6901): the place of a value in a JSON document, such as `/choices/0/message`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator

_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


def find(value: Any, pointer: str) -> Any:
    """The value at this place; None if there is none."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _checked(pointer: str) -> str:
    if not _POINTER.fullmatch(pointer):
        msg = 'must be a JSON Pointer such as /choices/0/text: "/" before each name, ~0 for ~ and ~1 for /'
        raise ValueError(msg)
    return pointer


Pointer = Annotated[str, AfterValidator(_checked)]
"""A JSON Pointer, as a field of a profile."""
