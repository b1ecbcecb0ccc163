"""Claiming: one batch takes due tasks, open executions that are due for a follow-up, and outbox rows.

The claim of tasks is two statements: CLAIM_LEASE chooses the tasks and writes their ids into a row of `leases`, and
CLAIM_TASKS moves these tasks to running.  The other statements read what was taken.  All of them name the token of the
lease.  So a batch whose answer was lost can be sent again: it finds its lease, and reads the tasks that it took before.
"""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Choose up to :size due tasks, and write their ids into a new lease.  Nothing is chosen while the operator's stop is set.
#
# Fairness: while all that is due fits into the batch, the order is rank, then time.  When it does not fit, organizations
# take turns: each task has a number, which is its turn among the tasks of its organization plus the calls that this run
# has begun for this organization (:used), and the lowest numbers are chosen.  Rank and time decide between equal numbers.
# So one organization cannot get more places by more tasks or higher ranks, and one that got little comes first.
# Organizations behind the first tasks are read only when these fill the batch: otherwise the claim stays cheap.  A run
# whose calls are slow claims up to :most tasks of others, without the organizations in :without.
#
# Safety: a task that lost a worker before may be what kills workers.  It is claimed alone, so that it takes no other
# task along.
#
# Cost: D1 bills every row that a statement reads, rows of intermediate tables too, so each part reads a limited number
# of rows by an index, whatever is scheduled for later.  That is why `first_due` has one limited subquery for each rank.
# They run in the order of ranks, so nothing has to be sorted, and a subquery does not run once the batch is full.
#
# Example: the batch size is 10, so :half is 5.  All tasks have the same rank, and the run has begun no call yet.
# Organization 1 has 100 due tasks, which are the oldest ones.  Organization 2 has 1 due task, organization 3 has 40.
#   first_due            10 tasks of organization 1
#   dominant             organization 1, because 10 is more than 5
#   organization_scan    organizations 1, 2 and 3, from two starting places
#   other_organizations  organizations 2 and 3
#   others_due           1 task of organization 2, 5 tasks of organization 3
#   ranked               turns 1 to 10 of organization 1, turn 1 of organization 2, turns 1 to 5 of organization 3
#   chosen               turns 1 to 4 of organization 1, turn 1 of organization 2 and turns 1 to 4 of organization 3; one
#                        place is left for turn 5, and the task of organization 1 is the older one
# The lease holds 5 tasks of organization 1, 1 of organization 2 and 4 of organization 3.
CLAIM_LEASE: Final = Query("""
    INSERT INTO leases (token, until_ms, task_ids)
    WITH RECURSIVE
    -- The first :size due tasks of all organizations, by rank, then by time.
    first_due (id, organization_id, rank, run_at_ms, lost_leases) AS MATERIALIZED (SELECT * FROM (
      SELECT * FROM (SELECT id, organization_id, rank, run_at_ms, lost_leases FROM tasks
        WHERE status = 'pending' AND rank = 0 AND run_at_ms <= :now ORDER BY run_at_ms, id LIMIT :size)
      UNION ALL SELECT * FROM (SELECT id, organization_id, rank, run_at_ms, lost_leases FROM tasks
        WHERE status = 'pending' AND rank = 1 AND run_at_ms <= :now ORDER BY run_at_ms, id LIMIT :size)
      UNION ALL SELECT * FROM (SELECT id, organization_id, rank, run_at_ms, lost_leases FROM tasks
        WHERE status = 'pending' AND rank = 2 AND run_at_ms <= :now ORDER BY run_at_ms, id LIMIT :size)
      UNION ALL SELECT * FROM (SELECT id, organization_id, rank, run_at_ms, lost_leases FROM tasks
        WHERE status = 'pending' AND rank = 3 AND run_at_ms <= :now ORDER BY run_at_ms, id LIMIT :size)) LIMIT :size),
    -- The organization with more than :half of these tasks, if there is one.
    dominant (organization_id) AS MATERIALIZED (
      SELECT organization_id FROM first_due GROUP BY organization_id HAVING count(*) > :half),
    -- The steps of the scan for other organizations; no row when all that is due fits.
    sought (hops) AS MATERIALIZED (
      SELECT CASE WHEN EXISTS (SELECT 1 FROM dominant) THEN :hops ELSE :few END FROM first_due LIMIT 1 OFFSET :size - 1),
    -- Organizations with pending tasks, stepping by index from a random one (:start) and from the first.
    organization_scan (organization_id, hop) AS (
      SELECT (SELECT organization_id FROM tasks WHERE status = 'pending' AND organization_id >= :start % (1 + (
          SELECT organization_id FROM tasks WHERE status = 'pending' AND organization_id >= 0
          ORDER BY organization_id DESC LIMIT 1))
        ORDER BY organization_id LIMIT 1), 0 FROM sought
      UNION ALL SELECT (SELECT organization_id FROM tasks WHERE status = 'pending' AND organization_id >= 0
        ORDER BY organization_id LIMIT 1), 0 FROM sought
      UNION ALL SELECT (SELECT organization_id FROM tasks WHERE status = 'pending'
        AND organization_id > organization_scan.organization_id ORDER BY organization_id LIMIT 1), hop + 1
        FROM organization_scan WHERE organization_scan.organization_id IS NOT NULL AND hop < (SELECT hops FROM sought)),
    -- The organizations that the scan met, without the dominant one or, if none is, without those in front.
    other_organizations (organization_id) AS MATERIALIZED (
      SELECT DISTINCT organization_id FROM organization_scan
      WHERE organization_id IS NOT NULL AND organization_id NOT IN (SELECT organization_id FROM dominant)
        AND (EXISTS (SELECT 1 FROM dominant) OR organization_id NOT IN (SELECT organization_id FROM first_due))
        AND organization_id NOT IN (SELECT value FROM json_each(:without))
      LIMIT CASE WHEN EXISTS (SELECT 1 FROM dominant) THEN -1 ELSE :half END),
    -- The first due tasks of each of them in each rank: one, and beside a dominant organization up to :half.
    others_due AS (
      SELECT tasks.id, tasks.organization_id, tasks.rank, tasks.run_at_ms, tasks.lost_leases
      FROM other_organizations
      CROSS JOIN (SELECT 0 AS rank UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS ranks
      CROSS JOIN tasks ON tasks.id IN (
        SELECT id FROM tasks AS due WHERE due.status = 'pending'
          AND due.organization_id = other_organizations.organization_id
          AND due.rank = ranks.rank AND due.run_at_ms <= :now ORDER BY due.run_at_ms, due.id
        LIMIT (SELECT CASE WHEN EXISTS (SELECT 1 FROM dominant)
            THEN max(1, min(:half, CAST(4 * :half / count(*) AS INTEGER))) ELSE 1 END FROM other_organizations))),
    -- All candidates, each with its turn among the tasks of its organization.
    ranked AS (
      SELECT id, organization_id, rank, run_at_ms, lost_leases,
        row_number() OVER (PARTITION BY organization_id ORDER BY rank, run_at_ms, id) AS turn
      FROM (SELECT * FROM first_due WHERE EXISTS (SELECT 1 FROM other_organizations) UNION SELECT * FROM others_due)),
    -- The batch: `first_due` in the usual case; otherwise those with the lowest numbers.
    chosen (id, lost_leases) AS (
      SELECT * FROM (SELECT id, lost_leases FROM first_due WHERE NOT EXISTS (SELECT 1 FROM other_organizations)
        AND organization_id NOT IN (SELECT value FROM json_each(:without)) LIMIT :most)
      UNION ALL SELECT * FROM (SELECT id, lost_leases FROM ranked
        WHERE organization_id NOT IN (SELECT value FROM json_each(:without))
        ORDER BY turn + COALESCE(json_extract(:used, '$."' || CAST(organization_id AS INTEGER) || '"'), 0), rank, run_at_ms, id LIMIT :most))
    SELECT :token, :until,
      CASE WHEN max(lost_leases) > 0 THEN json_array(min(CASE WHEN lost_leases > 0 THEN id END))
        ELSE json_group_array(id) END
    FROM chosen WHERE NOT EXISTS (SELECT 1 FROM stops) HAVING count(*) > 0
    ON CONFLICT (token) DO NOTHING
""")

