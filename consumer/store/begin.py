"""Beginning: the intent with its reservation, before anything is sent; and releasing tasks that were not begun.

An execution is ours when it carries our lease.  After an ambiguous commit it may even have ended already, in the same
batch, so its status says nothing about who began it.
"""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Create the rows of budget periods that the intents need, unless they exist already.  The budget of a task that has
# ended since its claim gets none: no other statement would close it, and every sweep would read it.
BEGIN_PERIODS: Final = Query("""
    INSERT INTO budget_periods (id, budget_id, starts_ms, ends_ms)
    SELECT value ->> 'id', value ->> 'budget', value ->> 'starts_ms', value ->> 'ends_ms' FROM json_each(:rows)
    WHERE EXISTS (SELECT 1 FROM budgets WHERE id = value ->> 'budget' AND (scope <> 'task'
      OR EXISTS (SELECT 1 FROM tasks WHERE tasks.id = scope_id AND tasks.status NOT IN {FINISHED})))
    ON CONFLICT (id) DO NOTHING
""")

# Insert the intents, each with its reservation.  An intent names its candidate, because the candidates before it may have
# been passed over.  The trigger `executions_admission` checks the budgets that an intent
# names.  A budget that was set after the claim is not among them; it keeps the task out until the task is claimed again.
# An intent with a ticket is the probe of a resting profile, or counts for a limit of its profile: it begins only if the
# row of the profile was written with this ticket.
# Only the previous execution may be in the way: an older open one was deliberately repeated or superseded.
BEGIN: Final = Query("""
    INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, stage, candidate, attempt,
      lease, started_at, started_ms, wake_at_ms, reserved_micro, budgets, assigned_to)
    SELECT value ->> 'execution', tasks.id, value ->> 'execution_type', value ->> 'provider', value ->> 'profile',
      'running', tasks.stage, COALESCE(value ->> 'candidate', tasks.candidate),
      COALESCE(value ->> 'attempt', tasks.attempt), tasks.lease, :at, :now, -1, value ->> 'reserved_micro',
      value ->> 'budgets', value ->> 'assigned_to'
    FROM json_each(:rows) AS intent CROSS JOIN tasks ON tasks.id = value ->> 'task'
    WHERE tasks.version = value ->> 'version' AND tasks.status = 'running' AND NOT EXISTS (SELECT 1 FROM stops)
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.id = value ->> 'execution')
      AND (value ->> 'ticket' IS NULL
        OR EXISTS (SELECT 1 FROM rests WHERE profile = value ->> 'profile' AND writer = value ->> 'ticket'))
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.id = (value ->> 'execution') - 1
        AND e.status IN {OPEN} AND e.id IS NOT tasks.replaces)
      AND NOT EXISTS (SELECT 1 FROM budgets
        WHERE {APPLIES} AND NOT EXISTS (SELECT 1 FROM json_each(intent.value ->> 'budgets') AS named
          WHERE CAST(named.value AS INTEGER) = budgets.id))
""")

# Read back which intents were admitted.
BEGUN: Final = Query("""
    SELECT e.id, e.status FROM json_each(:rows) CROSS JOIN task_executions e ON e.id = value ->> 'execution'
    WHERE e.lease = value ->> 'lease'
""")

# Read the room in these budget periods.
FULL_PERIODS: Final = Query("""
    SELECT period.id, budget.id AS budget, period.ends_ms, period.spent_micro, period.reserved_micro, budget.cap_micro,
      budget.refused, budget.tier
    FROM budget_periods AS period JOIN budgets AS budget ON budget.id = period.budget_id
    WHERE period.id IN (SELECT value FROM json_each(:periods))
""")

# Cancel the execution of a refused begin that was written after all: a batch that was sent twice may be applied late,
# when there is room again.  Only this worker knows that it sent no call.  The release moves the version, so a batch
# that is applied after the release cannot begin the execution.  If the task has ended in the meantime, or is gone, no
# other writer waits for the execution.
UNSENT: Final = Query("""
    UPDATE task_executions SET status = 'cancelled', reason = 'never_sent', cost_micro = 0, cost = 0,
      cost_source = 'none', completed_at = :at, wake_at_ms = NULL
    FROM json_each(:rows)
    WHERE task_executions.id = value ->> 'execution' AND task_executions.status = 'running'
      AND task_executions.lease = value ->> 'lease'
      AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 'task' AND tasks.status NOT IN {FINISHED}
        AND (tasks.version <> value ->> 'version' OR tasks.status <> 'running'))
""")

# If another writer took the task from this worker in the meantime, the task may wait for the execution.  A follow-up ends
# it and moves the task, as after the loss of a worker.  Under its lease, the task is left to the sweep.
UNSENT_AWAITED: Final = Query("""
    UPDATE task_executions SET status = 'unknown', wake_at_ms = 0, reason = 'worker_lost'
    FROM json_each(:rows)
    WHERE task_executions.id = value ->> 'execution' AND task_executions.status = 'running'
      AND task_executions.lease = value ->> 'lease'
      AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 'task' AND tasks.lease = value ->> 'lease')
""")

# Give claimed tasks up: back to pending with their blocker, on to waiting, or to their end.  If the execution that was never sent
# is the repeat of an unknown one, it takes the place of that one in `replaces`: the next execution is still the repeat,
# and is not repeated again (`was_repeated` in core/situation.py).
RELEASE: Final = Query("""
    UPDATE tasks SET status = value ->> 'status', lease = NULL, version = version + 1, updated_at = :at,
      run_at_ms = COALESCE(value ->> 'run_at_ms', run_at_ms), blocked_by = value ->> 'blocked_by',
      needs_micro = value ->> 'needs_micro', last_execution = COALESCE(value ->> 'last_execution', last_execution),
      stage = COALESCE((SELECT e.stage FROM task_executions e WHERE e.id = value ->> 'last_execution'), stage),
      reason = COALESCE(value ->> 'reason', reason),
      replaces = CASE WHEN replaces = (value ->> 'execution') - 1 AND EXISTS (
        SELECT 1 FROM task_executions e WHERE e.id = value ->> 'execution' AND e.reason = 'never_sent')
        THEN value ->> 'execution' ELSE replaces END,
      lost_leases = CASE WHEN value ->> 'blocked_by' IS NULL THEN lost_leases ELSE 0 END
    FROM json_each(:rows)
    WHERE tasks.id = value ->> 'task' AND tasks.version = value ->> 'version' AND tasks.status = 'running'
""")

# Make a task that RELEASE has just set aside due again, if its row or its template was corrected after the claim had
# read it.  Later corrections make it due by themselves.  The version of a template that did not exist is -1.
CORRECTED: Final = Query("""
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    FROM json_each(:rows)
    WHERE tasks.id = value ->> 'task' AND tasks.version = value ->> 'version' + 1 AND +tasks.status = 'pending'
      AND +tasks.blocked_by = value ->> 'blocked_by'
      AND (tasks.edited_version = value ->> 'version' OR EXISTS (SELECT 1 FROM task_templates
        WHERE task_templates.id = tasks.template_id AND typeof(task_templates.version) = 'integer'
          AND task_templates.version > value ->> 'template_version'))
""")
