"""The words in a text of a server: what a person can read of it, without JSON and markup."""

from __future__ import annotations

import re
from typing import Final

_MARKS: Final = re.compile(r"\{\s*[\"'}]|\[\s*[\[{\"']|<[A-Za-z!/?]")
"""Where JSON or markup begins in a text."""


def words(text: str) -> str:
    """The text up to the first JSON or markup in it; of a web page, its title."""
    if text.lstrip().startswith("<"):
        start, end = text.find("<title>"), text.find("</title>")
        text = text[start + len("<title>") : end] if 0 <= start < end else ""
    return _MARKS.split(text, maxsplit=1)[0].rstrip(" \t\r\n-:=")
