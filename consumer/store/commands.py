"""What callers change about tasks: submit, cancel, retry, adopt."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Each row has an idempotency key, its own or one made for this submission, so that a submission may be sent twice
# and every row finds its task again.
SUBMIT: Final = Query("""
    INSERT INTO tasks (template_id, organization_id, title, description, priority, assigned_to, due_date, created_at,
      updated_at, run_at_ms, raise_at_ms, deadline_ms, input, idempotency_key, retry_of)
    SELECT value ->> 'template', :organization, value ->> 'title', value ->> 'description', value ->> 'priority',
      value ->> 'assigned_to', value ->> 'due_date', :at, :at, value ->> 'run_at', value ->> 'raise_at',
      value ->> 'deadline', value ->> 'input', value ->> 'key', value ->> 'retry_of'
    FROM json_each(:rows) WHERE true
    ON CONFLICT (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, idempotency_key
""")

SUBMITTED: Final = Query("""
    SELECT id, idempotency_key, status, created_at FROM tasks
    WHERE organization_id = :organization AND idempotency_key IN (SELECT value ->> 'key' FROM json_each(:rows))
""")

# How often a task was retried by a task that has ended: the next retry is another task, any repetition is not.
RETRIES: Final = Query("""
    SELECT count(*) AS ended FROM tasks
    WHERE organization_id = :organization AND idempotency_key >= :first AND idempotency_key < :beyond AND status IN {FINISHED}
""")

# People have no index of ours: those of one organization are looked through only when somebody is named.
USERS_NAMED: Final = Query("""
    SELECT id, email FROM users
    WHERE json_array_length(:wanted) > 0 AND organization_id = :organization
      AND (id IN (SELECT value FROM json_each(:wanted)) OR email IN (SELECT value FROM json_each(:wanted)))
    ORDER BY id
""")

CANCEL: Final = Query("""
    UPDATE tasks SET status = 'cancelled', reason = :reason, version = version + 1, lease = NULL, updated_at = :at
    WHERE id = :task AND status NOT IN {FINISHED} AND (:organization IS NULL OR organization_id = :organization)
""")

# Only what the cancel of this version has changed: a second time finds the row already cancelled and does nothing new.
CANCEL_CALLS: Final = Query("""
    UPDATE task_executions SET wake_at_ms = 0
    WHERE id BETWEEN {ids of :task} AND +status IN ('waiting', 'unknown')
      AND EXISTS (SELECT 1 FROM tasks WHERE id = :task AND status = 'cancelled'
        AND (:organization IS NULL OR organization_id = :organization))
""")

CANCEL_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, organization_id, task_id, actor, event)
    SELECT :now, organization_id, id, :actor, 'cancelled' FROM tasks
    WHERE id = :task AND status = 'cancelled' AND (:organization IS NULL OR organization_id = :organization)
      AND NOT EXISTS (SELECT 1 FROM audit_log WHERE task_id = :task AND event = 'cancelled')
""")

# In the batch that cancels: whoever asked for it may be gone before it is published.
CANCEL_STATUS: Final = Query("""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', id, :due FROM tasks
    WHERE id = :task AND status = 'cancelled' AND (:organization IS NULL OR organization_id = :organization)
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

ADOPT: Final = Query("""
    UPDATE tasks SET
      run_at_ms = CASE WHEN organization_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM task_templates t WHERE t.id = tasks.template_id AND t.route IS NOT NULL) THEN :now ELSE run_at_ms END,
      blocked_by = CASE WHEN organization_id IS NULL THEN 'no_organization'
        WHEN NOT EXISTS (SELECT 1 FROM task_templates t WHERE t.id = tasks.template_id AND t.route IS NOT NULL)
        THEN 'no_route:' || COALESCE(template_id, '') END
    WHERE id IN (SELECT id FROM tasks WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by = 'adopt'
      AND (:organization IS NULL OR organization_id = :organization) LIMIT :size)
    RETURNING id, blocked_by
""")

ORGANIZATIONS_NAMED: Final = Query("""
    SELECT id, name FROM organizations
    WHERE id IN (SELECT value FROM json_each(:wanted)) OR name IN (SELECT value FROM json_each(:wanted)) ORDER BY id
""")

TEMPLATES_NAMED: Final = Query("""
    SELECT id, name, input_schema, route, limits FROM task_templates
    WHERE organization_id = :organization
      AND (id IN (SELECT value FROM json_each(:wanted)) OR name IN (SELECT value FROM json_each(:wanted)))
    ORDER BY id
""")
