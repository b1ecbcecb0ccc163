"""What administrators and operators change: organizations, users, keys, templates, budgets."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Create an organization, unless one has this name.  It has no key of ours, so this must not be sent twice.
CREATE_ORGANIZATION: Final = Query("""
    INSERT INTO organizations (name, created_at) SELECT :name, :at
    WHERE NOT EXISTS (SELECT 1 FROM organizations WHERE name = :name) RETURNING id
""")

# Find the organization that has a name.
ORGANIZATION_NAMED: Final = Query("SELECT id FROM organizations WHERE name = :name ORDER BY id LIMIT 1")

# Create a user of an organization, unless one of its users has this address.  This must not be sent twice either.
CREATE_USER: Final = Query("""
    INSERT INTO users (organization_id, email, name, role, created_at) SELECT :organization, :email, :name, :role, :at
    WHERE NOT EXISTS (SELECT 1 FROM users WHERE organization_id = :organization AND email = :email COLLATE NOCASE)
    RETURNING id
""")

# Find the user of an organization who has an address.
USER_ADDRESSED: Final = Query("""
    SELECT id FROM users WHERE organization_id = :organization AND email = :email COLLATE NOCASE ORDER BY id LIMIT 1
""")

# Read an organization, to check that it exists.
ORGANIZATION: Final = Query("SELECT id, name FROM organizations WHERE id = :organization")

# Store an API key by its hash.  Its random id makes the statement safe to send twice.
CREATE_KEY: Final = Query("""
    INSERT INTO api_keys (id, hash, organization_id, role, created_ms) VALUES (:id, :hash, :organization, :role, :now)
    ON CONFLICT (id) DO NOTHING
""")

# Revoke an API key.  An unknown or revoked key returns no row.
REVOKE_KEY: Final = Query(
    "UPDATE api_keys SET revoked_ms = :now WHERE id = :id AND revoked_ms IS NULL RETURNING id"
)

# Create a template.  This must not be sent twice.
INSERT_TEMPLATE: Final = Query("""
    INSERT INTO task_templates (organization_id, name, description, category, estimated_duration, created_at, prompt,
      input_schema, output_schema, route, limits, version)
    VALUES (:organization, :name, :description, :category, :duration, :at, :prompt, :input_schema, :output_schema, :route,
      :limits, 1)
    RETURNING id
""")

# Replace a template of the organization.  It returns no row if the organization has no such template.
UPDATE_TEMPLATE: Final = Query("""
    UPDATE task_templates SET name = :name, description = :description, category = :category,
      estimated_duration = :duration, prompt = :prompt, input_schema = :input_schema, output_schema = :output_schema,
      route = :route, limits = :limits, version = version + 1
    WHERE id = :id AND organization_id = :organization
    RETURNING id
""")

# Make the tasks due that waited for this template to get a valid route.  Their blocker is `no_route:ID`, and a detail may
# follow after a colon, which sorts before the semicolon.
UNBLOCK_TEMPLATE: Final = Query("""
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    WHERE status = 'pending' AND blocked_by IS NOT NULL
      AND blocked_by >= 'no_route:' || CAST(:id AS INTEGER) AND blocked_by < 'no_route:' || CAST(:id AS INTEGER) || ';'
      AND template_id = :id
    RETURNING id
""")

# Forget the amount that the tasks which wait for room in a budget need.  The template may have changed it, so the sweep
# lets these tasks try again.
FORGET_NEEDS: Final = Query("""
    UPDATE tasks SET needs_micro = NULL WHERE status = 'pending' AND blocked_by IS NOT NULL
      AND blocked_by >= 'budget:' AND blocked_by < 'budget;' AND template_id = :id
""")

# The id of the budget of this tier with this scope and period.
_BUDGET = """SELECT id FROM budgets
      WHERE scope = :scope AND scope_id = :scope_id AND period = :period AND tier = :tier"""

# Whose limit a budget is.
TIER: Final = Query("SELECT tier FROM budgets WHERE id = :id")

# Create a budget or change its cap.  The budget goes to the organization that owns its template or task today, which may
# be another one than when the budget was created.
PUT_BUDGET: Final = Query("""
    INSERT INTO budgets (organization_id, tier, scope, scope_id, period, cap_micro, refused)
    VALUES (:organization, :tier, :scope, :scope_id, :period, :cap, :refused)
    ON CONFLICT (scope, scope_id, period, tier) DO UPDATE SET cap_micro = excluded.cap_micro, refused = excluded.refused,
      organization_id = excluded.organization_id
    RETURNING id
""")

# Allow another alert for the current periods of a budget whose cap has changed.
ALERT_AGAIN: Final = Query(f"""
    UPDATE budget_periods SET alerted_ms = NULL
    WHERE budget_id = ({_BUDGET}) AND ends_ms > :now AND alerted_ms IS NOT NULL
""")

# Record who set the cap.  The condition on the last 100 records keeps a batch that is sent twice from adding a second one.
BUDGET_AUDIT: Final = Query(f"""
    INSERT INTO audit_log (at_ms, organization_id, actor, event, detail)
    SELECT :now, :organization, :actor, 'budget', 'budget ' || ({_BUDGET}) || ': ' || :detail
    WHERE NOT EXISTS (SELECT 1 FROM audit_log WHERE id > (SELECT max(id) FROM audit_log) - 100
      AND at_ms = :now AND actor = :actor AND detail = 'budget ' || ({_BUDGET}) || ': ' || :detail)
""")

# Check that the scope of a budget exists and belongs to the organization: one row if so, with the id of the budget that
# exists for it, and no row otherwise.
SCOPE: Final = Query(f"""
    SELECT ({_BUDGET}) AS budget WHERE CASE :scope
      WHEN 'organization' THEN :scope_id = :organization AND EXISTS (SELECT 1 FROM organizations WHERE id = :scope_id)
      WHEN 'template' THEN EXISTS (SELECT 1 FROM task_templates WHERE id = :scope_id AND organization_id = :organization)
      ELSE EXISTS (SELECT 1 FROM tasks WHERE id = :scope_id AND organization_id = :organization) END
""")
