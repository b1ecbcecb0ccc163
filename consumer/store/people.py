"""What people leave on an execution besides its result."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

NOTE: Final = Query("UPDATE task_executions SET note = :note WHERE id = :execution AND note IS NULL")

LATE_ANSWER: Final = Query("""
    UPDATE task_executions SET note = :answer WHERE id = :execution AND (note IS NULL OR note NOT LIKE 'late answer%')
""")

# An answer that came after its execution had ended, while the task still waits at that stage: an execution of its own.
HARVEST: Final = Query("""
    INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, stage, candidate, attempt,
      started_at, started_ms, assigned_to, note)
    SELECT :execution, late.task_id, late.execution_type, late.provider, late.profile, 'unknown', late.stage,
      late.candidate, late.attempt, late.started_at, late.started_ms, late.assigned_to,
      'late answer of execution ' || late.id
    FROM task_executions late JOIN tasks ON tasks.id = late.task_id
    WHERE late.id = :late AND tasks.version = :version AND tasks.stage = late.stage AND tasks.status NOT IN {FINISHED}
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.id = :execution)
""")

HARVESTED: Final = Query("""
    SELECT result, result_key FROM task_executions
    WHERE id BETWEEN {ids of :task} AND status = 'succeeded'
      AND note = 'late answer of execution ' || CAST(:late AS INTEGER)
""")
