"""How `consumer.store.schema.expected` describes the parts of a schema."""

from __future__ import annotations

import hashlib
from typing import Final

GENERATED: Final = "(generated)"
"""The ending of the name of a generated column, which SQLite computes."""


def digest(sql: str) -> str:
    """The digest of a definition; two definitions that differ only in white space have the same one."""
    return hashlib.sha256(" ".join(sql.split()).encode()).hexdigest()[:12]
