"""Statements for callers who read: tasks, histories, lists, costs, the inbox, organizations, templates, budgets.

`:organization` limits a statement to the rows of one organization; NULL means all of them."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

_LISTED = """id, template_id, organization_id, title, status, priority, due_date, created_at, updated_at, version, stage,
      attempt, blocked_by, reason, run_at_ms"""

# One task with its input, its template's name and route, its result, and the cost of all its executions.
TASK: Final = Query(
    """
    SELECT {listed}, tasks.description, tasks.assigned_to, tasks.created_by, tasks.deadline_ms, tasks.raise_at_ms,
      tasks.rank, tasks.candidate, tasks.repairs, tasks.redos, tasks.replaces, tasks.feedback, tasks.needs_micro,
      tasks.retry_of, tasks.input, tasks.identity,
      template.name AS template_name, template.route, e.result AS result, e.result_key AS result_key,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS total_micro
    FROM tasks LEFT JOIN task_templates template ON template.id = tasks.template_id
      LEFT JOIN task_executions e ON e.id = tasks.last_execution AND tasks.status = 'completed' AND e.status = 'succeeded'
    WHERE tasks.id = :task AND (:organization IS NULL OR tasks.organization_id = :organization)
""".replace("{listed}", ", ".join(f"tasks.{name.strip()}" for name in _LISTED.split(",")))
)

# Whose tasks a statement reads.  One condition with OR would read the tasks of all organizations, so a statement for one
# organization and the same for all of them, which only an operator may send, are two statements.
OF_ONE: Final = "organization_id = :organization"
OF_ALL: Final = "true"

# Whether a reason begins with the code :reason: the code ends where a colon or a space follows.
_HAS_CODE = """(substr(part.{column}, 1, length(:reason)) = :reason
        AND substr(part.{column}, length(:reason) + 1, 1) IN ('', ':', ' '))"""
MATCHES: Final = f"""(:status IS NULL OR part.status = :status)
      AND (:submitted_after IS NULL OR julianday(part.created_at) >= julianday(:submitted_after))
      AND (:submitted_before IS NULL OR julianday(part.created_at) < julianday(:submitted_before))
      AND (:key_prefix IS NULL OR substr(part.idempotency_key, 1, length(:key_prefix)) = :key_prefix)
      AND (:reason IS NULL OR {_HAS_CODE.replace("{column}", "reason")} OR {_HAS_CODE.replace("{column}", "blocked_by")})
      AND (:template IS NULL OR EXISTS (SELECT 1 FROM task_templates AS its WHERE its.id = part.template_id
        AND (its.name = :template OR CAST(its.id AS TEXT) = :template)))
      AND (:profile IS NULL OR part.blocked_by = 'rest:' || :profile OR EXISTS (SELECT 1 FROM task_executions AS its
        WHERE its.id BETWEEN {{ids of part.id}} AND its.profile = :profile))"""
"""The condition of `TaskFilter` on a row `part` of tasks.  The parts that read further rows come last."""
FILTERED: Final = (
    *("template", "status", "reason", "profile", "submitted_after", "submitted_before", "key_prefix"),
)
"""The parameters of `MATCHES`."""
PART: Final = f"""(SELECT {_LISTED}, idempotency_key, identity FROM tasks
      WHERE {{whose}} AND id < :before ORDER BY id DESC LIMIT :most) AS part"""
"""The tasks below an id that a list or a bulk action reads, without the columns that may be large."""

_LIST = f"""
    SELECT {_LISTED} FROM {PART} WHERE {MATCHES} ORDER BY id DESC LIMIT :size
"""
# A page of the tasks of one organization below an id, newest first.  At most :most tasks are read to find those of a filter.
LIST: Final = Query(_LIST.replace("{whose}", OF_ONE))
# The same for all organizations.
LIST_ALL: Final = Query(_LIST.replace("{whose}", OF_ALL))

_READ = """
    SELECT count(*) AS tasks, min(id) AS last, max(id) AS first
    FROM (SELECT id FROM tasks WHERE {whose} AND id < :before ORDER BY id DESC LIMIT :most)
