"""Webhooks, kept before they are answered; and dead letters."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Read the lease under which an execution began.
LEASE_OF: Final = Query("SELECT lease FROM task_executions WHERE id = :execution")

# Keep a verified webhook, once for each event.
RECEIVE: Final = Query("""
    INSERT INTO webhooks (profile, event_id, execution_id, external_id, received_ms, body, body_key)
    VALUES (:profile, :event, :execution, :external, :now, :body, :body_key)
    ON CONFLICT (profile, event_id) DO NOTHING
""")

# Wake the open execution that an unhandled webhook belongs to.  While its call is in flight, its wake time is not
# used; WAKE_FOR_EARLY wakes it once it is accepted.  A webhook may bring the answer, so the next follow-up reads it even
# if the follow-ups before were lost with their workers (MAX_FRUITLESS in core/follow_up.py).
WAKE: Final = Query("""
    UPDATE task_executions SET wake_at_ms = 0, follow_ups = min(follow_ups, 2)
    WHERE +status IN ('waiting', 'unknown') AND profile = :profile
      AND (id = :execution OR (:execution IS NULL AND :external IS NOT NULL AND external_id = :external))
      AND EXISTS (SELECT 1 FROM webhooks WHERE profile = :profile AND event_id = :event AND handled_ms IS NULL)
    RETURNING id, task_id
""")

# Find the newest execution whose provider gave this id.
EXECUTION_NAMED: Final = Query("""
    SELECT id FROM task_executions WHERE profile = :profile AND external_id IS NOT NULL AND external_id = :external
    ORDER BY id DESC LIMIT 1
""")

# Read the unhandled webhooks of an execution, by our id or by its provider's id.  Two selects use one partial index each;
# one select with OR, or with an index of SQLite's choice, would read every webhook of the past.
UNHANDLED: Final = Query("""
    SELECT profile, event_id, external_id, body, body_key, received_ms FROM webhooks
    WHERE handled_ms IS NULL AND execution_id IS NOT NULL AND execution_id = :execution
    UNION ALL SELECT profile, event_id, external_id, body, body_key, received_ms FROM webhooks INDEXED BY webhooks_external
    WHERE handled_ms IS NULL AND external_id IS NOT NULL AND profile = :profile AND external_id = :external
      AND execution_id IS NULL
    ORDER BY received_ms
""")

# Mark webhooks as handled.
HANDLED: Final = Query("""
    UPDATE webhooks SET handled_ms = :now WHERE profile = :profile AND event_id IN (SELECT value FROM json_each(:events))
""")

# Mark webhooks as handled in the batch that ends their execution, because no worker follows it up again.
HANDLED_AT_END: Final = Query("""
    UPDATE webhooks SET handled_ms = :now WHERE profile = :profile AND event_id IN (SELECT value FROM json_each(:events))
      AND EXISTS (SELECT 1 FROM task_executions WHERE id = :execution AND status NOT IN {OPEN})
""")

_UNHANDLED = """e.status NOT IN {OPEN}
      AND (EXISTS (SELECT 1 FROM webhooks w WHERE w.handled_ms IS NULL AND w.execution_id IS NOT NULL AND w.execution_id = e.id)
        OR EXISTS (SELECT 1 FROM webhooks w INDEXED BY webhooks_external
          WHERE w.handled_ms IS NULL AND w.external_id IS NOT NULL AND w.profile = e.profile
          AND w.external_id = e.external_id AND w.execution_id IS NULL))"""

# Leave an outbox row, in the batch that ends executions, for a webhook that came at the same time.  Its receiver saw the
# execution open and left the webhook to the next follow-up, which an ended execution no longer has.
QUEUE_UNHANDLED: Final = Query(f"""
    INSERT INTO outbox (kind, task_id, due_ms)
    SELECT 'webhook', e.task_id, :now FROM json_each(:executions) AS ended CROSS JOIN task_executions e ON e.id = ended.value
    WHERE {_UNHANDLED}
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = min(due_ms, excluded.due_ms)
    RETURNING task_id
""")

# Find the ended executions of these tasks that have unhandled webhooks.
UNHANDLED_OF_TASKS: Final = Query(f"""
    SELECT e.id, e.task_id FROM json_each(:tasks) AS named CROSS JOIN task_executions e ON e.id BETWEEN {{ids of named.value}}
    WHERE {_UNHANDLED}
""")

# Drop the outbox rows of tasks whose webhooks are handled.
UNQUEUE: Final = Query(
    "DELETE FROM outbox WHERE kind = 'webhook' AND task_id IN (SELECT value FROM json_each(:tasks))"
)

# Wake an execution, in the batch that records its acceptance, for a webhook that came before that.
WAKE_FOR_EARLY: Final = Query("""
    UPDATE task_executions SET wake_at_ms = 0 FROM json_each(:rows)
    WHERE task_executions.id = value ->> 'execution' AND +task_executions.status IN ('waiting', 'unknown')
      AND (EXISTS (SELECT 1 FROM webhooks w WHERE w.handled_ms IS NULL AND w.execution_id = value ->> 'execution')
        OR EXISTS (SELECT 1 FROM webhooks w INDEXED BY webhooks_external
          WHERE w.handled_ms IS NULL AND w.profile = task_executions.profile
          AND w.external_id = value ->> 'external_id' AND w.external_id IS NOT NULL))
    RETURNING task_executions.id AS woken
""")

# Keep messages that cannot be read or were delivered too often.
DEAD_LETTER: Final = Query("""
    INSERT INTO dead_letters (message_id, received_ms, reason, body)
    SELECT value ->> 'id', :now, value ->> 'reason', value ->> 'body' FROM json_each(:rows) WHERE true
    ON CONFLICT (message_id) DO NOTHING
""")
