"""The rows that `bizq demo` shows.  `:tasks` is a JSON array of the ids of its tasks."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# The tasks of a demo, each with its latest execution, the number of its executions and their known cost.
DEMO_TASKS: Final = Query("""
    SELECT tasks.id, tasks.title, tasks.status, tasks.blocked_by, tasks.reason, organizations.name AS organization,
      template.name AS template, e.profile, e.provider,
      (SELECT count(*) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS attempts,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS cost_micro
    FROM tasks
      JOIN organizations ON organizations.id = tasks.organization_id
      JOIN task_templates template ON template.id = tasks.template_id
      LEFT JOIN task_executions e
        ON e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
    WHERE tasks.id IN (SELECT value FROM json_each(:tasks)) ORDER BY tasks.id
""")

# The costs of a demo by organization and profile: the known cost, the ended executions without one, and the reserved
# money.
DEMO_COSTS: Final = Query("""
    SELECT organizations.name AS organization, e.profile, count(*) AS executions,
      COALESCE(sum(e.cost_micro), 0) AS cost_micro,
      sum(CASE WHEN e.cost_micro IS NULL AND e.status IN ('succeeded', 'failed', 'cancelled') THEN 1 ELSE 0 END) AS unknown,
      COALESCE(sum(CASE WHEN e.cost_micro IS NULL THEN e.reserved_micro END), 0) AS reserved_micro
    FROM tasks JOIN organizations ON organizations.id = tasks.organization_id
      JOIN task_executions e ON e.id BETWEEN {ids of tasks.id}
    WHERE tasks.id IN (SELECT value FROM json_each(:tasks)) GROUP BY 1, 2 ORDER BY 1, 2
""")
