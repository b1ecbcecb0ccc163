"""Taking secrets out of texts that are stored, shown or logged, in every form in which a server may repeat them."""

from __future__ import annotations

import base64
import html
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK: Final = "***"
_SHORTEST: Final = 4
"""Characters of the shortest text that is taken out.  A shorter one would also be found where it is no secret."""


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets: as they are, in a URL, in JSON, in HTML, in base 64, in hexadecimal."""
    for form in (form for secret in secrets for form in _forms(secret)):
        text = text.replace(form, MASK)
    return text


def redacted_value(value: Any, secrets: tuple[str, ...]) -> Any:
    """A JSON value without these secrets, in its texts and in its names."""
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, dict):
        return {redacted(str(name), secrets): redacted_value(part, secrets) for name, part in value.items()}
    return [redacted_value(part, secrets) for part in value] if isinstance(value, list) else value


@lru_cache(maxsize=256)
def _forms(secret: str) -> tuple[str, ...]:
    """The forms of a secret, the longest first, so that no part of a longer one stays."""
    data = secret.encode("utf-8", "replace")
    found = {secret, " ".join(secret.split()), quote(secret, safe=""), quote(secret), quote_plus(secret)}
    found |= {
        json.dumps(secret)[1:-1],
        html.escape(secret),
        data.hex(),
        data.hex().upper(),
        repr(secret)[1:-1],
    }
    if secret.startswith("whsec_"):  # the part that signs
        found.add(secret.removeprefix("whsec_"))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # In base 64, the same bytes look different at each of three places: `key:` in front of a secret moves them.
        for before in range(3):
            encoded = encode(b"\0" * before + data).decode().rstrip("=")
            found.add(encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(data)) % 3 else 0)])
    return tuple(sorted((form for form in found if len(form) >= _SHORTEST), key=len, reverse=True))
