"""The sweep: repair expired leases, raise ranks, end overdue tasks, alert about budgets, count due work.

`store.room` wakes the tasks that budgets block.

A statement that changes tasks takes a limited number of them, and the next sweep takes the rest, so a sweep stays short.
Each statement may run twice or late without harm.
"""

from __future__ import annotations

from typing import Final

from consumer.core.policy import NEVER
from consumer.store.sql import Query

# --- expired leases: the row of a lease names all tasks that a lost worker may have left behind ---------------------

# The tasks of up to 50 expired leases.  The statements below join from these few rows with CROSS JOIN, which keeps that
# order: SQLite itself might choose to read all executions first.
_EXPIRED = """(SELECT leases.token, task.value AS id FROM leases, json_each(leases.task_ids) AS task
      WHERE leases.token IN (SELECT token FROM leases WHERE until_ms < :cutoff ORDER BY until_ms, token LIMIT 50)) AS held"""

# Those of them that are still running under their expired lease.
_LOST_TASKS = f"""(SELECT task.id FROM {_EXPIRED} CROSS JOIN tasks AS task
      ON task.id = held.id AND task.lease = held.token AND task.status = 'running')"""

# Mark each call in flight as unknown, due for a follow-up immediately: it may or may not have been made.
LOST_CALLS: Final = Query(f"""
    UPDATE task_executions SET status = 'unknown', wake_at_ms = 0, resolve_by_ms = NULL, reason = 'worker_lost'
    WHERE id IN (SELECT e.id FROM {_EXPIRED} CROSS JOIN task_executions e ON e.id BETWEEN {{ids of held.id}}
      AND e.status = 'running' AND e.lease = held.token)
""")

# Let a task with an open execution wait for it; the follow-up of the execution moves the task on.
ORPHANED_TASKS: Final = Query(f"""
    UPDATE tasks SET status = 'waiting', lease = NULL, version = version + 1, updated_at = :at
    WHERE id IN {_LOST_TASKS}
      AND EXISTS (SELECT 1 FROM task_executions e WHERE e.status IN {{OPEN}} AND e.id IS NOT tasks.replaces
        AND e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {{ids of tasks.id}}))
""")

# Make a task without an open execution due again.  A task that loses its :limit-th lease, with nothing settled in between,
# fails: it may be what kills its workers.
LOST_TASKS: Final = Query(f"""
    UPDATE tasks SET
      status = CASE WHEN tasks.lost_leases + 1 >= :limit THEN 'failed' ELSE 'pending' END,
      reason = CASE WHEN tasks.lost_leases + 1 >= :limit THEN 'worker_lost' ELSE tasks.reason END,
      lost_leases = tasks.lost_leases + 1, lease = NULL, version = version + 1, run_at_ms = :now, updated_at = :at
    WHERE id IN {_LOST_TASKS}
""")