"""
# How many tasks a page or a sum of one organization reads, the last of them and the first.
READ: Final = Query(_READ.replace("{whose}", OF_ONE))
# The same for all organizations.
READ_ALL: Final = Query(_READ.replace("{whose}", OF_ALL))

# The time since when a task is running that another application set to running: a task of a worker has a lease.
TAKEN: Final = Query("SELECT run_at_ms FROM tasks WHERE id = :task AND +status = 'running' AND lease IS NULL")

# All executions of a task, oldest first.  While a lease holds one, its wake time is -1, which is no time.
EXECUTIONS: Final = Query("""
    SELECT id, execution_type, provider, profile, status, stage, candidate, attempt, started_at, completed_at, cost_micro,
      cost_source, reserved_micro, budgets IS NOT NULL AND cost_micro > reserved_micro AS overrun, usage, external_id,
      assigned_to, NULLIF(wake_at_ms, -1) AS wake_at_ms, resolve_by_ms, reason, note, result, result_key
    FROM task_executions WHERE id BETWEEN {ids of :task} ORDER BY id
""")

# The changes of a task that the audit log has, oldest first.
AUDIT: Final = Query("SELECT at_ms, actor, event, detail FROM audit_log WHERE task_id = :task ORDER BY id")

_COUNTS = """
    SELECT status, count(*) AS tasks FROM (SELECT status FROM tasks WHERE {whose} ORDER BY id DESC LIMIT :most)
    GROUP BY status ORDER BY status
"""
# The number of tasks in each state, among the newest :most of one organization.
COUNTS: Final = Query(_COUNTS.replace("{whose}", OF_ONE))
# The same for all organizations.
COUNTS_ALL: Final = Query(_COUNTS.replace("{whose}", OF_ALL))

# An open assignment or question of a waiting task; with :user, only one that this user may answer.
_WAITS = """FROM tasks CROSS JOIN task_executions e ON e.id BETWEEN {ids of tasks.id}
    WHERE tasks.status = 'waiting' AND {whose}
      AND ((+e.status = 'waiting' AND e.provider = 'inbox') OR (+e.status = 'unknown'
          AND (e.reason = 'asked' OR e.reason LIKE 'asked:%')))
      AND (:user IS NULL OR e.assigned_to IS NULL OR e.assigned_to = :user)"""
_INBOX = f"""
    SELECT e.id, e.task_id, e.lease, e.assigned_to, e.started_at, e.resolve_by_ms, e.profile,
      CASE WHEN e.status = 'unknown' THEN 'question' WHEN e.execution_type = 'hybrid' THEN 'review' ELSE 'human' END AS kind,
      tasks.organization_id, tasks.title, tasks.priority, tasks.rank, tasks.due_date,
      (SELECT name FROM task_templates WHERE task_templates.id = tasks.template_id) AS template_name
    {_WAITS} AND (tasks.rank > :rank OR tasks.rank = :rank AND e.id > :after)
    ORDER BY tasks.rank, tasks.id, e.id LIMIT :size
"""
_INBOX_SIZE = f"SELECT count(*) AS assignments {_WAITS}"
# A page of the open assignments and questions of one organization, the highest rank first.  Only its waiting tasks are read.
INBOX: Final = Query(_INBOX.replace("{whose}", "tasks.organization_id = :organization"))
# The same for all organizations.
INBOX_ALL: Final = Query(_INBOX.replace("{whose}", OF_ALL))
# The number of all open assignments and questions of one organization.
INBOX_SIZE: Final = Query(_INBOX_SIZE.replace("{whose}", "tasks.organization_id = :organization"))
# The same for all organizations.
INBOX_SIZE_ALL: Final = Query(_INBOX_SIZE.replace("{whose}", OF_ALL))

# The organization of a caller; with :name, only if it has that name.
ORGANIZATION: Final = Query("""
    SELECT id, name, created_at FROM organizations WHERE id = :organization AND (:name IS NULL OR name = :name)
""")
# All organizations, by id.
ORGANIZATIONS: Final = Query("SELECT id, name, created_at FROM organizations ORDER BY id LIMIT :size")
# Organizations of one name, by id.
ORGANIZATIONS_OF_NAME: Final = Query(
    "SELECT id, name, created_at FROM organizations WHERE name = :name ORDER BY id LIMIT :size"
)

# An API key that is not revoked.
KEY: Final = Query(
    "SELECT id, hash, organization_id, role FROM api_keys WHERE id = :id AND revoked_ms IS NULL"
)

# One template with everything that `PUT` accepts, and its version.
TEMPLATE: Final = Query("""
    SELECT id, organization_id, name, description, category, estimated_duration, prompt, input_schema, output_schema,
      route, limits, version
    FROM task_templates WHERE id = :id AND (:organization IS NULL OR organization_id = :organization)