# Move the chosen tasks from pending to running, under the lease.
CLAIM_TASKS: Final = Query("""
    UPDATE tasks SET status = 'running', lease = :token, version = version + 1, blocked_by = NULL, updated_at = :at
    FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken
    WHERE tasks.id = taken.value AND +status = 'pending'
""")

# Read the tasks under the lease, each with its newest execution, with that execution again if it is open, and with the
# result of the previous stage.  A task that repairs an answer gets that answer too.  An execution that the task replaces knowingly (`replaces`) does not count as open.
# A task that has left the lease since the claim was first sent gives a row of NULL, which tells the run that it has a lease.
CLAIMED: Final = Query("""
    SELECT tasks.id, version, template_id, organization_id, title, description, assigned_to, rank, run_at_ms, deadline_ms,
      input, stage, candidate, attempt, repairs, redos, replaces, input_from, feedback, identity, restored,
      (SELECT max(e.id) FROM task_executions e WHERE e.id BETWEEN {ids of tasks.id}) AS newest,
      (SELECT e.id FROM task_executions e WHERE e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
        AND e.status IN {OPEN} AND e.id IS NOT tasks.replaces) AS open_execution,
      (SELECT e.result FROM task_executions e WHERE e.id = tasks.input_from) AS previous,
      (SELECT e.result_key FROM task_executions e WHERE e.id = tasks.input_from) AS previous_key,
      (SELECT f.result FROM task_executions f WHERE tasks.repairs > 0 AND f.id BETWEEN {ids of tasks.id}
        AND f.stage = tasks.stage AND f.candidate = tasks.candidate AND f.status = 'failed' AND f.result IS NOT NULL
        ORDER BY f.id DESC LIMIT 1) AS refused
    FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken
      LEFT JOIN tasks ON tasks.id = taken.value AND tasks.lease = :token
""")

