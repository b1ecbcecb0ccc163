"""What callers ask of tasks: submit, cancel, retry, adopt, list, show."""

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

TASK: Final = Query("""
    SELECT tasks.*, template.name AS template_name, template.route, e.result AS outcome, e.result_key AS outcome_key,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS total_micro
    FROM tasks LEFT JOIN task_templates template ON template.id = tasks.template_id
      LEFT JOIN task_executions e ON e.id = tasks.last_execution AND tasks.status = 'completed' AND e.status = 'succeeded'
    WHERE tasks.id = :task AND (:organization IS NULL OR tasks.organization_id = :organization)
""")

_LIST = """
    SELECT id, template_id, organization_id, title, status, priority, due_date, created_at, updated_at, version, stage,
      attempt, blocked_by, reason, run_at_ms
    FROM tasks WHERE {whose} AND id < :before AND (:status IS NULL OR status = :status)
"""
# One of the two gives nothing; as one condition with OR, the tasks of all organizations would be read.
LIST: Final = Query(
    _LIST.replace("{whose}", "organization_id = :organization")
    + "UNION ALL"
    + _LIST.replace("{whose}", ":organization IS NULL")
    + "ORDER BY id DESC LIMIT :size"
)

EXECUTIONS: Final = Query("""
    SELECT id, execution_type, provider, profile, status, stage, candidate, attempt, started_at, completed_at, cost_micro,
      cost_source, reserved_micro, budgets IS NOT NULL AND cost_micro > reserved_micro AS overrun, usage, external_id,
      assigned_to, NULLIF(wake_at_ms, -1) AS wake_at_ms, resolve_by_ms, reason, note, result, result_key
    FROM task_executions WHERE id BETWEEN {ids of :task} ORDER BY id
""")

AUDIT: Final = Query("SELECT at_ms, actor, event, detail FROM audit_log WHERE task_id = :task ORDER BY id")

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

COUNTS: Final = Query("""
    SELECT status, count(*) AS tasks FROM tasks
    WHERE (:organization IS NULL OR organization_id = :organization) GROUP BY status ORDER BY status
""")

# The first condition is that of the index `executions_wake`, word for word, so that only open executions are read.
INBOX: Final = Query("""
    SELECT e.id, e.task_id, e.assigned_to, e.started_at, e.resolve_by_ms, e.profile,
      CASE WHEN e.status = 'unknown' THEN 'question' WHEN e.execution_type = 'hybrid' THEN 'review' ELSE 'human' END AS kind,
      tasks.organization_id, tasks.title, tasks.priority, tasks.due_date, template.name AS template_name
    FROM task_executions e JOIN tasks ON tasks.id = e.task_id
      LEFT JOIN task_templates template ON template.id = tasks.template_id
    WHERE e.status IN ('waiting', 'unknown') AND tasks.status = 'waiting'
      AND ((e.status = 'waiting' AND e.provider = 'inbox') OR (e.status = 'unknown' AND e.reason = 'asked'))
      AND (:organization IS NULL OR tasks.organization_id = :organization)
      AND (:user IS NULL OR e.assigned_to IS NULL OR e.assigned_to = :user)
    ORDER BY tasks.rank, e.id LIMIT :size
""")
