"""How the schema is written down in `consumer.store.expected`."""

from __future__ import annotations

import hashlib
from typing import Final

GENERATED: Final = "(generated)"
"""How the name of a column ends that SQLite computes."""


def digest(sql: str) -> str:
    """A short name for a definition, whatever its white space."""
    return hashlib.sha256(" ".join(sql.split()).encode()).hexdigest()[:12]
