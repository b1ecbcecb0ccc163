"""Renewing and dropping leases."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

RENEW: Final = Query(
    "UPDATE leases SET until_ms = :until WHERE token IN (SELECT value FROM json_each(:tokens))"
)

# A lease that still holds a task stays, for the sweep: a claim that was sent again may land once more, seconds later,
# on tasks that were given back meanwhile.
FINISH: Final = Query("""
    DELETE FROM leases WHERE token IN (SELECT value FROM json_each(:tokens))
      AND NOT EXISTS (SELECT 1 FROM json_each(leases.task_ids) AS task CROSS JOIN tasks
        ON tasks.id = task.value AND tasks.status = 'running' AND tasks.lease = leases.token)
""")
