"""Settling: the end of an execution, the next state of its task and the money, in one batch.

An execution changes only under the fence of its task, or when its task is gone, and only if it is the one that began under
the lease that the caller names: after a deletion or a restore, another one may have its id.  The caller reads the verdict from
SETTLED, never from a change count: a batch that is sent twice changes nothing the second time.
"""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Write the outcome, the cost and the next wake time of open executions whose tasks have the expected version.
SETTLE_EXECUTIONS: Final = Query("""
    UPDATE task_executions SET
      status = value ->> 'state', result = value ->> 'result', result_key = value ->> 'result_key',
      cost_micro = value ->> 'cost_micro', cost = (value ->> 'cost_micro') / 1000000.0,
      cost_source = value ->> 'cost_source', usage = value ->> 'usage', reason = value ->> 'reason',
      external_id = COALESCE(value ->> 'external_id', external_id), wake_at_ms = value ->> 'wake_at_ms',
      resolve_by_ms = value ->> 'resolve_by_ms', completed_at = value ->> 'completed_at', follow_ups = 0
    FROM json_each(:rows)
    WHERE task_executions.id = value ->> 'execution' AND task_executions.lease IS value ->> 'lease'
      AND task_executions.status IN {OPEN}
      AND COALESCE((SELECT version FROM tasks WHERE id = value ->> 'task'), value ->> 'version') = value ->> 'version'
      AND (value ->> 'late_of' IS NULL OR note = 'late answer of execution ' || (value ->> 'late_of'))
""")

# Move the tasks of these executions.  A step back to an earlier stage takes its input from the stage before that one.
# Feedback stays while the stage stays, except feedback about an answer of a candidate that was given up.
SETTLE_TASKS: Final = Query("""
    UPDATE tasks SET
      status = value ->> 'status', version = version + 1, last_execution = value ->> 'execution', updated_at = :at,
      lease = CASE WHEN value ->> 'status' = 'running' THEN lease END, lost_leases = 0,
      stage = value ->> 'stage', candidate = value ->> 'candidate', attempt = value ->> 'attempt',
      repairs = value ->> 'repairs', redos = value ->> 'redos', replaces = value ->> 'replaces',
      input_from = CASE WHEN value ->> 'feeds_next' THEN value ->> 'execution'
        WHEN value ->> 'stage' < stage AND value ->> 'stage' > 0 THEN (SELECT max(f.id) FROM task_executions f
          WHERE f.id BETWEEN {ids of tasks.id} AND f.stage = (value ->> 'stage') - 1 AND f.status = 'succeeded')
        ELSE input_from END,
      run_at_ms = value ->> 'run_at_ms', reason = value ->> 'task_reason',
      feedback = COALESCE(value ->> 'feedback', CASE WHEN stage = value ->> 'stage'
        AND (candidate = value ->> 'candidate' OR repairs = 0) THEN feedback END)
    FROM json_each(:rows)
    WHERE tasks.id = value ->> 'task' AND tasks.version = value ->> 'version' AND value ->> 'status' IS NOT NULL
      AND EXISTS (SELECT 1 FROM task_executions e
        WHERE e.id = value ->> 'execution' AND e.lease IS value ->> 'lease' AND e.status = value ->> 'state')
""")

# Wake siblings that are still open when the stage or the task has ended, so that a follow-up cancels them.
SETTLE_SIBLINGS: Final = Query("""
    UPDATE task_executions SET wake_at_ms = 0
    FROM json_each(:rows)
    WHERE task_executions.id BETWEEN {ids of (value ->> 'task')} AND task_executions.id <> value ->> 'execution'
      AND +task_executions.status IN ('waiting', 'unknown')
      AND EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 'task' AND tasks.version = value ->> 'version' + 1
        AND tasks.last_execution = value ->> 'execution')
""")

# Leave an outbox row for a publisher without a lease, so that its death before publishing is noticed.
SETTLE_OUTBOX: Final = Query("""
    INSERT INTO outbox (kind, task_id, holder, due_ms)
    SELECT 'publish', value ->> 'task', :holder, :due FROM json_each(:rows)
    WHERE EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 'task' AND tasks.version = value ->> 'version' + 1
      AND tasks.last_execution = value ->> 'execution')
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

# Read back what became of each execution and its task, and what the task has cost in total.
SETTLED: Final = Query("""
    SELECT e.id, e.status AS state, e.cost_micro, tasks.id AS task_id, tasks.version, tasks.status, tasks.last_execution,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of e.task_id}) AS total_micro
    FROM json_each(:rows) CROSS JOIN task_executions e
      ON e.id = value ->> 'execution' AND e.lease IS value ->> 'lease'
      LEFT JOIN tasks ON tasks.id = e.task_id
""")

# Record a cost that became known after the end, unless a better source has given one already.
REBILL: Final = Query("""
    UPDATE task_executions SET cost_micro = :cost, cost = :cost / 1000000.0, cost_source = :source, usage = :usage
    WHERE id = :execution AND lease IS :lease AND status NOT IN {OPEN} AND (cost_micro IS NULL OR cost_source IN ('bound', 'none')
      OR (:source = 'provider' AND cost_source IN ('declared', 'price_book')))
      AND (cost_micro IS NOT :cost OR cost_source IS NOT :source)
    RETURNING task_id
""")

# Insert an execution of its own for an answer that came after its execution had ended, while the task still waits at
# that stage.
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

# Keep an answer that came after the end of its execution and is not used, unless the execution has one already.
KEEP_UNUSED: Final = Query("""
    UPDATE task_executions SET result = :result, result_key = :key, note = 'late answer, not used'
    WHERE id = :execution AND status NOT IN {OPEN} AND status <> 'succeeded' AND result IS NULL AND result_key IS NULL
""")

# Find the execution that carries the late answer of another one.
LATE_ANSWER_USED: Final = Query("""
    SELECT result, result_key FROM task_executions
    WHERE id BETWEEN {ids of :task} AND status = 'succeeded'
      AND note = 'late answer of execution ' || CAST(:late AS INTEGER)
""")
