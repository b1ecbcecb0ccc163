"""What callers change about tasks: submit, cancel, release, retry, adopt.

`:organization` is the caller's own.  Where a statement allows NULL, NULL stands for an operator and every organization."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# --- submit and retry ----------------------------------------------------------------------------------------------

# Find the organizations that tasks name, by id or by name.
ORGANIZATIONS_NAMED: Final = Query("""
    SELECT id, name FROM organizations
    WHERE id IN (SELECT value FROM json_each(:names)) OR name IN (SELECT value FROM json_each(:names)) ORDER BY id
""")

# Find the templates that tasks of one organization name, by id or by name.
TEMPLATES_NAMED: Final = Query("""
    SELECT id, name, input_schema, route, CASE WHEN json_valid(limits) THEN limits ->> 'task_s' END AS task_s FROM task_templates
    WHERE organization_id = :organization
      AND (id IN (SELECT value FROM json_each(:names)) OR name IN (SELECT value FROM json_each(:names)))
    ORDER BY id
""")

# Find the users that tasks of one organization name, by id or by e-mail.  Table `users` has no index of ours, so
# the statement is sent only when a task names a user.
USERS_NAMED: Final = Query("""
    SELECT id, email FROM users
    WHERE organization_id = :organization
      AND (id IN (SELECT value FROM json_each(:names)) OR email IN (SELECT value FROM json_each(:names)))
    ORDER BY id
""")

# Insert the tasks of one organization that are not there yet.  Each row has an idempotency key, the caller's or a
# generated one, so that the batch may be sent twice.  :keyed has the keys of callers in the whole request: if one of them
# belongs to a task with other content, nothing is inserted.
SUBMIT: Final = Query("""
    INSERT INTO tasks (template_id, organization_id, title, description, priority, assigned_to, due_date, created_at,
      updated_at, run_at_ms, raise_at_ms, deadline_ms, input, idempotency_key, submitted, retry_of,
      identity)
    SELECT value ->> 'template', :organization, value ->> 'title', value ->> 'description', value ->> 'priority',
      value ->> 'assigned_to', value ->> 'due_date', :at, :at, value ->> 'run_at', value ->> 'raise_at',
      value ->> 'deadline', value ->> 'input', value ->> 'key', value ->> 'submitted', value ->> 'retry_of',
      lower(hex(randomblob(8)))
    FROM json_each(:rows) WHERE NOT EXISTS (
      SELECT 1 FROM json_each(:keyed) AS sent CROSS JOIN tasks AS other
        ON other.organization_id = sent.value ->> 'organization' AND other.idempotency_key = sent.value ->> 'key'
      WHERE other.submitted <> sent.value ->> 'submitted')
    ON CONFLICT (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, idempotency_key
""")

# Read the tasks of a submission by their keys, whether this batch or an earlier one inserted them.
SUBMITTED: Final = Query("""
    SELECT id, idempotency_key, submitted, status FROM tasks
    WHERE organization_id = :organization AND idempotency_key IN (SELECT value ->> 'key' FROM json_each(:rows))
""")

# Count the retries of a task that have ended, and read how long a task of its template may take.  The keys of retries
# begin with the same text: they lie between :first and :beyond.
RETRIES: Final = Query("""
    SELECT count(*) AS ended, (SELECT CASE WHEN json_valid(limits) THEN limits ->> 'task_s' END FROM task_templates WHERE id = :template) AS task_s FROM tasks
    WHERE organization_id = :organization AND idempotency_key >= :first AND idempotency_key < :beyond AND status IN {FINISHED}
""")

# --- cancel: one batch ---------------------------------------------------------------------------------------------

# Cancel a task that has not ended.  The new version is the fence: a worker that holds the task can no longer change it.
CANCEL: Final = Query("""
    UPDATE tasks SET status = 'cancelled', reason = :reason, version = version + 1, lease = NULL, updated_at = :at
    WHERE id = :task AND status NOT IN {FINISHED} AND (:organization IS NULL OR organization_id = :organization)
""")

# Make the open executions of a cancelled task due, so that a worker cancels them at their providers.
CANCEL_CALLS: Final = Query("""
    UPDATE task_executions SET wake_at_ms = 0
    WHERE id BETWEEN {ids of :task} AND +status IN ('waiting', 'unknown')
      AND EXISTS (SELECT 1 FROM tasks WHERE id = :task AND status = 'cancelled'
        AND (:organization IS NULL OR organization_id = :organization))
""")

# Record who cancelled a task.  A second cancel adds no second record.
CANCEL_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, organization_id, task_id, actor, event)
    SELECT :now, organization_id, id, :actor, 'cancelled' FROM tasks
    WHERE id = :task AND status = 'cancelled' AND (:organization IS NULL OR organization_id = :organization)
      AND NOT EXISTS (SELECT 1 FROM audit_log WHERE task_id = :task AND event = 'cancelled')
""")

# Queue the status of a cancelled task for publishing.  The caller publishes it too, but may stop before it has.
CANCEL_STATUS: Final = Query("""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', id, :due FROM tasks
    WHERE id = :task AND status = 'cancelled' AND (:organization IS NULL OR organization_id = :organization)
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

# --- release: one batch --------------------------------------------------------------------------------------------

RELEASABLE: Final = """+e.status = 'unknown' AND e.resolve_by_ms >= :now AND (e.follow_ups = 0 OR e.wake_at_ms <= :now)
      AND (:profile IS NULL OR e.profile = :profile)
      AND (:questions OR NOT (e.reason = 'asked' OR e.reason LIKE 'asked:%'))"""
"""The condition of an execution `e` that can be released: its outcome is unknown, its time is not over, no worker is
following it up at the moment, and no person was asked, unless questions are released too.  A worker that is following an
execution up would write its old time back."""

# Let the time of a task's executions of unknown outcome be over, and make them due for their last follow-up.
RELEASE_CALLS: Final = Query(f"""
    UPDATE task_executions AS e SET resolve_by_ms = :now, wake_at_ms = 0
    WHERE e.id BETWEEN {{ids of :task}} AND {RELEASABLE}
      AND EXISTS (SELECT 1 FROM tasks WHERE id = :task AND (:organization IS NULL OR organization_id = :organization))
    RETURNING id
""")

# Record who released a task.
RELEASE_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, organization_id, task_id, actor, event)
    SELECT :now, organization_id, id, :actor, 'released' FROM tasks
    WHERE id = :task AND (:organization IS NULL OR organization_id = :organization)
      AND EXISTS (SELECT 1 FROM task_executions AS e
        WHERE e.id BETWEEN {ids of :task} AND +e.status = 'unknown' AND e.resolve_by_ms = :now)
      AND NOT EXISTS (SELECT 1 FROM audit_log WHERE task_id = :task AND event = 'released' AND at_ms = :now)
""")

# --- adopt ---------------------------------------------------------------------------------------------------------

# Let a limited number of tasks run that are older than the installation.  Block a task that has no organization or no
# route, with that reason.
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
