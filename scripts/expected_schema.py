"""Write consumer/store/schema/expected.py: the objects and columns that every migrated database must have."""

from __future__ import annotations

import sqlite3
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from consumer.store.schema.fingerprint import GENERATED, digest  # noqa: E402  # the path must be set first

if TYPE_CHECKING:
    from collections.abc import Iterable

MIGRATIONS = ROOT / "migrations"
TARGET = ROOT / "consumer" / "store" / "schema" / "expected.py"

OBJECTS = """
    SELECT name, type, sql FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql IS NOT NULL ORDER BY name
"""
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
COLUMNS = "SELECT name, hidden FROM pragma_table_xinfo(?) ORDER BY name"

HEAD = '''\
"""Made by scripts/expected_schema.py from migrations/: what a migrated database holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
'''


def module() -> str:
    """Return the text of the module."""
    files = sorted(MIGRATIONS.glob("*.sql"))
    database = sqlite3.connect(":memory:")
    for path in files:
        database.executescript(path.read_text())
    objects = [
        f'"{name}": ("{kind}", "{digest(sql)}")' for name, kind, sql in database.execute(OBJECTS).fetchall()
    ]
    columns = [f'"{name}": {_columns(database, name)}' for (name,) in database.execute(TABLES).fetchall()]
    database.close()
    return (
        HEAD
        + _block("MIGRATIONS: Final = (", [f'"{path.name}"' for path in files], ")")
        + _block("OBJECTS: Final[Mapping[str, tuple[str, str]]] = {", objects, "}")
        + '"""Indexes and triggers: name -> kind, digest of the definition."""\n'
        + _block("COLUMNS: Final[Mapping[str, str]] = {", columns, "}")
        + '"""Tables: name -> their columns."""\n'
    )


def _columns(database: sqlite3.Connection, table: str) -> str:
    """Return the names of a table's columns as text, wrapped to the length of a line."""
    names = [name + (GENERATED if hidden else "") for name, hidden in database.execute(COLUMNS, (table,))]
    indent = " " * 8
    body = textwrap.fill(" ".join(names), 105, initial_indent=indent, subsequent_indent=indent)
    return f'"""\n{body}\n    """'


def _block(opening: str, entries: Iterable[str], closing: str) -> str:
    return "\n".join(["", opening, *(f"    {entry}," for entry in entries), closing, ""])


if __name__ == "__main__":
    TARGET.write_text(module())