""")

_TEMPLATES = """
    SELECT id, organization_id, name, description, category, version, route IS NOT NULL AS usable FROM task_templates
    WHERE {whose} AND (:name IS NULL OR name = :name) ORDER BY id LIMIT :size
"""
# Templates of one organization, by id; with :name, only those of that name.
TEMPLATES: Final = Query(_TEMPLATES.replace("{whose}", OF_ONE))
# The same for all organizations.
TEMPLATES_ALL: Final = Query(_TEMPLATES.replace("{whose}", OF_ALL))

# Budgets with the counters of their current period; with :id, only that budget.  With :tier, only those of that tier.
BUDGET: Final = Query("""
    SELECT budgets.id, budgets.organization_id, tier, scope, scope_id, period, cap_micro, refused,
      current.id AS current, current.spent_micro, current.reserved_micro, current.ends_ms
    FROM budgets LEFT JOIN budget_periods AS current
      ON current.budget_id = budgets.id AND current.starts_ms <= :now AND current.ends_ms > :now
    WHERE (:id IS NULL OR budgets.id = :id) AND (:organization IS NULL OR budgets.organization_id = :organization)
      AND (:tier IS NULL OR tier = :tier)
    ORDER BY budgets.id
""")

_COSTS = """
    WITH part AS (SELECT id, organization_id, template_id FROM tasks WHERE {whose} AND id < :before ORDER BY id DESC LIMIT :most),
    e AS (
      SELECT part.organization_id, part.template_id, e.profile, e.provider, substr(e.started_at, 1, 10) AS day,
        1 AS executions, e.cost_micro, CASE WHEN e.cost_source = 'bound' THEN e.cost_micro END AS bound_micro,
        CASE WHEN e.budgets IS NOT NULL THEN max(0, e.cost_micro - e.reserved_micro) END AS overrun_micro,
        e.cost_micro IS NULL AND e.status IN ('succeeded', 'failed', 'cancelled') AS unknown,
        CASE WHEN e.cost_micro IS NULL THEN e.reserved_micro END AS reserved_micro
      FROM part CROSS JOIN task_executions e ON e.id BETWEEN {ids of part.id}
      WHERE e.profile IS NOT NULL AND (:since IS NULL OR e.started_at >= :since)
      UNION ALL
      SELECT part.organization_id, part.template_id, profile, provider, day, executions, cost_micro, bound_micro,
        overrun_micro, 0, 0
      FROM part CROSS JOIN ledger ON ledger.task_id = part.id
      WHERE :since IS NULL OR day >= substr(:since, 1, 10)
      UNION ALL
      SELECT organization_id, template_id, profile, provider, day, executions, cost_micro, bound_micro, overrun_micro, 0, 0
      FROM ledger
      WHERE task_id = 0 AND {whose} AND :before = 9007199254740990 AND (:since IS NULL OR day >= substr(:since, 1, 10)))
    SELECT {key} AS key, sum(e.executions) AS executions, COALESCE(sum(e.cost_micro), 0) AS cost_micro,
      COALESCE(sum(e.bound_micro), 0) AS bound_micro, COALESCE(sum(e.overrun_micro), 0) AS overrun_micro,
      sum(e.unknown) AS unknown, COALESCE(sum(e.reserved_micro), 0) AS reserved_micro
    FROM e LEFT JOIN organizations ON organizations.id = e.organization_id
      LEFT JOIN task_templates template ON template.id = e.template_id
    GROUP BY {of} ORDER BY 1, {of}
"""

_KEYS = (
    ("org", "organizations.name", "organizations.id"),
    ("profile", "e.profile", "e.profile"),
    ("provider", "e.provider", "e.provider"),
    ("template", "template.name", "template.id"),
    ("day", "e.day", "e.day"),
)

# The costs of the executions of the newest :most tasks of one organization below an id, by one key.  They are grouped by
# id, because two organizations or templates may have one name.  Deleted executions count through the ledger, which knows
# their day and no time; those of deleted tasks count on the first page.
COSTS: Final = {
    name: Query(_COSTS.replace("{key}", key).replace("{of}", of).replace("{whose}", OF_ONE))
    for name, key, of in _KEYS
}
# The same for all organizations.
COSTS_ALL: Final = {
    name: Query(_COSTS.replace("{key}", key).replace("{of}", of).replace("{whose}", OF_ALL))
    for name, key, of in _KEYS
}
