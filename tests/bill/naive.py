"""The usage of the same work in a naive implementation, by D1's own counts.

Naive means: a message for each task, delivered alone; `tasks` with an index on (status, created_at) and
`task_executions` with one on task_id; each state change (claimed, begun, ended, completed) is a statement and a
round trip of its own, and each change of the task's status is also a KV write and a log line.
"""

from __future__ import annotations

from typing import Final

from tests.bill.usage import Usage
from tests.workerd.tables import Tables

SCHEMA: Final = (
    "CREATE TABLE naive_tasks (id INTEGER PRIMARY KEY, template_id INTEGER, title TEXT, status TEXT, created_at TEXT)",
    "CREATE INDEX naive_tasks_status ON naive_tasks (status, created_at)",
    "CREATE TABLE naive_executions (id INTEGER PRIMARY KEY, task_id INTEGER, status TEXT, result TEXT, cost NUMERIC)",
    "CREATE INDEX naive_executions_task ON naive_executions (task_id)",
    "CREATE TABLE naive_templates (id INTEGER PRIMARY KEY, prompt TEXT)",
    "INSERT INTO naive_templates VALUES (1, 'Answer.')",
)
NEW: Final = "INSERT INTO naive_tasks VALUES (NULL, 1, 't', 'pending', '') RETURNING id"
CHANGES: Final = (
    "SELECT * FROM naive_tasks WHERE id = ?1",
    "SELECT * FROM naive_templates WHERE id = (SELECT template_id FROM naive_tasks WHERE id = ?1)",
    "UPDATE naive_tasks SET status = 'running' WHERE id = ?1 AND status = 'pending'",
    "INSERT INTO naive_executions (task_id, status) VALUES (?1, 'running')",
    "UPDATE naive_executions SET status = 'succeeded', result = '{}', cost = 0 WHERE task_id = ?1",
    "UPDATE naive_tasks SET status = 'completed' WHERE id = ?1",
)
KV_WRITES: Final = 2
"""running, completed."""


def measure(database: Tables, count: int = 20) -> Usage:
    """Run it, and return the mean for a task, without CPU, which would be that of this worker."""
    for sql in SCHEMA:
        database.run(sql)
    read = written = 0
    for _ in range(count):
        (row,) = database.run(NEW)
        for sql in CHANGES:
            meta = database.full(sql, row["id"])["meta"]
            read += meta["rows_read"]
            written += meta["rows_written"]
    return Usage(
        rows_written=written / count,
        rows_read=read / count,
        kv_writes=KV_WRITES,
        queue_operations=3,
        requests=1,
        log_events=KV_WRITES + 1,
        trips=len(CHANGES),
        fetches=1,
        subrequests=len(CHANGES) + KV_WRITES + 1,
    )
