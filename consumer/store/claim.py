"""Claiming: a batch of due tasks, open executions that are due for a follow-up, and outbox rows."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# --- claim -----------------------------------------------------------------------------------------------------
# pending -> running for up to :size due tasks in order of rank; at most :half of them for one organization while
# others are due.  One limited subquery a rank keeps the reads the same whatever is scheduled for later; they run in the
# order of ranks, so that nothing has to be sorted, and those after the last that is needed do not run.  Only when
# one organization fills more than its half are the others looked up, by walking the index of organizations from
# a random place (:start modulo the highest) and from its beginning (:hops steps each); they share the other half.  A task that lost its worker is
# claimed alone.  D1 counts each step of each cursor, over scratch tables too: what is scanned twice is paid twice.

CLAIM_LEASE: Final = Query("""
    INSERT INTO leases (token, until_ms, task_ids)
    WITH RECURSIVE
    front (id, organization_id, rank, run_at_ms, lost) AS MATERIALIZED (SELECT * FROM (
      SELECT * FROM (SELECT id, organization_id, rank, run_at_ms, lost FROM tasks
        WHERE status = 'pending' AND rank = 0 AND run_at_ms <= :now ORDER BY run_at_ms, id LIMIT :size)
      UNION ALL SELECT * FROM (SELECT id, organization_id, rank, run_at_ms, lost FROM tasks
        WHERE status = 'pending' AND rank = 1 AND run_at_ms <= :now ORDER BY run_at_ms, id LIMIT :size)
      UNION ALL SELECT * FROM (SELECT id, organization_id, rank, run_at_ms, lost FROM tasks
        WHERE status = 'pending' AND rank = 2 AND run_at_ms <= :now ORDER BY run_at_ms, id LIMIT :size)
      UNION ALL SELECT * FROM (SELECT id, organization_id, rank, run_at_ms, lost FROM tasks
        WHERE status = 'pending' AND rank = 3 AND run_at_ms <= :now ORDER BY run_at_ms, id LIMIT :size)) LIMIT :size),
    crowd (organization_id) AS MATERIALIZED (
      SELECT organization_id FROM front GROUP BY organization_id HAVING count(*) > :half),
    walk (organization_id, hop) AS (
      SELECT (SELECT organization_id FROM tasks WHERE status = 'pending' AND organization_id >= :start % (1 + (
          SELECT organization_id FROM tasks WHERE status = 'pending' AND organization_id >= 0
          ORDER BY organization_id DESC LIMIT 1))
        ORDER BY organization_id LIMIT 1), 0 FROM crowd
      UNION ALL SELECT (SELECT organization_id FROM tasks WHERE status = 'pending' AND organization_id >= 0
        ORDER BY organization_id LIMIT 1), 0 FROM crowd
      UNION ALL SELECT (SELECT organization_id FROM tasks WHERE status = 'pending'
        AND organization_id > walk.organization_id ORDER BY organization_id LIMIT 1), hop + 1
        FROM walk WHERE walk.organization_id IS NOT NULL AND hop < :hops),
    others (organization_id) AS MATERIALIZED (
      SELECT DISTINCT organization_id FROM walk
      WHERE organization_id IS NOT NULL AND organization_id NOT IN (SELECT organization_id FROM crowd)),
    rest AS (
      SELECT tasks.id, tasks.organization_id, tasks.rank, tasks.run_at_ms, tasks.lost
      FROM others CROSS JOIN (SELECT 0 AS rank UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS ranks
      CROSS JOIN tasks ON tasks.id IN (
        SELECT id FROM tasks AS due WHERE due.status = 'pending' AND due.organization_id = others.organization_id
          AND due.rank = ranks.rank AND due.run_at_ms <= :now ORDER BY due.run_at_ms, due.id
        LIMIT (SELECT max(1, min(:half, CAST(4 * :half / count(*) AS INTEGER))) FROM others))),
    share (tasks) AS MATERIALIZED (
      SELECT CAST((:half + count(*) - 1) / max(1, count(*)) AS INTEGER) FROM others),
    turns AS (
      SELECT id, organization_id, rank, run_at_ms, lost,
        row_number() OVER (PARTITION BY organization_id ORDER BY rank, run_at_ms, id) AS turn
      FROM (SELECT * FROM front WHERE EXISTS (SELECT 1 FROM others) UNION SELECT * FROM rest)),
    chosen (id, lost) AS (
      SELECT id, lost FROM front WHERE NOT EXISTS (SELECT 1 FROM others)
      UNION ALL SELECT * FROM (SELECT id, lost FROM turns
        ORDER BY 2 * (turn > :half) + (organization_id IN (SELECT organization_id FROM others) AND turn > (SELECT tasks FROM share)),
          rank, run_at_ms, id LIMIT :size))
    SELECT :token, :until,
      CASE WHEN max(lost) > 0 THEN json_array(min(CASE WHEN lost > 0 THEN id END)) ELSE json_group_array(id) END
    FROM chosen WHERE NOT EXISTS (SELECT 1 FROM stops) HAVING count(*) > 0
    ON CONFLICT (token) DO NOTHING
""")

CLAIM_TASKS: Final = Query("""
    UPDATE tasks SET status = 'running', lease = :token, version = version + 1, blocked_by = NULL, updated_at = :at
    FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken
    WHERE tasks.id = taken.value AND +status = 'pending'
""")

CLAIMED: Final = Query("""
    SELECT tasks.id, version, template_id, organization_id, title, description, assigned_to, rank, run_at_ms, deadline_ms,
      input, stage, candidate, attempt, repairs, redos, replaces, input_from, feedback,
      (SELECT max(e.id) FROM task_executions e WHERE e.id BETWEEN {ids of tasks.id}) AS newest,
      (SELECT e.id FROM task_executions e WHERE e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
        AND e.status IN {OPEN} AND e.id IS NOT tasks.replaces) AS open_execution,
      (SELECT e.result FROM task_executions e WHERE e.id = tasks.input_from) AS previous,
      (SELECT e.result_key FROM task_executions e WHERE e.id = tasks.input_from) AS previous_key
    FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken CROSS JOIN tasks ON tasks.id = taken.value
    WHERE lease = :token
""")

CLAIMED_TEMPLATES: Final = Query("""
    SELECT id, prompt, output_schema, route, limits FROM task_templates WHERE id IN (
      SELECT template_id
      FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken CROSS JOIN tasks ON tasks.id = taken.value)
""")

CLAIMED_BUDGETS: Final = Query("""
    SELECT tasks.id AS task_id, budgets.id, budgets.period, budgets.cap_micro, budgets.refused
    FROM tasks JOIN budgets ON {APPLIES}
    WHERE tasks.id IN (SELECT value FROM json_each((SELECT task_ids FROM leases WHERE token = :token)))
      AND EXISTS (SELECT 1 FROM budgets)
""")

# --- attend: open executions whose time has come; taking one moves its time on, which is its lease -----------------
# `follow_ups` counts until something is settled: one that was taken before, and of which nothing came, is taken alone, so
# that what kills its workers takes no neighbours along.

CLAIM_FOLLOW_UPS: Final = Query("""
    UPDATE task_executions SET wake_at_ms = :until, follow_ups = follow_ups + 1
    WHERE id IN (
      WITH due (id, follow_ups) AS MATERIALIZED (SELECT id, follow_ups FROM task_executions
        WHERE status IN ('waiting', 'unknown') AND wake_at_ms <= :now ORDER BY wake_at_ms LIMIT :size)
      SELECT id FROM due WHERE id = COALESCE((SELECT min(id) FROM due WHERE follow_ups > 0), id))
    RETURNING id
""")

# Two rows about one task become one: both are served by what is done now.
CLAIM_OUTBOX: Final = Query("""
    UPDATE OR REPLACE outbox SET holder = :token, due_ms = :until, attempts = attempts + 1
    WHERE (kind, task_id, holder) IN (
      SELECT kind, task_id, holder FROM outbox WHERE due_ms <= :now ORDER BY due_ms LIMIT :size)
    RETURNING kind, task_id
""")
