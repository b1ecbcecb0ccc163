"""Publishing: the outbox rows of kind `publish`, and the data of the status snapshots.

An outbox row has a holder: the process that is publishing the task.  The empty holder means that no process is.  A process
deletes only rows of its own, so a slow one cannot delete the request of another.
"""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Delete our rows of published tasks.  If a task has moved on in the meantime, OVERTAKEN adds a row without a holder.
DONE_OUTBOX: Final = Query("""
    DELETE FROM outbox WHERE (kind, task_id, holder) IN (SELECT 'publish', value ->> 'task', :token FROM json_each(:rows))
""")

# Request another publication for each task that has a newer version than the one that we wrote.  The process that moved
# the task may have published before us, and our late write would then hide its newer status.
OVERTAKEN: Final = Query("""
    INSERT INTO outbox (kind, task_id, due_ms)
    SELECT 'publish', tasks.id, :due FROM json_each(:rows) CROSS JOIN tasks ON tasks.id = value ->> 'task'
    WHERE tasks.version > value ->> 'version'
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = min(due_ms, excluded.due_ms)
""")

# Request another publication for a finished task whose cost has changed.
PUBLISH_COST: Final = Query("""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', id, :due FROM tasks
    WHERE id = :task AND status IN {FINISHED} ON CONFLICT (kind, task_id, holder) DO NOTHING
""")

# Request publications for later.  The holder is empty, or a process that publishes now and wants its write to be checked.
PUBLISH_LATER: Final = Query("""
    INSERT INTO outbox (kind, task_id, holder, due_ms)
    SELECT 'publish', value, :holder, :due FROM json_each(:tasks) WHERE true
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

# Read the data of the snapshots: each task with its newest execution, and with the cost of all its executions.
SNAPSHOTS: Final = Query("""
    SELECT tasks.id, tasks.identity, tasks.organization_id, tasks.version, tasks.status, tasks.stage, tasks.attempt, tasks.updated_at, tasks.blocked_by,
      tasks.reason, tasks.run_at_ms, e.provider, e.profile,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS total_micro
    FROM tasks LEFT JOIN task_executions e
      ON e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
    WHERE tasks.id IN (SELECT value FROM json_each(:tasks))
""")
