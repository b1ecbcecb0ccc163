"""A copy of all rows, and taking a database back to it as Time Travel does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from consumer.ports import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.ports import Database, Row

TABLES: Final = (
    *(
        "organizations",
        "users",
        "task_templates",
        "tasks",
        "task_executions",
        "leases",
        "budgets",
        "budget_periods",
    ),
    *("stops", "outbox", "webhooks", "dead_letters", "audit_log", "api_keys", "sqlite_sequence"),
)
GENERATED: Final = frozenset({"rank"})
"""Columns that SQLite computes."""


async def copied(database: Database) -> dict[str, Sequence[Row]]:
    """All rows of all tables."""
    results = await database.batch([Statement(f"SELECT * FROM {name}") for name in TABLES])
    return {name: result.rows for name, result in zip(TABLES, results, strict=True)}


async def restored(database: Database, copy: Mapping[str, Sequence[Row]]) -> None:
    """Take the database back to a copy, without its triggers: a restore is no write of an application."""
    (found,) = await database.batch([Statement("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")])
    await database.batch(
        [
            *(Statement(f"DROP TRIGGER {row['name']}") for row in found.rows),
            *(Statement(f"DELETE FROM {name}") for name in reversed(TABLES)),
            *(_insert(name, row) for name in TABLES for row in copy[name]),
            *(Statement(str(row["sql"])) for row in found.rows),
        ]
    )


def _insert(table: str, row: Row) -> Statement:
    columns = [name for name in row if name not in GENERATED]
    values = ", ".join(f"value ->> '{name}'" for name in columns)
    text = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM json_each(?1)"
    return Statement(text, (json.dumps([{name: row[name] for name in columns}]),))
