"""Checks of the database: `broken` compares its schema with the expected one, the other statements are the doctor's.

The worker's promises depend on triggers, indexes and columns that another tool may drop when it rebuilds a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from consumer.store.batch import Batch
from consumer.store.schema.expected import COLUMNS, OBJECTS
from consumer.store.schema.fingerprint import GENERATED, digest
from consumer.store.sql import FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION, Query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumer.ports import Database, Entropy, Row

# Read the text of every trigger and index.
SCHEMA_OBJECTS: Final = Query(
    "SELECT name, sql FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql IS NOT NULL"
)
# Read the columns of the expected tables.  Generated columns are marked: an ORM makes ordinary ones of them.
SCHEMA_COLUMNS: Final = Query(f"""
    SELECT wanted.value AS name, found.name || CASE WHEN found.hidden THEN '{GENERATED}' ELSE '' END AS column
    FROM json_each(:tables) AS wanted JOIN pragma_table_xinfo(wanted.value) AS found
""")

RESTORE: Final = "restore a backup (docs/deploy.md, Export and restore)"
REPAIR: Final = "`python -m scripts.repair_schema` writes the statements that restore it"


async def broken(database: Database, entropy: Entropy) -> list[str]:
    """The faults of the schema, each with the next step; an empty list when it is complete.  Raises `Unavailable`."""
    batch = Batch(database, entropy)
    objects = batch.add(SCHEMA_OBJECTS())
    columns = batch.add(SCHEMA_COLUMNS(tables=json.dumps(sorted(COLUMNS))))
    results = await batch.commit()
    found = {str(row["name"]): str(row["sql"]) for row in results.rows(objects)}
    if not found.keys() & OBJECTS.keys():
        return ["the database has none of the worker's tables: apply the migrations"]
    return [*_missing_columns(results.rows(columns)), *_wrong_objects(found)]


def _missing_columns(rows: Sequence[Row]) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(str(row["name"]), set()).add(str(row["column"]))
    for table, wanted in COLUMNS.items():
        if table not in found:
            yield f"table {table} is missing, with all its rows: {RESTORE}"
            continue
        for name in sorted(set(wanted.split()) - found[table]):
            yield f"column {table}.{name} is missing, with its values: another tool rebuilt the table; {RESTORE}"


def _wrong_objects(found: Mapping[str, str]) -> Iterator[str]:
    for name, (kind, wanted) in OBJECTS.items():
        if name not in found:
            yield f"{kind} {name} is missing: another tool rebuilt its table; {REPAIR}"
        elif digest(found[name]) != wanted:
            yield f"{kind} {name} was changed; {REPAIR}"


# --- the doctor's questions: each reads a limited number of rows, by an index ---------------------------------------

# Read the names of the applied migrations, which `wrangler d1 migrations` and the local host record.
MIGRATED: Final = Query("SELECT name FROM d1_migrations")

# Ask whether SQLite may give the id of a deleted task to a new one, because another application made the table.
REUSED_IDS: Final = Query("""
    SELECT 1 AS reused FROM sqlite_master WHERE type = 'table' AND name = 'tasks' AND upper(sql) NOT LIKE '%AUTOINCREMENT%'
""")

# Count the blocked tasks of each kind.  The kind is the part of `blocked_by` before the first colon: `budget`,
# `budget:1` and `budget:operator:2` are one kind, and its range ends before `budget;`.  The recursion steps from one
# kind to the next by the index, so tasks of the same kind are not read.
BLOCKED: Final = Query("""
    WITH RECURSIVE kinds (kind) AS (
      SELECT (SELECT substr(blocked_by, 1, instr(blocked_by || ':', ':') - 1) FROM tasks
        WHERE status = 'pending' AND blocked_by IS NOT NULL ORDER BY blocked_by LIMIT 1)
      UNION ALL
      SELECT (SELECT substr(blocked_by, 1, instr(blocked_by || ':', ':') - 1) FROM tasks
        WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by >= kinds.kind || ';' ORDER BY blocked_by LIMIT 1)
      FROM kinds WHERE kind IS NOT NULL LIMIT 50)
    SELECT kind, (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND blocked_by IS NOT NULL
      AND blocked_by >= kinds.kind AND blocked_by < kinds.kind || ';' LIMIT :limit)) AS tasks
    FROM kinds WHERE kind IS NOT NULL
