"""What operators change: organizations, users, keys, templates, budgets."""

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

CREATE_KEY: Final = Query("""
    INSERT INTO api_keys (id, hash, organization_id, role, created_ms) VALUES (:id, :hash, :organization, :role, :now)
    ON CONFLICT (id) DO NOTHING
""")

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

# A row when the organization has what the scope names, with the budget that there is for it already.
SCOPE: Final = Query(f"""
    SELECT ({_BUDGET}) AS budget WHERE CASE :scope
      WHEN 'organization' THEN :scope_id = :organization AND EXISTS (SELECT 1 FROM organizations WHERE id = :scope_id)
      WHEN 'template' THEN EXISTS (SELECT 1 FROM task_templates WHERE id = :scope_id AND organization_id = :organization)
      ELSE EXISTS (SELECT 1 FROM tasks WHERE id = :scope_id AND organization_id = :organization) END
""")
