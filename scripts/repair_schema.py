"""Print the SQL that repairs a database in which another tool has rebuilt a table of ours.

    npx wrangler d1 export bizq --remote --no-data --output schema.sql
    python -m scripts.repair_schema schema.sql > repair.sql
    npx wrangler d1 execute bizq --remote --file repair.sql

The SQL restores indexes and triggers, and makes up for the changes that the triggers have missed.  It cannot restore a
missing column or table, whose values are gone too: the script then names them and fails, and only a backup has them.
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
    SELECT held.name || '.' || columns.name FROM sqlite_master AS held, pragma_table_xinfo(held.name) AS columns
    WHERE held.type = 'table' AND held.name NOT LIKE 'sqlite_%' ORDER BY 1
"""

COUNTERS: Final = """\
UPDATE budget_periods SET
  spent_micro = (SELECT COALESCE(sum(e.cost_micro), 0) FROM task_executions AS e, json_each(e.budgets) AS held
    WHERE e.budgets IS NOT NULL AND held.value = budget_periods.id),
  reserved_micro = (SELECT COALESCE(sum(CASE WHEN e.cost_micro IS NULL THEN e.reserved_micro END), 0)
    FROM task_executions AS e, json_each(e.budgets) AS held
    WHERE e.budgets IS NOT NULL AND held.value = budget_periods.id)"""
"""Count the budget periods again, which the triggers on executions keep up to date."""

ARRIVALS: Final = f"""\
UPDATE tasks SET
  organization_id = COALESCE(
    (SELECT organization_id FROM task_templates WHERE id = tasks.template_id),
    (SELECT organization_id FROM users WHERE id = tasks.created_by)),
  run_at_ms = {NEVER}, blocked_by = 'adopt'
WHERE organization_id IS NULL AND status = 'pending' AND blocked_by IS NULL"""  # noqa: S608  # a number of ours
"""Let tasks that other applications inserted without the triggers wait until an operator adopts them."""


def loaded(*scripts: str) -> sqlite3.Connection:
    """A database in memory that these scripts have made.  Raises sqlite3.Error when they are not SQL."""
    database = sqlite3.connect(":memory:")
    for script in scripts:
        database.executescript(script)
    return database


def migrated() -> sqlite3.Connection:
    """A database in memory with the expected schema: that of the migrations."""
    return loaded(*(path.read_text() for path in sorted(MIGRATIONS.glob("*.sql"))))


def lost(found: sqlite3.Connection) -> list[str]:
    """The columns that are missing, as `table.column`."""
    there = {name for (name,) in found.execute(COLUMNS)}
    return [name for (name,) in migrated().execute(COLUMNS) if name not in there]


def repairs(found: sqlite3.Connection) -> list[str]:
    """The statements that restore missing and changed indexes and triggers; none when the schema is complete."""
    there = {name: digest(sql) for name, _, sql in found.execute(OBJECTS)}
    wrong = [
        (name, kind, sql) for name, kind, sql in migrated().execute(OBJECTS) if there.get(name) != digest(sql)
    ]
    statements = []
    for name, kind, sql in wrong:
        statements += [f"DROP {kind} IF EXISTS {name}", sql]
    names = {name for name, _, _ in wrong}
    # These come before the triggers, which would take the changes for those of another application.
    first = [ARRIVALS] if "tasks_foreign_insert" in names else []
    if names & {"executions_reserve", "executions_charge", "executions_release"}:
        first.append(COUNTERS)
    return first + statements


def main() -> None:
    """Read the schema and print the statements that repair it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("schema", type=Path, help="the file that `wrangler d1 export --no-data` has written")
    found = loaded(parser.parse_args().schema.read_text())
    if gone := lost(found):
        sys.exit(
            f"gone with their values: {', '.join(gone)}\nrestore a backup: see docs/deploy.md, Export and restore"
        )
    for statement in repairs(found):
        print(f"{statement};")


if __name__ == "__main__":
    main()