""")

_DUE = "SELECT run_at_ms FROM tasks WHERE status = 'pending' AND rank = {rank} AND run_at_ms <= :now ORDER BY run_at_ms LIMIT 1"
# Read when cron last worked, when the oldest due task became due, how many workers hold tasks, and when the newest
# executions began.
ALIVE: Final = Query(f"""
    SELECT (SELECT at_ms FROM heartbeats WHERE name = 'tick') AS ticked,
      (SELECT min(run_at_ms) FROM ({" UNION ALL ".join(f"SELECT * FROM ({_DUE.replace('{rank}', str(rank))})" for rank in range(4))})) AS due,
      (SELECT count(*) FROM (SELECT 1 FROM leases WHERE until_ms >= :now LIMIT 100)) AS leases,
      (SELECT max(started_ms) FROM (SELECT started_ms FROM task_executions
        WHERE id BETWEEN {FIRST_EXECUTION} AND {FIRST_FOREIGN_EXECUTION - 1} ORDER BY id DESC LIMIT 1000)) AS started
""")

# Count, among the newest executions of ours, those that began since :since and failed, by profile and by the code of the
# reason.  People who decline are no failures.
FAILURES: Final = Query(f"""
    SELECT profile, substr(reason, 1, min(instr(reason || ':', ':'), instr(reason || ' ', ' ')) - 1) AS code,
      count(*) AS failures
    FROM (SELECT profile, provider, status, started_ms, COALESCE(reason, 'unknown') AS reason FROM task_executions
      WHERE id BETWEEN {FIRST_EXECUTION} AND {FIRST_FOREIGN_EXECUTION - 1} ORDER BY id DESC LIMIT :limit)
    WHERE status = 'failed' AND started_ms >= :since AND provider IS NOT 'inbox'
    GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 20
""")

# Count the tasks that another application has set to running.
TAKEN: Final = Query("""
    SELECT count(*) AS tasks, min(run_at_ms) AS since
    FROM (SELECT run_at_ms FROM tasks
      WHERE status = 'running' AND lease IS NULL AND blocked_by IS NULL AND run_at_ms < :never ORDER BY run_at_ms LIMIT :limit)
""")

# Count the leases that the sweep should have handled by now.
EXPIRED: Final = Query(
    "SELECT count(*) AS leases, min(until_ms) AS since FROM leases WHERE until_ms < :cutoff"
)

# Count the rows of the outbox that should have been handled by now.
BACKLOG: Final = Query("""
    SELECT count(*) AS effects, min(due_ms) AS since
    FROM (SELECT due_ms FROM outbox WHERE due_ms <= :since ORDER BY due_ms LIMIT :limit)
""")

# Count the dead letters.
DEAD_LETTERS: Final = Query("SELECT count(*) AS letters FROM (SELECT 1 FROM dead_letters LIMIT :limit)")

# Count the executions of unknown outcome, with the money that they reserve, and those whose time is over.  The inner
# condition is that of the index `executions_wake`.
UNKNOWN: Final = Query("""
    SELECT count(*) AS executions, sum(reserved_micro) AS reserved, min(resolve_by_ms) AS earliest,
      count(CASE WHEN resolve_by_ms <= :late THEN 1 END) AS late
    FROM (SELECT status, reserved_micro, resolve_by_ms FROM task_executions
      WHERE status IN ('waiting', 'unknown') ORDER BY wake_at_ms LIMIT :limit)
    WHERE status = 'unknown'
