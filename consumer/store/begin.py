"""Beginning: the intent with its reservation, before anything is sent; and releasing tasks that were not begun."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# --- begin: the intent, with its reservation, before anything is sent ---------------------------------------------
# A period that has no row yet gets one; the wall itself is the trigger `executions_admission`, of the budgets that the
# execution names: one that was set after its task was claimed keeps it out until the task is claimed again.  It is ours
# when it carries our lease: after an ambiguous commit it may have ended already, in the same batch.  Only the execution before it may be in its way: an older one that is still open was repeated, or answered for, knowingly.

BEGIN_PERIODS: Final = Query("""
    INSERT INTO budget_periods (id, budget_id, starts_ms, ends_ms)
    SELECT value ->> 'id', value ->> 'budget', value ->> 'starts', value ->> 'ends' FROM json_each(:periods)
    WHERE EXISTS (SELECT 1 FROM budgets WHERE id = value ->> 'budget')
    ON CONFLICT (id) DO NOTHING
""")

BEGIN: Final = Query(
    """
    INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, stage, candidate, attempt,
      lease, started_at, started_ms, wake_at_ms, reserved_micro, budgets, assigned_to)
    SELECT value ->> 'e', tasks.id, value ->> 'type', value ->> 'provider', value ->> 'profile', 'running',
      tasks.stage, tasks.candidate, tasks.attempt, tasks.lease, :at, :now, -1, value ->> 'reserve',
      value ->> 'budgets', value ->> 'who'
    FROM json_each(:rows) AS intent CROSS JOIN tasks ON tasks.id = value ->> 't'
    WHERE tasks.version = value ->> 'v' AND tasks.status = 'running' AND NOT EXISTS (SELECT 1 FROM stops)
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.id = value ->> 'e')
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.id = (value ->> 'e') - 1
        AND e.status IN {OPEN} AND e.id IS NOT tasks.replaces)
      AND NOT EXISTS (SELECT 1 FROM budgets
        WHERE {APPLIES} AND id NOT IN (SELECT CAST(asked.value AS INTEGER) FROM json_each(intent.value ->> 'budgets') AS asked))
"""
)

BEGUN: Final = Query("""
    SELECT e.id, e.status FROM json_each(:rows) CROSS JOIN task_executions e ON e.id = value ->> 'e'
    WHERE e.lease = value ->> 'lease'
""")

FULL_PERIODS: Final = Query("""
    SELECT period.id, budget.id AS budget, period.ends_ms, period.spent_micro, period.reserved_micro, budget.cap_micro,
      budget.refused
    FROM budget_periods AS period JOIN budgets AS budget ON budget.id = period.budget_id
    WHERE period.id IN (SELECT value FROM json_each(:periods))
""")

# --- release, block, renew, finish ---------------------------------------------------------------------------------

# A begin that was refused may land after all: its first sending, when there is room again.  Only whoever knows that
# nothing was sent can say so, and after the release, which moves the version, it cannot land any more.
UNSENT: Final = Query("""
    UPDATE task_executions SET status = 'cancelled', reason = 'never sent', cost_micro = 0, cost = 0, cost_source = 'none',
      completed_at = :at, wake_at_ms = NULL
    FROM json_each(:rows)
    WHERE task_executions.id = value ->> 'e' AND task_executions.status = 'running'
      AND task_executions.lease = value ->> 'lease'
      AND EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' AND tasks.status = 'running')
""")

RELEASE: Final = Query("""
    UPDATE tasks SET status = value ->> 'to', lease = NULL, version = version + 1, updated_at = :at,
      run_at_ms = COALESCE(value ->> 'run_at', run_at_ms), blocked_by = value ->> 'blocked_by',
      needs_micro = value ->> 'needs',
      reason = COALESCE(value ->> 'reason', reason), lost = CASE WHEN value ->> 'blocked_by' IS NULL THEN lost ELSE 0 END
    FROM json_each(:rows)
    WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' AND tasks.status = 'running'
""")
