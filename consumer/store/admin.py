"""Organizations, users, keys, templates, budgets, costs."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

CREATE_ORGANIZATION: Final = Query(
    "INSERT INTO organizations (name, created_at) VALUES (:name, :at) RETURNING id"
)

CREATE_USER: Final = Query("""
    INSERT INTO users (organization_id, email, name, role, created_at) VALUES (:organization, :email, :name, :role, :at)
    RETURNING id
""")

ORGANIZATION: Final = Query("SELECT id, name FROM organizations WHERE id = :organization")
ORGANIZATIONS: Final = Query("""
    SELECT id, name, created_at FROM organizations
    WHERE (:organization IS NULL OR id = :organization) AND (:name IS NULL OR name = :name) ORDER BY id LIMIT :size
""")
ORGANIZATIONS_NAMED: Final = Query("""
    SELECT id, name FROM organizations
    WHERE id IN (SELECT value FROM json_each(:wanted)) OR name IN (SELECT value FROM json_each(:wanted)) ORDER BY id
""")

CREATE_KEY: Final = Query("""
    INSERT INTO api_keys (id, hash, organization_id, role, created_ms) VALUES (:id, :hash, :organization, :role, :now)
    ON CONFLICT (id) DO NOTHING
""")
KEY: Final = Query(
    "SELECT id, hash, organization_id, role FROM api_keys WHERE id = :id AND revoked_ms IS NULL"
)
REVOKE_KEY: Final = Query(
    "UPDATE api_keys SET revoked_ms = :now WHERE id = :id AND revoked_ms IS NULL RETURNING id"
)

INSERT_TEMPLATE: Final = Query("""
    INSERT INTO task_templates (organization_id, name, description, category, estimated_duration, created_at, prompt,
      input_schema, output_schema, route, limits, version)
    VALUES (:organization, :name, :description, :category, :duration, :at, :prompt, :input_schema, :output_schema, :route,
      :limits, 1)
    RETURNING id
""")

UPDATE_TEMPLATE: Final = Query("""
    UPDATE task_templates SET name = :name, description = :description, category = :category,
      estimated_duration = :duration, prompt = :prompt, input_schema = :input_schema, output_schema = :output_schema,
      route = :route, limits = :limits, version = version + 1
    WHERE id = :id AND organization_id = :organization
    RETURNING id
""")

# Tasks that waited for a valid route.
UNBLOCK_TEMPLATE: Final = Query("""
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    WHERE status = 'pending' AND blocked_by IS NOT NULL
      AND blocked_by >= 'no_route:' || CAST(:id AS INTEGER) AND blocked_by < 'no_route:' || CAST(:id AS INTEGER) || ';'
      AND template_id = :id
    RETURNING id
""")

# What a call of it needs at most may have changed: the sweep lets those that waited for room try again.
TEMPLATE_NEEDS: Final = Query("""
    UPDATE tasks SET needs_micro = NULL WHERE status = 'pending' AND blocked_by IS NOT NULL
      AND blocked_by >= 'budget:' AND blocked_by < 'budget;' AND template_id = :id
""")

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

TEMPLATES_NAMED: Final = Query("""
    SELECT id, name, input_schema, route, limits FROM task_templates
    WHERE organization_id = :organization
      AND (id IN (SELECT value FROM json_each(:wanted)) OR name IN (SELECT value FROM json_each(:wanted)))
    ORDER BY id
""")

_BUDGET = "SELECT id FROM budgets WHERE scope = :scope AND scope_id = :scope_id AND period = :period"

# Whoever owns a template or a task has its budgets, though it was another's when they were set.
PUT_BUDGET: Final = Query("""
    INSERT INTO budgets (organization_id, scope, scope_id, period, cap_micro, refused)
    VALUES (:organization, :scope, :scope_id, :period, :cap, :refused)
    ON CONFLICT (scope, scope_id, period) DO UPDATE SET cap_micro = excluded.cap_micro, refused = excluded.refused,
      organization_id = excluded.organization_id
    RETURNING id
""")

ALERT_AGAIN: Final = Query(f"""
    UPDATE budget_periods SET alerted_ms = NULL
    WHERE budget_id = ({_BUDGET}) AND ends_ms > :now AND alerted_ms IS NOT NULL
""")

# Once, however often the batch is sent: what was said a moment ago is not said again.
BUDGET_AUDIT: Final = Query(f"""
    INSERT INTO audit_log (at_ms, organization_id, actor, event, detail)
    SELECT :now, :organization, :actor, 'budget', 'budget ' || ({_BUDGET}) || ': ' || :detail
    WHERE NOT EXISTS (SELECT 1 FROM audit_log WHERE id > (SELECT max(id) FROM audit_log) - 100
      AND at_ms = :now AND actor = :actor AND detail = 'budget ' || ({_BUDGET}) || ': ' || :detail)
""")

STOP: Final = Query("""
    INSERT INTO stops (id, at_ms, actor, reason) VALUES (1, :now, :actor, :reason) ON CONFLICT DO NOTHING RETURNING id
""")

RESUME: Final = Query("DELETE FROM stops RETURNING id")

STOP_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, actor, event, detail)
    SELECT at_ms, actor, 'spending stopped', reason FROM stops WHERE at_ms = :now AND actor = :actor
""")

RESUME_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, actor, event, detail) SELECT :now, :actor, 'spending resumed', reason FROM stops
""")

# A row when the organization has what the scope names, with the budget that there is for it already.
SCOPE: Final = Query(f"""
    SELECT ({_BUDGET}) AS budget WHERE CASE :scope
      WHEN 'organization' THEN :scope_id = :organization AND EXISTS (SELECT 1 FROM organizations WHERE id = :scope_id)
      WHEN 'template' THEN EXISTS (SELECT 1 FROM task_templates WHERE id = :scope_id AND organization_id = :organization)
      ELSE EXISTS (SELECT 1 FROM tasks WHERE id = :scope_id AND organization_id = :organization) END
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