""")

# Count, among the newest executions of ours, the ended ones without a cost, with the money that they reserve.
WITHOUT_COST: Final = Query(f"""
    SELECT count(*) AS executions, sum(reserved_micro) AS reserved
    FROM (SELECT status, cost_micro, reserved_micro FROM task_executions
      WHERE id BETWEEN {FIRST_EXECUTION} AND {FIRST_FOREIGN_EXECUTION - 1} ORDER BY id DESC LIMIT :limit)
    WHERE cost_micro IS NULL AND status IN ('succeeded', 'failed', 'cancelled')
""")

# Find the profiles that routes of templates name and this deployment lacks.  A route may hold any text, because another
# application or an older version may have written it; a part that is no object is skipped.
LACKING_PROFILES: Final = Query("""
    SELECT CASE candidate.type WHEN 'object' THEN candidate.value ->> 'profile' END AS profile,
      count(DISTINCT template.id) AS templates, min(template.id) AS first
    FROM (SELECT id, CASE WHEN json_valid(route) THEN route ELSE '{}' END AS route FROM task_templates
        WHERE route IS NOT NULL ORDER BY id DESC LIMIT :limit) AS template,
      json_each(template.route, '$.stages') AS stage,
      json_each(CASE stage.type WHEN 'object' THEN stage.value ELSE '{}' END, '$.candidates') AS candidate
    WHERE CASE candidate.type WHEN 'object' THEN candidate.value ->> 'profile' END
      NOT IN (SELECT value FROM json_each(:profiles))
    GROUP BY 1 ORDER BY 1
""")

# List the models that the candidates of the newest :limit templates name, by their profiles, each with the first template.
MODELS: Final = Query("""
    SELECT CASE candidate.type WHEN 'object' THEN candidate.value ->> 'profile' END AS profile,
      CASE candidate.type WHEN 'object' THEN candidate.value ->> '$.settings.model' END AS model, min(template.id) AS first
    FROM (SELECT id, CASE WHEN json_valid(route) THEN route ELSE '{}' END AS route FROM task_templates
        WHERE route IS NOT NULL ORDER BY id DESC LIMIT :limit) AS template,
      json_each(template.route, '$.stages') AS stage,
      json_each(CASE stage.type WHEN 'object' THEN stage.value ELSE '{}' END, '$.candidates') AS candidate
    GROUP BY 1, 2 HAVING profile IS NOT NULL AND model IS NOT NULL ORDER BY 1, 2
""")

# Count the webhooks that have not been handled since :since.  The two parts use one index each: webhooks that name an
# execution, and webhooks that name only the provider's id.
UNHANDLED: Final = Query("""
    SELECT count(*) AS webhooks, min(received_ms) AS since FROM (
      SELECT * FROM (SELECT received_ms FROM webhooks INDEXED BY webhooks_execution
        WHERE handled_ms IS NULL AND execution_id IS NOT NULL LIMIT :limit)
      UNION ALL SELECT * FROM (SELECT received_ms FROM webhooks INDEXED BY webhooks_external
        WHERE handled_ms IS NULL AND external_id IS NOT NULL AND execution_id IS NULL LIMIT :limit))
    WHERE received_ms < :since
""")

# Read the budgets that are full to more than :share in their current period, those furthest over their cap first.
TIGHT_BUDGETS: Final = Query("""
    SELECT budget.id, budget.scope, budget.scope_id, budget.period, budget.cap_micro, period.spent_micro,
      period.reserved_micro, period.ends_ms
    FROM budget_periods AS period JOIN budgets AS budget ON budget.id = period.budget_id
    WHERE period.open = 1 AND period.ends_ms > :now AND period.starts_ms <= :now
      AND period.spent_micro + period.reserved_micro > budget.cap_micro * :share
    ORDER BY period.spent_micro + period.reserved_micro - budget.cap_micro DESC, budget.id LIMIT :limit
""")
