"""Settling: the end of an execution, the next state of its task and the money, in one batch."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# --- settle: an execution's end, its task's next state and the money, in one batch --------------------------------
# An execution changes only under the fence of its task (or when its task is gone); the caller reads the verdict
# from SETTLED, never from a change count, and decides again when the fence had moved.

SETTLE_EXECUTIONS: Final = Query("""
    UPDATE task_executions SET
      status = value ->> 'state', result = value ->> 'result', result_key = value ->> 'key',
      cost_micro = value ->> 'cost', cost = (value ->> 'cost') / 1000000.0, cost_source = value ->> 'source',
      usage = value ->> 'usage', reason = value ->> 'why', external_id = COALESCE(value ->> 'external', external_id),
      wake_at_ms = value ->> 'wake', resolve_by_ms = value ->> 'resolve', completed_at = value ->> 'done',
      follow_ups = 0
    FROM json_each(:rows)
    WHERE task_executions.id = value ->> 'e' AND task_executions.status IN {OPEN}
      AND COALESCE((SELECT version FROM tasks WHERE id = value ->> 't'), value ->> 'v') = value ->> 'v'
      AND (value ->> 'late' IS NULL OR note = 'late answer of execution ' || (value ->> 'late'))
""")

SETTLE_TASKS: Final = Query("""
    UPDATE tasks SET
      status = value ->> 'to', version = version + 1, last_execution = value ->> 'e', updated_at = :at,
      lease = CASE WHEN value ->> 'to' = 'running' THEN lease END, lost = 0,
      stage = value ->> 'stage', candidate = value ->> 'candidate', attempt = value ->> 'attempt',
      repairs = value ->> 'repairs', redos = value ->> 'redos', replaces = value ->> 'replaces',
      input_from = CASE WHEN value ->> 'fed' THEN value ->> 'e'
        WHEN value ->> 'stage' < stage AND value ->> 'stage' > 0 THEN (SELECT max(f.id) FROM task_executions f
          WHERE f.id BETWEEN {ids of tasks.id} AND f.stage = (value ->> 'stage') - 1 AND f.status = 'succeeded')
        ELSE input_from END,
      run_at_ms = value ->> 'run_at', reason = value ->> 'reason',
      feedback = COALESCE(value ->> 'feedback', CASE WHEN stage = value ->> 'stage'
        AND (candidate = value ->> 'candidate' OR repairs = 0) THEN feedback END)
    FROM json_each(:rows)
    WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' AND value ->> 'to' IS NOT NULL
      AND EXISTS (SELECT 1 FROM task_executions e WHERE e.id = value ->> 'e' AND e.status = value ->> 'state')
""")

# A sibling that is still open when the stage or the task has ended is asked to stop.
SETTLE_SIBLINGS: Final = Query("""
    UPDATE task_executions SET wake_at_ms = 0
    FROM json_each(:rows)
    WHERE task_executions.id BETWEEN {ids of (value ->> 't')} AND task_executions.id <> value ->> 'e'
      AND +task_executions.status IN ('waiting', 'unknown')
      AND EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' + 1
        AND tasks.last_execution = value ->> 'e')
""")

SETTLE_OUTBOX: Final = Query("""
    INSERT INTO outbox (kind, task_id, holder, due_ms)
    SELECT 'publish', value ->> 't', :holder, :due FROM json_each(:rows)
    WHERE EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' + 1
      AND tasks.last_execution = value ->> 'e')
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

SETTLED: Final = Query("""
    SELECT e.id, e.status AS state, e.cost_micro, tasks.id AS task_id, tasks.version, tasks.status, tasks.last_execution,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of e.task_id}) AS total_micro
    FROM json_each(:rows) CROSS JOIN task_executions e ON e.id = value ->> 'e' LEFT JOIN tasks ON tasks.id = e.task_id
""")

# A bill that comes after the end: believed when nothing better was known.
REBILL: Final = Query("""
    UPDATE task_executions SET cost_micro = :cost, cost = :cost / 1000000.0, cost_source = :source, usage = :usage
    WHERE id = :execution AND status NOT IN {OPEN} AND (cost_micro IS NULL OR cost_source IN ('bound', 'none')
      OR (:source = 'provider' AND cost_source IN ('declared', 'price_book')))
      AND (cost_micro IS NOT :cost OR cost_source IS NOT :source)
    RETURNING task_id
""")

# An answer that came after its execution had ended, while the task still waits at that stage: an execution of its own.
INSERT_LATE_ANSWER: Final = Query("""
    INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, stage, candidate, attempt,
      started_at, started_ms, assigned_to, note)
    SELECT :execution, late.task_id, late.execution_type, late.provider, late.profile, 'unknown', late.stage,
      late.candidate, late.attempt, late.started_at, late.started_ms, late.assigned_to,
      'late answer of execution ' || late.id
    FROM task_executions late JOIN tasks ON tasks.id = late.task_id
    WHERE late.id = :late AND tasks.version = :version AND tasks.stage = late.stage AND tasks.status NOT IN {FINISHED}
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.id = :execution)
""")

LATE_ANSWER_USED: Final = Query("""
    SELECT result, result_key FROM task_executions
    WHERE id BETWEEN {ids of :task} AND status = 'succeeded'
      AND note = 'late answer of execution ' || CAST(:late AS INTEGER)
""")
