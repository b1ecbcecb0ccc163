"""The sweep: repair expired leases, raise ranks, end overdue tasks, unblock, alert, and count due work."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# --- expired leases: each names every task, execution and status that its worker may have left -------------------
# CROSS JOIN keeps the order: from the few to their executions.  Left to itself, SQLite reads all executions first.

_EXPIRED = """(SELECT leases.token, task.value AS id FROM leases, json_each(leases.task_ids) AS task
      WHERE leases.token IN (SELECT token FROM leases WHERE until_ms < :cutoff ORDER BY until_ms, token LIMIT 50)) AS lost"""

_LOST_TASKS = f"""(SELECT held.id FROM {_EXPIRED} CROSS JOIN tasks AS held
      ON held.id = lost.id AND held.lease = lost.token AND held.status = 'running')"""

LOST_CALLS: Final = Query(f"""
    UPDATE task_executions SET status = 'unknown', wake_at_ms = 0, resolve_by_ms = NULL, reason = 'worker_lost'
    WHERE id IN (SELECT e.id FROM {_EXPIRED} CROSS JOIN task_executions e ON e.id BETWEEN {{ids of lost.id}}
      AND e.status = 'running' AND e.lease = lost.token)
""")

ORPHANED_TASKS: Final = Query(f"""
    UPDATE tasks SET status = 'waiting', lease = NULL, version = version + 1, updated_at = :at
    WHERE id IN {_LOST_TASKS}
      AND EXISTS (SELECT 1 FROM task_executions e WHERE e.status IN {{OPEN}} AND e.id IS NOT tasks.replaces
        AND e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {{ids of tasks.id}}))
""")

LOST_TASKS: Final = Query(f"""
    UPDATE tasks SET
      status = CASE WHEN tasks.lost + 1 >= :limit THEN 'failed' ELSE 'pending' END,
      reason = CASE WHEN tasks.lost + 1 >= :limit THEN 'worker_lost' ELSE tasks.reason END,
      lost = tasks.lost + 1, lease = NULL, version = version + 1, run_at_ms = :now, updated_at = :at
    WHERE id IN {_LOST_TASKS}
""")

LOST_STATUS: Final = Query(f"""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', lost.id, :now FROM {_EXPIRED} WHERE true
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

EXPIRED_LEASES: Final = Query("""
    DELETE FROM leases
    WHERE token IN (SELECT token FROM leases WHERE until_ms < :cutoff ORDER BY until_ms, token LIMIT 50)
    RETURNING token
""")

# --- ranks: a task is raised by one rank, once -------------------------------------------------------------------

RAISE_NEAR_DUE: Final = Query("""
    UPDATE tasks SET boost = 1, raise_at_ms = NULL WHERE id IN (
      SELECT id FROM tasks WHERE status = 'pending' AND raise_at_ms IS NOT NULL AND raise_at_ms <= :now LIMIT 100)
    RETURNING id
""")

# The longest waiting stand first in their rank, so that a look at the first 200 is enough.
_WAITING_LONG = """
    UPDATE tasks SET boost = 1 WHERE boost = 0 AND id IN (
      SELECT id FROM tasks WHERE status = 'pending' AND rank = {rank} AND run_at_ms <= :since
      ORDER BY run_at_ms, id LIMIT 200)
    RETURNING id
"""

RAISE_WAITING_LONG: Final = tuple(Query(_WAITING_LONG.replace("{rank}", str(rank))) for rank in (1, 2, 3))

# --- deadlines of tasks: what is open at a provider is attended to, then the task ends --------------------------

_OVERDUE = """SELECT id FROM tasks WHERE status IN ('pending', 'running', 'waiting') AND deadline_ms IS NOT NULL
      AND deadline_ms <= :now AND status <> 'running' ORDER BY deadline_ms LIMIT 100"""

