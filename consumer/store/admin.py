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

PUT_BUDGET: Final = Query("""
    INSERT INTO budgets (organization_id, scope, scope_id, period, cap_micro, refused)
    VALUES (:organization, :scope, :scope_id, :period, :cap, :refused)
    ON CONFLICT (scope, scope_id, period) DO UPDATE SET cap_micro = excluded.cap_micro, refused = excluded.refused
    RETURNING id
""")

UPDATE_BUDGET: Final = Query("""
    UPDATE budgets SET cap_micro = :cap, refused = :refused
    WHERE id = :id AND organization_id = :organization AND scope = :scope AND scope_id = :scope_id AND period = :period
    RETURNING id
""")

# A raised cap lets the first of those it blocked try at once.
UNBLOCK_BUDGET: Final = Query("""
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL WHERE id IN (
      SELECT tasks.id FROM budget_periods period
      JOIN tasks ON tasks.status = 'pending' AND tasks.blocked_by IS NOT NULL AND tasks.blocked_by = 'budget:' || period.id
      WHERE period.budget_id = :budget AND period.ends_ms > :now
      ORDER BY tasks.rank, tasks.run_at_ms, tasks.id LIMIT 100)
    RETURNING id
""")

ALERT_AGAIN: Final = Query("""
    UPDATE budget_periods SET alerted_ms = NULL WHERE budget_id = :budget AND ends_ms > :now AND alerted_ms IS NOT NULL
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

BUDGET_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, organization_id, actor, event, detail)
    VALUES (:now, :organization, :actor, 'budget', :detail)
""")

SCOPE_EXISTS: Final = Query("""
    SELECT 1 AS found WHERE CASE :scope
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
    GROUP BY 1 ORDER BY 1
"""
COSTS: Final = {
    "org": Query(_COSTS.replace("{key}", "organizations.name")),
    "provider": Query(_COSTS.replace("{key}", "e.profile")),
    "template": Query(_COSTS.replace("{key}", "template.name")),
    "day": Query(_COSTS.replace("{key}", "substr(e.started_at, 1, 10)")),
}
