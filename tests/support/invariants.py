"""Statements about the database that are true at every moment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from consumer.store.sql import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Database

CASES: Final = {
    "a running task of ours is named by a lease, or the sweep would never repair it": """
        SELECT id FROM tasks WHERE status = 'running' AND lease IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM leases, json_each(leases.task_ids) AS named
          WHERE leases.token = tasks.lease AND named.value = tasks.id)
    """,
    "a running execution of ours is named by a lease": """
        SELECT id FROM task_executions WHERE status = 'running' AND lease IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.token = task_executions.lease)
    """,
    "an open execution has a time of its next follow-up": """
        SELECT id FROM task_executions WHERE status IN ('waiting', 'unknown') AND wake_at_ms IS NULL
    """,
    "a waiting task waits for its newest execution": """
        SELECT tasks.id FROM tasks JOIN task_executions e
          ON e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
        WHERE tasks.status = 'waiting' AND e.status NOT IN {OPEN}
    """,
    "a task that is never due by itself names what it lacks": """
        SELECT id FROM tasks WHERE status = 'pending' AND run_at_ms >= 9007199254740990 AND blocked_by IS NULL
    """,
    "a task that we completed has its answer": """
        SELECT tasks.id FROM tasks JOIN task_executions e ON e.id = tasks.last_execution
        WHERE tasks.status = 'completed' AND (e.status <> 'succeeded' OR e.stage <> tasks.stage)
          AND NOT EXISTS (SELECT 1 FROM audit_log WHERE task_id = tasks.id AND event = 'edited')
    """,
    "an ended execution has an end, an open one has none": """
        SELECT id FROM task_executions WHERE lease IS NOT NULL AND (status IN {OPEN}) <> (completed_at IS NULL)
    """,
    "a stage uses only one answer": """
        SELECT task_id AS id FROM task_executions e JOIN tasks ON tasks.id = e.task_id
        WHERE e.status = 'succeeded' AND tasks.redos = 0 GROUP BY e.task_id, e.stage HAVING count(*) > 1
    """,
    "the counters of a budget are the sums over its executions, deleted ones too": """
        SELECT period.id FROM budget_periods AS period LEFT JOIN (
          SELECT value AS id, sum(COALESCE(e.cost_micro, 0)) AS spent,
            sum(CASE WHEN e.cost_micro IS NULL THEN e.reserved_micro ELSE 0 END) AS reserved
          FROM task_executions e, json_each(e.budgets) WHERE e.budgets IS NOT NULL GROUP BY value) AS weighed
          ON weighed.id = period.id
        WHERE period.spent_micro <> COALESCE(weighed.spent, 0) + period.deleted_micro
          OR period.reserved_micro <> COALESCE(weighed.reserved, 0)
    """,
}
STATEMENTS: Final = [Query(sql)() for sql in CASES.values()]


async def broken(database: Database) -> list[str]:
    """The statements that are not true, each with the rows that break it."""
    results = await database.batch(STATEMENTS)
    found = [
        (words, [row["id"] for row in result.rows]) for words, result in zip(CASES, results, strict=True)
    ]
    return [f"{words}: {json.dumps(ids)}" for words, ids in found if ids]


def rising(puts: Sequence[tuple[str, str, int | None]]) -> list[str]:
    """The keys of the status store for which a write had a lower version than an earlier write."""
    seen: dict[str, int] = {}
    fallen = []
    for key, value, _ in puts:
        version = json.loads(value)["version"]
        if version < seen.get(key, 0):
            fallen.append(key)
        seen[key] = version
    return fallen