OVERDUE_STATUS: Final = Query(f"""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', id, :now FROM ({_OVERDUE}) WHERE true
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

OVERDUE_CALLS: Final = Query(f"""
    UPDATE task_executions SET wake_at_ms = 0
    WHERE id IN (SELECT e.id FROM ({_OVERDUE}) AS overdue CROSS JOIN task_executions e
      ON e.id BETWEEN {{ids of overdue.id}} AND +e.status IN ('waiting', 'unknown'))
""")

OVERDUE_TASKS: Final = Query(f"""
    UPDATE tasks SET status = 'failed', reason = 'deadline', version = version + 1, updated_at = :at
    WHERE id IN ({_OVERDUE}) RETURNING id
""")

# --- budgets: room that has come back, or that a raised cap has made ----------------------------------------------
# Of the first thousand that a period blocks, in their order, as many may try as there is room for.  `needs_micro` is
# what a task needed when it was refused, NULL when that may have changed.

UNBLOCK: Final = Query("""
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    FROM (SELECT 'budget:' || period.id AS blocker, budget.cap_micro - period.spent_micro - period.reserved_micro AS room
      FROM budget_periods AS period JOIN budgets AS budget ON budget.id = period.budget_id
      WHERE period.ends_ms > :now AND period.spent_micro + period.reserved_micro < budget.cap_micro
        AND (:budget IS NULL OR budget.id = :budget)) AS roomy
    WHERE tasks.id IN (
      SELECT id FROM (SELECT id, sum(needs) OVER (ORDER BY rank, run_at_ms, id) AS total
        FROM (SELECT id, rank, run_at_ms, COALESCE(needs_micro, 0) AS needs FROM tasks
          WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by = roomy.blocker
          ORDER BY rank, run_at_ms, id LIMIT 1000)
        WHERE needs <= roomy.room)
      WHERE total <= roomy.room)
    RETURNING id
""")

# What waits for a budget that somebody has deleted waits for nothing.  From one blocker to the next by the index.
UNBLOCK_GONE: Final = Query("""
    WITH RECURSIVE blockers (name) AS (
      SELECT min(blocked_by) FROM tasks
      WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by >= 'budget:' AND blocked_by < 'budget;'
      UNION ALL SELECT (SELECT min(blocked_by) FROM tasks
        WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by > name AND blocked_by < 'budget;')
      FROM blockers WHERE name IS NOT NULL)
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    WHERE id IN (SELECT id FROM tasks WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by IN (
      SELECT name FROM blockers WHERE NOT EXISTS (SELECT 1 FROM budget_periods WHERE id = substr(name, 8))) LIMIT 1000)
    RETURNING id
""")

# --- budgets: a word about a period that is nearly full, once; once more when the cap was changed, or when half of it
# was free again, since what was reserved was not spent ----------------------------------------------------------

_NEARLY_FULL = """alerted_ms IS NULL AND ends_ms > :now AND spent_micro + reserved_micro > 0
      AND 100 * (spent_micro + reserved_micro) >= :percent * (SELECT cap_micro FROM budgets WHERE id = budget_id)"""

ALERT_AGAIN: Final = Query("""
    UPDATE budget_periods SET alerted_ms = NULL WHERE alerted_ms IS NOT NULL AND ends_ms > :now
      AND 2 * (spent_micro + reserved_micro) <= (SELECT cap_micro FROM budgets WHERE id = budget_id)
""")

ALERT_AUDIT: Final = Query(f"""
    INSERT INTO audit_log (at_ms, organization_id, actor, event, detail)
    SELECT :now, (SELECT organization_id FROM budgets WHERE id = budget_id), 'worker', 'budget alert',
      'budget ' || budget_id || ': ' || CAST(:percent AS INTEGER) || ' % of its cap'
    FROM budget_periods WHERE {_NEARLY_FULL}
""")

ALERT: Final = Query(f"""
    UPDATE budget_periods SET alerted_ms = :now WHERE {_NEARLY_FULL}
    RETURNING budget_id, spent_micro, reserved_micro
""")

# --- what is due ----------------------------------------------------------------------------------------------------

DUE: Final = Query("""
    SELECT
      (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND rank = 0 AND run_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND rank = 1 AND run_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND rank = 2 AND run_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND rank = 3 AND run_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM task_executions WHERE status IN ('waiting', 'unknown') AND wake_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE due_ms <= :now LIMIT :most)) AS due
""")