# Read the templates of the tasks under the lease, each once.
CLAIMED_TEMPLATES: Final = Query("""
    SELECT id, version, prompt, input_schema, output_schema, route, limits FROM task_templates WHERE id IN (
      SELECT template_id
      FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken CROSS JOIN tasks ON tasks.id = taken.value)
""")

# Read the budgets that apply to the tasks under the lease.  Where there are no budgets, no task is read (EXISTS).
CLAIMED_BUDGETS: Final = Query("""
    SELECT tasks.id AS task_id, budgets.id, budgets.period, budgets.cap_micro, budgets.refused
    FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken
      CROSS JOIN tasks ON tasks.id = taken.value CROSS JOIN budgets ON {APPLIES}
    WHERE EXISTS (SELECT 1 FROM budgets)
""")

# Take up to :size open executions whose wake time has come.  Their new one is :until: it works as their lease.
# `follow_ups` counts the follow-ups since the last one that its worker finished.  An execution whose last follow-up was
# not finished may be what kills workers.  It is taken alone, so that it takes no other execution along.
CLAIM_FOLLOW_UPS: Final = Query("""
    UPDATE task_executions SET wake_at_ms = :until, follow_ups = follow_ups + 1
    WHERE id IN (
      WITH due (id, follow_ups) AS MATERIALIZED (SELECT id, follow_ups FROM task_executions
        WHERE status IN ('waiting', 'unknown') AND wake_at_ms <= :now ORDER BY wake_at_ms LIMIT :size)
      SELECT id FROM due WHERE id = COALESCE((SELECT min(id) FROM due WHERE follow_ups > 0), id))
    RETURNING id
""")

# Take up to :size due outbox rows: the token becomes their holder until :until.  Two rows of the same kind about one task
# become one row (OR REPLACE), because one effect serves both.
CLAIM_OUTBOX: Final = Query("""
    UPDATE OR REPLACE outbox SET holder = :token, due_ms = :until, attempts = attempts + 1
    WHERE (kind, task_id, holder) IN (
      SELECT kind, task_id, holder FROM outbox WHERE due_ms <= :now ORDER BY due_ms LIMIT :size)
    RETURNING kind, task_id
""")
