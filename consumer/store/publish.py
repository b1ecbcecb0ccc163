"""Publishing: outbox rows, and the facts of a status snapshot."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Published, though maybe not as the version that it has by now: then OVERTAKEN leaves a row that is nobody's.
DONE_OUTBOX: Final = Query("""
    DELETE FROM outbox WHERE (kind, task_id, holder) IN (SELECT 'publish', value ->> 'task', :token FROM json_each(:rows))
""")

# Where a task has moved on since its status was written: the one who moved it may have published before us.
OVERTAKEN: Final = Query("""
    INSERT INTO outbox (kind, task_id, due_ms)
    SELECT 'publish', tasks.id, :due FROM json_each(:rows) CROSS JOIN tasks ON tasks.id = value ->> 'task'
    WHERE tasks.version > value ->> 'version'
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = min(due_ms, excluded.due_ms)
""")

PUBLISH_COST: Final = Query("""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', id, :due FROM tasks
    WHERE id = :task AND status IN {FINISHED} ON CONFLICT (kind, task_id, holder) DO NOTHING
""")

PUBLISH_LATER: Final = Query("""
    INSERT INTO outbox (kind, task_id, holder, due_ms)
    SELECT 'publish', value, :holder, :due FROM json_each(:tasks) WHERE true
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

SNAPSHOTS: Final = Query("""
    SELECT tasks.id, tasks.organization_id, tasks.version, tasks.status, tasks.stage, tasks.attempt, tasks.updated_at, tasks.blocked_by,
      tasks.reason, tasks.run_at_ms, e.provider, e.profile,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS total_micro
    FROM tasks LEFT JOIN task_executions e
      ON e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
    WHERE tasks.id IN (SELECT value FROM json_each(:tasks))
""")
