"""Print the SQL that restores the indexes and triggers that another tool dropped when it rebuilt a table.

    npx wrangler d1 export bizq --remote --no-data --output schema.sql
    python -m scripts.repair_schema schema.sql > repair.sql
    npx wrangler d1 execute bizq --remote --file repair.sql

The SQL also makes the changes that the missing triggers would have made in the meantime.  Columns and tables that were
dropped are gone with their values, and only a backup has those: this script then names them and fails.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from pathlib import Path
from typing import Final

from consumer.core.policy import NEVER
from consumer.store.schema.fingerprint import digest

MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "migrations"

OBJECTS: Final = """
    SELECT name, type, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL
    ORDER BY type, name
"""
COLUMNS: Final = """
    SELECT tables.name || '.' || columns.name
    FROM sqlite_master AS tables, pragma_table_xinfo(tables.name) AS columns
    WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' ORDER BY 1
"""

COUNTERS: Final = """\
UPDATE budget_periods SET
  spent_micro = deleted_micro + (SELECT COALESCE(sum(e.cost_micro), 0)
    FROM task_executions AS e, json_each(e.budgets) AS held
    WHERE e.budgets IS NOT NULL AND held.value = budget_periods.id),
  reserved_micro = (SELECT COALESCE(sum(CASE WHEN e.cost_micro IS NULL THEN e.reserved_micro END), 0)
    FROM task_executions AS e, json_each(e.budgets) AS held
    WHERE e.budgets IS NOT NULL AND held.value = budget_periods.id)"""
"""Computes again the two sums that the triggers on executions keep up to date."""

ARRIVALS: Final = f"""\
UPDATE tasks SET
  organization_id = COALESCE(
    (SELECT organization_id FROM task_templates WHERE id = tasks.template_id),
    (SELECT organization_id FROM users WHERE id = tasks.created_by)),
  run_at_ms = {NEVER}, blocked_by = 'adopt'
WHERE organization_id IS NULL AND status = 'pending' AND blocked_by IS NULL"""  # noqa: S608  # a constant number
"""Gives an organization to the tasks that other applications inserted, and lets them wait for `bizq adopt`."""


def loaded(*scripts: str) -> sqlite3.Connection:
    """Run SQL scripts in a new database in memory.  Raises sqlite3.Error if one is not valid."""
    database = sqlite3.connect(":memory:")
    for script in scripts:
        database.executescript(script)
    return database


def migrated() -> sqlite3.Connection:
    """Return a database with every migration applied."""
    return loaded(*(path.read_text() for path in sorted(MIGRATIONS.glob("*.sql"))))


def lost_columns(found: sqlite3.Connection) -> list[str]:
    """Return the columns that are missing, as `table.column`."""
    present = {name for (name,) in found.execute(COLUMNS)}
    return [name for (name,) in migrated().execute(COLUMNS) if name not in present]


def repairs(found: sqlite3.Connection) -> list[str]:
    """Return the statements that restore missing and changed indexes and triggers; none if the schema is complete."""
    present = {name: digest(sql) for name, _, sql in found.execute(OBJECTS)}
    wrong = [
        (name, kind, sql)
        for name, kind, sql in migrated().execute(OBJECTS)
        if present.get(name) != digest(sql)
    ]
    statements = []
    for name, kind, sql in wrong:
        statements += [f"DROP {kind} IF EXISTS {name}", sql]
    names = {name for name, _, _ in wrong}
    # Before the triggers exist again: they would treat these changes as edits by another application.
    first = [ARRIVALS] if "tasks_foreign_insert" in names else []
    if names & {"executions_reserve", "executions_charge", "executions_deleted"}:
        first.append(COUNTERS)
    return first + statements


def main() -> None:
    """Read the schema and print the statements that repair it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("schema", type=Path, help="the file that `wrangler d1 export --no-data` wrote")
    found = loaded(parser.parse_args().schema.read_text())
    if missing := lost_columns(found):
        sys.exit(
            f"gone with their values: {', '.join(missing)}\nrestore the database: see docs/operations.md"
        )
    for statement in repairs(found):
        print(f"{statement};")


if __name__ == "__main__":
    main()
