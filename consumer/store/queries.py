"""What callers read: tasks, histories, lists, costs, the inbox, organizations, templates, budgets."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

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

ORGANIZATIONS: Final = Query("""
    SELECT id, name, created_at FROM organizations
    WHERE (:organization IS NULL OR id = :organization) AND (:name IS NULL OR name = :name) ORDER BY id LIMIT :size
""")

KEY: Final = Query(
    "SELECT id, hash, organization_id, role FROM api_keys WHERE id = :id AND revoked_ms IS NULL"
)

TEMPLATE: Final = Query("""
    SELECT id, organization_id, name, description, category, estimated_duration, prompt, input_schema, output_schema,
      route, limits, version
    FROM task_templates WHERE id = :id AND (:organization IS NULL OR organization_id = :organization)
""")

TEMPLATES: Final = Query("""
    SELECT id, organization_id, name, description, category, version, route IS NOT NULL AS usable FROM task_templates
    WHERE (:organization IS NULL OR organization_id = :organization) AND (:name IS NULL OR name = :name)
    ORDER BY id LIMIT :size
""")

BUDGET: Final = Query("""
    SELECT budgets.id, budgets.organization_id, scope, scope_id, period, cap_micro, refused,
      current.id AS current, current.spent_micro, current.reserved_micro, current.ends_ms
    FROM budgets LEFT JOIN budget_periods AS current
      ON current.budget_id = budgets.id AND current.starts_ms <= :now AND current.ends_ms > :now
    WHERE (:id IS NULL OR budgets.id = :id) AND (:organization IS NULL OR budgets.organization_id = :organization)
    ORDER BY budgets.id
""")

_COSTS = """
    SELECT {key} AS key, count(*) AS executions, COALESCE(sum(e.cost_micro), 0) AS cost_micro,
      COALESCE(sum(CASE WHEN e.cost_source = 'bound' THEN e.cost_micro END), 0) AS bound_micro,
      COALESCE(sum(CASE WHEN e.budgets IS NOT NULL THEN max(0, e.cost_micro - e.reserved_micro) END), 0) AS overrun_micro,
      sum(CASE WHEN e.cost_micro IS NULL AND e.status IN ('succeeded', 'failed', 'cancelled') THEN 1 ELSE 0 END) AS unknown,
      COALESCE(sum(CASE WHEN e.cost_micro IS NULL THEN e.reserved_micro END), 0) AS reserved_micro
    FROM task_executions e JOIN tasks ON tasks.id = e.task_id
      LEFT JOIN organizations ON organizations.id = tasks.organization_id
      LEFT JOIN task_templates template ON template.id = tasks.template_id
    WHERE e.profile IS NOT NULL AND (:organization IS NULL OR tasks.organization_id = :organization)
      AND (:since IS NULL OR e.started_at >= :since)
    GROUP BY {of} ORDER BY 1, {of}
"""

# Two organizations, or templates, may have one name.
COSTS: Final = {
    name: Query(_COSTS.replace("{key}", key).replace("{of}", of))
    for name, key, of in (
        ("org", "organizations.name", "organizations.id"),
        ("provider", "e.profile", "e.profile"),
        ("template", "template.name", "template.id"),
        ("day", "substr(e.started_at, 1, 10)", "substr(e.started_at, 1, 10)"),
    )
}
