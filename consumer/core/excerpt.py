"""A provider's words, made fit for a reason that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.core.plain import words
from consumer.core.redact import redacted

if TYPE_CHECKING:
    from consumer.core.profile import Account

_MOST: Final = 65_536
"""The most characters of a text that are read."""


def excerpt(text: object, account: Account, limit: int = 300) -> str:
    """A text of a provider, made fit for a reason: one line of at most `limit` characters, without our secrets.

    Some providers repeat the key that they refuse.  JSON and markup are left out, because a person reads it.  Empty if
    `text` is not a text."""
    if not isinstance(text, str):
        return ""
    # Before words are looked for: they may end in the middle of a secret, whose rest would no longer be found.
    clean = words(redacted(text[:_MOST], account.secrets))
    plain = "".join(c if c.isprintable() else " " for c in clean[: 4 * limit])
    # Once more: a secret with a tab in it is another text in one line.
    line = redacted(" ".join(plain.split()), account.secrets)
    return line if len(line) <= limit else line[: limit - 1] + "…"
