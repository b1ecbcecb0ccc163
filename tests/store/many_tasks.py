"""A database with many tasks, for tests of what a statement costs."""

from __future__ import annotations

from functools import cache
from typing import Final

from consumer.core.policy import NEVER
from consumer.local.database import SqliteDatabase
from consumer.local.migrate import apply
from consumer.ports import Statement
from consumer.store.sql import Query
from tests.schema.databases import MIGRATIONS, on_sqlite

START: Final = 1_700_000_000_000


TASKS: Final = f"""
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :size)
    INSERT INTO tasks (template_id, title, idempotency_key, organization_id, priority, run_at_ms, blocked_by)
    SELECT 1, 'Task ' || n, 'key ' || n,
      CASE n % 4 WHEN 0 THEN 7 ELSE 1 + n / 4 % 10000 END,
      CASE n % 4 WHEN 2 THEN 'urgent' END,
      CASE n % 4 WHEN 3 THEN {NEVER} ELSE {START} + 100000000 * (1 + n % 4) + n END,
      CASE n % 4 WHEN 3 THEN 'budget:' || (10 + n / 4 % 10) || char(58) || 'total' END
    FROM numbers
"""

EXECUTIONS: Final = """
    INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, cost_micro, wake_at_ms)
    SELECT 1099511627776 + id * 1024 + 1, id, 'ai', 'echo', 'echo', 'succeeded', 5, 1 FROM tasks
"""


BUDGETS: Final = """
    INSERT INTO budgets (id, organization_id, scope, scope_id, period, cap_micro)
    SELECT value, 1, 'organization', 1 + value, 'total', 0 FROM json_each('[10,11,12,13,14,15,16,17,18,19]')
"""

PERIODS: Final = f"""
    INSERT INTO budget_periods (id, budget_id, starts_ms, ends_ms)
    SELECT id || char(58) || 'total', id, 0, {NEVER} FROM budgets
"""
"""The periods that block some of the tasks, without room."""


WEBHOOKS: Final = """
    INSERT INTO webhooks (profile, event_id, execution_id, external_id, received_ms, handled_ms, body)
    SELECT 'echo', id, id, id, 1, 2, '{}' FROM tasks WHERE id % 10 = 0
"""


@cache
def database(size: int) -> SqliteDatabase:
    """A database with `size` tasks of 10,000 organizations, each with an ended execution, some with a webhook.

    One quarter belongs to one organization, one to all others, one is urgent, and one is blocked by a budget.  Indexes
        and triggers are created last, which is ten times faster."""
    made = SqliteDatabase(":memory:")
    apply(made, MIGRATIONS)
    sql = on_sqlite(made)
    objects = sql.run(
        "SELECT type, name, sql FROM sqlite_master WHERE tbl_name IN ('tasks', 'task_executions') AND sql IS NOT NULL"
        " AND type IN ('trigger', 'index')"
    )
    sql.send(*(Statement(f"DROP {row['type']} {row['name']}") for row in objects))
    sql.run("INSERT INTO organizations (id, name) VALUES (1, 'one')")
    sql.run("INSERT INTO task_templates (id, organization_id, name, route) VALUES (1, 1, 'template', '{}')")
    sql.send(Query(TASKS)(size=size), *map(Statement, (EXECUTIONS, BUDGETS, PERIODS, WEBHOOKS)))
    sql.send(*(Statement(row["sql"]) for row in objects))
    return made
