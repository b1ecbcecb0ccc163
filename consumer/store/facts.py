"""Reading everything that is known of executions, without a lease."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Read executions with their task, its template, and what a decision needs to know of their siblings.
SITUATIONS: Final = Query("""
    SELECT e.id, e.task_id, e.status AS state, e.profile, e.provider, e.stage AS execution_stage,
      e.candidate AS execution_candidate, e.attempt AS execution_attempt, e.lease, e.started_ms, e.external_id, e.resolve_by_ms, e.reserved_micro, e.cost_micro,
      e.cost_source, e.budgets, e.follow_ups, e.assigned_to, e.reason AS execution_reason, e.result, e.result_key,
      e.note, EXISTS (SELECT 1 FROM stops) AS stopped,
      tasks.id AS present, tasks.version, tasks.status, tasks.organization_id, tasks.template_id, tasks.title,
      tasks.description, tasks.input, tasks.reason, tasks.stage, tasks.candidate, tasks.attempt, tasks.repairs,
      tasks.redos, tasks.replaces, tasks.deadline_ms, tasks.feedback, tasks.input_from, tasks.identity,
      (SELECT max(s.id) FROM task_executions s WHERE s.id BETWEEN {ids of e.task_id}) AS newest,
      (SELECT max(s.stage <> e.stage) FROM task_executions s
        WHERE s.id > e.id AND s.id BETWEEN {ids of e.task_id}) AS passed,
      (SELECT f.result FROM task_executions f WHERE f.id = tasks.input_from) AS previous,
      (SELECT f.result_key FROM task_executions f WHERE f.id = tasks.input_from) AS previous_key,
      (SELECT f.result FROM task_executions f WHERE tasks.repairs > 0 AND f.id BETWEEN {ids of tasks.id} AND f.id < e.id
        AND f.stage = e.stage AND f.candidate = e.candidate AND f.status = 'failed' AND f.result IS NOT NULL
        ORDER BY f.id DESC LIMIT 1) AS refused,
      t.id AS template, t.prompt, t.output_schema, t.route, t.limits
    FROM task_executions e LEFT JOIN tasks ON tasks.id = e.task_id
      LEFT JOIN task_templates t ON t.id = tasks.template_id
    WHERE e.id IN (SELECT value FROM json_each(:executions))
""")
