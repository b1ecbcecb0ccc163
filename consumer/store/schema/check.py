"""Whether the database is what the promises stand on, and what the doctor asks of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from consumer.store.batch import commit
from consumer.store.schema.expected import COLUMNS, OBJECTS
from consumer.store.schema.fingerprint import GENERATED, digest
from consumer.store.sql import FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION, Query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumer.ports import Database, Entropy, Row

SCHEMA_OBJECTS: Final = Query(
    "SELECT name, sql FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql IS NOT NULL"
)
SCHEMA_COLUMNS: Final = Query(f"""
    SELECT wanted.value AS name, found.name || CASE WHEN found.hidden THEN '{GENERATED}' ELSE '' END AS column
    FROM json_each(:tables) AS wanted JOIN pragma_table_xinfo(wanted.value) AS found
""")


async def broken(database: Database, entropy: Entropy) -> list[str]:
    """What is missing or changed, in words that say what to do; an empty list when all is well.

    Raises `Unavailable`."""
    tables = json.dumps(sorted(COLUMNS))
    objects, columns = await commit(database, entropy, [SCHEMA_OBJECTS(), SCHEMA_COLUMNS(tables=tables)])
    found = {str(row["name"]): str(row["sql"]) for row in objects.rows}
    if not found.keys() & OBJECTS.keys():
        return ["the database has none of the worker's tables: apply the migrations"]
    return [*_missing_columns(columns.rows), *_wrong_objects(found)]


def _missing_columns(rows: Sequence[Row]) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(str(row["name"]), set()).add(str(row["column"]))
    for table, wanted in COLUMNS.items():
        if table not in found:
            yield f"table {table} is missing, with its rows: go back to a backup"
            continue
        for name in sorted(set(wanted.split()) - found[table]):
            yield f"column {table}.{name} is missing: another tool rebuilt its table, and only a backup has its values"


def _wrong_objects(found: Mapping[str, str]) -> Iterator[str]:
    for name, (kind, wanted) in OBJECTS.items():
        if name not in found:
            yield f"{kind} {name} is missing: another tool rebuilt its table; scripts/repair_schema.py brings it back"
        elif digest(found[name]) != wanted:
            yield f"{kind} {name} was changed; scripts/repair_schema.py brings it back"


# --- the doctor's questions: each reads a bounded number of rows, by an index ---------------------------------------

MIGRATED: Final = Query("SELECT name FROM d1_migrations")

# From one kind to the next: `budget`, `budget:1:total` and `budget:2:total` are one kind, which ends before `budget;`.
BLOCKED: Final = Query("""
    WITH RECURSIVE kinds (kind) AS (
      SELECT (SELECT substr(blocked_by, 1, instr(blocked_by || ':', ':') - 1) FROM tasks
        WHERE status = 'pending' AND blocked_by IS NOT NULL ORDER BY blocked_by LIMIT 1)
      UNION ALL
      SELECT (SELECT substr(blocked_by, 1, instr(blocked_by || ':', ':') - 1) FROM tasks
        WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by >= kinds.kind || ';' ORDER BY blocked_by LIMIT 1)
      FROM kinds WHERE kind IS NOT NULL LIMIT 50)
    SELECT kind, (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND blocked_by IS NOT NULL
      AND blocked_by >= kinds.kind AND blocked_by < kinds.kind || ';' LIMIT :most)) AS tasks
    FROM kinds WHERE kind IS NOT NULL
""")

EXPIRED: Final = Query(
    "SELECT count(*) AS leases, min(until_ms) AS since FROM leases WHERE until_ms < :cutoff"
)

BACKLOG: Final = Query("""
    SELECT count(*) AS effects, min(due_ms) AS since
    FROM (SELECT due_ms FROM outbox WHERE due_ms <= :since ORDER BY due_ms LIMIT :most)
""")

DEAD_LETTERS: Final = Query("SELECT count(*) AS letters FROM (SELECT 1 FROM dead_letters LIMIT :most)")

UNKNOWN: Final = Query("""
    SELECT count(*) AS executions, sum(reserved_micro) AS reserved, min(resolve_by_ms) AS earliest,
      count(CASE WHEN resolve_by_ms <= :late THEN 1 END) AS late
    FROM (SELECT status, reserved_micro, resolve_by_ms FROM task_executions
      WHERE status IN ('waiting', 'unknown') ORDER BY wake_at_ms LIMIT :most)
    WHERE status = 'unknown'
""")

UNPRICED: Final = Query(f"""
    SELECT count(*) AS executions, sum(reserved_micro) AS reserved
    FROM (SELECT status, cost_micro, reserved_micro FROM task_executions
      WHERE id BETWEEN {FIRST_EXECUTION} AND {FIRST_FOREIGN_EXECUTION - 1} ORDER BY id DESC LIMIT :most)
    WHERE cost_micro IS NULL AND status IN ('succeeded', 'failed', 'cancelled')
""")

# A route may be anything: another application or an older version may have written it.
LACKING_PROFILES: Final = Query("""
    SELECT CASE candidate.type WHEN 'object' THEN candidate.value ->> 'profile' END AS profile,
      count(DISTINCT template.id) AS templates, min(template.id) AS first
    FROM (SELECT id, CASE WHEN json_valid(route) THEN route ELSE '{}' END AS route FROM task_templates
        WHERE route IS NOT NULL ORDER BY id DESC LIMIT :most) AS template,
      json_each(template.route, '$.stages') AS stage,
      json_each(CASE stage.type WHEN 'object' THEN stage.value ELSE '{}' END, '$.candidates') AS candidate
    WHERE CASE candidate.type WHEN 'object' THEN candidate.value ->> 'profile' END
      NOT IN (SELECT value FROM json_each(:profiles))
    GROUP BY 1 ORDER BY 1
""")

UNHANDLED: Final = Query("""
    SELECT count(*) AS webhooks, min(received_ms) AS since FROM (
      SELECT * FROM (SELECT received_ms FROM webhooks INDEXED BY webhooks_execution
        WHERE handled_ms IS NULL AND execution_id IS NOT NULL LIMIT :most)
      UNION ALL SELECT * FROM (SELECT received_ms FROM webhooks INDEXED BY webhooks_external
        WHERE handled_ms IS NULL AND external_id IS NOT NULL AND execution_id IS NULL LIMIT :most))
    WHERE received_ms < :since
""")

TIGHT_BUDGETS: Final = Query("""
    SELECT budget.id, budget.scope, budget.scope_id, budget.period, budget.cap_micro, period.spent_micro,
      period.reserved_micro, period.ends_ms
    FROM budget_periods AS period JOIN budgets AS budget ON budget.id = period.budget_id
    WHERE period.ends_ms > :now AND period.starts_ms <= :now
      AND period.spent_micro + period.reserved_micro > budget.cap_micro * :share
    ORDER BY period.spent_micro + period.reserved_micro - budget.cap_micro DESC, budget.id LIMIT :most
""")