# Publish the status of all these tasks again: the lost worker may have settled a task and not published it.
LOST_STATUS: Final = Query(f"""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', held.id, :now FROM {_EXPIRED} WHERE true
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

# Delete the expired leases; last, because the statements above find their tasks by them.
EXPIRED_LEASES: Final = Query("""
    DELETE FROM leases
    WHERE token IN (SELECT token FROM leases WHERE until_ms < :cutoff ORDER BY until_ms, token LIMIT 50)
    RETURNING token
""")

# --- ranks: a task is raised by one rank, once ----------------------------------------------------------------------

# Raise tasks that are near their due date (three quarters of the time until it are over).
RAISE_NEAR_DUE: Final = Query("""
    UPDATE tasks SET boost = 1, raise_at_ms = NULL WHERE id IN (
      SELECT id FROM tasks WHERE status = 'pending' AND raise_at_ms IS NOT NULL AND raise_at_ms <= :now LIMIT 100)
    RETURNING id
""")

# Raise the tasks of one rank that have been due since :since or longer.  They come first in the order of the index, so
# reading the first 200 is enough.
_WAITING_LONG = """
    UPDATE tasks SET boost = 1 WHERE boost = 0 AND id IN (
      SELECT id FROM tasks WHERE status = 'pending' AND rank = {rank} AND run_at_ms <= :since
      ORDER BY run_at_ms, id LIMIT 200)
    RETURNING id
"""

# The same for every rank except 0, which is the highest.
RAISE_WAITING_LONG: Final = tuple(Query(_WAITING_LONG.replace("{rank}", str(rank))) for rank in (1, 2, 3))

# --- deadlines: an overdue task fails; its open executions are followed up, which cancels them ----------------------

# Up to 100 tasks whose deadline has passed, the longest overdue first.  A task that runs under a lease is left out: its
# worker checks the deadline itself.  One that another application has set to running has no worker.
_OVERDUE = """SELECT id FROM tasks WHERE status IN ('pending', 'running', 'waiting') AND deadline_ms IS NOT NULL
      AND deadline_ms <= :now AND (status <> 'running' OR lease IS NULL) ORDER BY deadline_ms LIMIT 100"""

# Publish the status of the overdue tasks.
OVERDUE_STATUS: Final = Query(f"""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', id, :now FROM ({_OVERDUE}) WHERE true
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

# Make their open executions due for a follow-up.
OVERDUE_CALLS: Final = Query(f"""
    UPDATE task_executions SET wake_at_ms = 0
    WHERE id IN (SELECT e.id FROM ({_OVERDUE}) AS overdue CROSS JOIN task_executions e
      ON e.id BETWEEN {{ids of overdue.id}} AND +e.status IN ('waiting', 'unknown'))
""")

# Fail the overdue tasks, with what kept them from being done; last, because the statements above find them by their status.
OVERDUE_TASKS: Final = Query(f"""
    UPDATE tasks SET status = 'failed', reason = 'deadline' || COALESCE(': ' || blocked_by, ''), version = version + 1, updated_at = :at
    WHERE id IN ({_OVERDUE}) RETURNING id
""")

# --- tasks that another application has set to running --------------------------------------------------------------

# Up to 100 tasks that another application set to running before :since; a task of a worker has a lease.
_TAKEN = """SELECT id FROM tasks WHERE status = 'running' AND lease IS NULL AND blocked_by IS NULL AND run_at_ms <= :since
      ORDER BY run_at_ms LIMIT 100"""

# Publish the status of these tasks.
TAKEN_STATUS: Final = Query(f"""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', id, :now FROM ({_TAKEN}) WHERE true
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

# Record that the worker takes them back.
TAKEN_AUDIT: Final = Query(f"""
    INSERT INTO audit_log (at_ms, organization_id, task_id, actor, event, detail)
    SELECT :now, organization_id, id, 'worker', 'taken back', 'running -> pending' FROM tasks WHERE id IN ({_TAKEN})
""")

# Make them pending again; last, because the statements above find them by their status.
TAKEN_BACK: Final = Query(f"""
    UPDATE tasks SET status = 'pending', version = version + 1, updated_at = :at,
      blocked_by = CASE WHEN organization_id IS NULL THEN 'no_organization' END,
      run_at_ms = CASE WHEN organization_id IS NULL THEN {NEVER} ELSE :now END
    WHERE id IN ({_TAKEN}) RETURNING id
""")

# --- alerts: one for each budget period that is nearly full ---------------------------------------------------------

# Current periods of which at least :percent of the cap is spent or reserved, and that have no alert yet.  Periods of
# finished tasks are not open.
_NEARLY_FULL = """alerted_ms IS NULL AND open = 1 AND ends_ms > :now AND spent_micro + reserved_micro > 0
      AND 100 * (spent_micro + reserved_micro) >= :percent * (SELECT cap_micro FROM budgets WHERE id = budget_id)"""

# Allow another alert for a period once half of its cap is free again, because reservations were released.  (A change of
# the cap allows one too: store/admin.py.)
ALERT_AGAIN: Final = Query("""
    UPDATE budget_periods SET alerted_ms = NULL WHERE alerted_ms IS NOT NULL AND open = 1 AND ends_ms > :now
      AND 2 * (spent_micro + reserved_micro) <= (SELECT cap_micro FROM budgets WHERE id = budget_id)
""")

# Record the alerts in the audit log.
ALERT_AUDIT: Final = Query(f"""
    INSERT INTO audit_log (at_ms, organization_id, actor, event, detail)
    SELECT :now, (SELECT organization_id FROM budgets WHERE id = budget_id), 'worker', 'budget alert',
      'budget ' || budget_id || ': ' || CAST(:percent AS INTEGER) || ' % of its cap'
    FROM budget_periods WHERE {_NEARLY_FULL}
""")

# Mark the periods as alerted, and return them for the log; last, because ALERT_AUDIT finds them unmarked.
ALERT: Final = Query(f"""
    UPDATE budget_periods SET alerted_ms = :now WHERE {_NEARLY_FULL}
    RETURNING budget_id, spent_micro, reserved_micro
""")

# --- the heartbeat, by which the doctor notices that cron does not work ---------------------------------------------

# Record the time of this sweep.  A late one does not move it back.
TICKED: Final = Query("""
    INSERT INTO heartbeats (name, at_ms) VALUES ('tick', :now)
    ON CONFLICT (name) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)
""")

# --- due work -------------------------------------------------------------------------------------------------------

# Count due tasks, due follow-ups and due outbox rows, at most :most of each rank or kind.
DUE: Final = Query("""
    SELECT
      (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND rank = 0 AND run_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND rank = 1 AND run_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND rank = 2 AND run_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND rank = 3 AND run_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM task_executions WHERE status IN ('waiting', 'unknown') AND wake_at_ms <= :now LIMIT :most))
      + (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE due_ms <= :now LIMIT :most)) AS due
""")
