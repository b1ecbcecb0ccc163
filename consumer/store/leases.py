"""Renewing and deleting leases."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Move the end of leases that a run still needs.
RENEW: Final = Query(
    "UPDATE leases SET until_ms = :until WHERE token IN (SELECT value FROM json_each(:tokens))"
)

# End all leases, because their workers are dead: the next sweep takes their tasks back.
ABANDON: Final = Query("UPDATE leases SET until_ms = 0")

# When the lease under which a task is running ends, unless its worker renews it.
LEASE: Final = Query("""
    SELECT until_ms FROM leases WHERE token = (SELECT lease FROM tasks WHERE id = :task AND status = 'running')
""")

# Delete leases whose tasks are done and published.  A lease under which a task is still running stays, and the sweep
# repairs the task: a claim that was sent twice can land a second time, seconds later, on tasks that were released in
# the meantime.
FINISH: Final = Query("""
    DELETE FROM leases WHERE token IN (SELECT value FROM json_each(:tokens))
      AND NOT EXISTS (SELECT 1 FROM json_each(leases.task_ids) AS task CROSS JOIN tasks
        ON tasks.id = task.value AND tasks.status = 'running' AND tasks.lease = leases.token)
""")
