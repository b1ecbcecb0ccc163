"""The statements of a run: claim, begin, settle, release, renew, finish.

The fence is `tasks.version`: it goes up by one with every transition, and every statement that changes a task
names the version it saw.  Each batch may be sent again after an ambiguous commit: a second time changes nothing.
"""

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
      input, stage, candidate, attempt, repairs, redos, replaces, fed_by, feedback,
      (SELECT max(e.id) FROM task_executions e WHERE e.id BETWEEN {ids of tasks.id}) AS newest,
      (SELECT e.id FROM task_executions e WHERE e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
        AND e.status IN {OPEN} AND e.id IS NOT tasks.replaces) AS open_execution,
      (SELECT e.result FROM task_executions e WHERE e.id = tasks.fed_by) AS fed,
      (SELECT e.result_key FROM task_executions e WHERE e.id = tasks.fed_by) AS fed_key
    FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken CROSS JOIN tasks ON tasks.id = taken.value
    WHERE lease = :token
""")

CLAIMED_TEMPLATES: Final = Query("""
    SELECT id, prompt, output_schema, route, limits FROM task_templates WHERE id IN (
      SELECT template_id
      FROM json_each((SELECT task_ids FROM leases WHERE token = :token)) AS taken CROSS JOIN tasks ON tasks.id = taken.value)
""")

_APPLIES: Final = """(budgets.scope = 'organization' AND budgets.scope_id = tasks.organization_id
        OR budgets.scope = 'template' AND budgets.scope_id = tasks.template_id
        OR budgets.scope = 'task' AND budgets.scope_id = tasks.id)"""

CLAIMED_BUDGETS: Final = Query(f"""
    SELECT tasks.id AS task_id, budgets.id, budgets.period, budgets.cap_micro, budgets.refused
    FROM tasks JOIN budgets ON {_APPLIES}
    WHERE tasks.id IN (SELECT value FROM json_each((SELECT task_ids FROM leases WHERE token = :token)))
      AND EXISTS (SELECT 1 FROM budgets)
""")

# --- attend: open executions whose time has come; taking one moves its time on, which is its lease -----------------
# `looks` counts until something is settled: one that was taken before, and of which nothing came, is taken alone, so
# that what kills its workers takes no neighbours along.

CLAIM_ATTENTION: Final = Query("""
    UPDATE task_executions SET wake_at_ms = :until, looks = looks + 1
    WHERE id IN (
      WITH due (id, looks) AS MATERIALIZED (SELECT id, looks FROM task_executions
        WHERE status IN ('waiting', 'unknown') AND wake_at_ms <= :now ORDER BY wake_at_ms LIMIT :size)
      SELECT id FROM due WHERE id = COALESCE((SELECT min(id) FROM due WHERE looks > 0), id))
    RETURNING id
""")

SURVIVED: Final = Query("""
    UPDATE task_executions SET looks = 0 WHERE id IN (SELECT value FROM json_each(:executions)) AND +status IN {OPEN}
""")

# Taken, and not looked at.
GIVE_BACK: Final = Query("""
    UPDATE task_executions SET looks = max(0, looks - 1), wake_at_ms = min(wake_at_ms, :now)
    WHERE id IN (SELECT value FROM json_each(:executions)) AND +status IN ('waiting', 'unknown')
""")

# Two rows about one task become one: both are served by what is done now.
CLAIM_OUTBOX: Final = Query("""
    UPDATE OR REPLACE outbox SET holder = :token, due_ms = :until, attempts = attempts + 1
    WHERE (kind, task_id, holder) IN (
      SELECT kind, task_id, holder FROM outbox WHERE due_ms <= :now ORDER BY due_ms LIMIT :size)
    RETURNING kind, task_id
""")

# Published, though maybe not as the version that it has by now: then OVERTAKEN leaves a row that is nobody's.
DONE_OUTBOX: Final = Query("""
    DELETE FROM outbox WHERE (kind, task_id, holder) IN (SELECT 'publish', value ->> 't', :token FROM json_each(:rows))
""")

# --- begin: the intent, with its reservation, before anything is sent ---------------------------------------------
# A period that has no row yet gets one; the wall itself is the trigger `executions_admission`, of the budgets that the
# execution names: one that was set after its task was claimed keeps it out until the task is claimed again.  It is ours
# when it carries our lease: after an ambiguous commit it may have ended already, in the same batch.  Only the execution before it may be in its way: an older one that is still open was repeated, or answered for, knowingly.

BEGIN_PERIODS: Final = Query("""
    INSERT INTO budget_periods (id, budget_id, starts_ms, ends_ms)
    SELECT value ->> 'id', value ->> 'budget', value ->> 'starts', value ->> 'ends' FROM json_each(:periods)
    WHERE EXISTS (SELECT 1 FROM budgets WHERE id = value ->> 'budget')
    ON CONFLICT (id) DO NOTHING
""")

BEGIN: Final = Query(
    """
    INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, stage, candidate, attempt,
      lease, started_at, started_ms, wake_at_ms, reserved_micro, budgets, assigned_to)
    SELECT value ->> 'e', tasks.id, value ->> 'type', value ->> 'provider', value ->> 'profile', 'running',
      tasks.stage, tasks.candidate, tasks.attempt, tasks.lease, :at, :now, -1, value ->> 'reserve',
      value ->> 'budgets', value ->> 'who'
    FROM json_each(:rows) AS intent CROSS JOIN tasks ON tasks.id = value ->> 't'
    WHERE tasks.version = value ->> 'v' AND tasks.status = 'running' AND NOT EXISTS (SELECT 1 FROM stops)
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.id = value ->> 'e')
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.id = (value ->> 'e') - 1
        AND e.status IN {OPEN} AND e.id IS NOT tasks.replaces)
      AND NOT EXISTS (SELECT 1 FROM budgets
        WHERE {APPLIES} AND id NOT IN (SELECT CAST(asked.value AS INTEGER) FROM json_each(intent.value ->> 'budgets') AS asked))
""".replace("{APPLIES}", _APPLIES)
)

BEGUN: Final = Query("""
    SELECT e.id, e.status FROM json_each(:rows) CROSS JOIN task_executions e ON e.id = value ->> 'e'
    WHERE e.lease = value ->> 'lease'
""")

STOPPED: Final = Query("SELECT at_ms, actor, reason FROM stops")

FULL_PERIODS: Final = Query("""
    SELECT period.id, budget.id AS budget, period.ends_ms, period.spent_micro, period.reserved_micro, budget.cap_micro,
      budget.refused
    FROM budget_periods AS period JOIN budgets AS budget ON budget.id = period.budget_id
    WHERE period.id IN (SELECT value FROM json_each(:periods))
""")

# --- settle: an execution's end, its task's next state and the money, in one batch --------------------------------
# An execution changes only under the fence of its task (or when its task is gone); the caller reads the verdict
# from SETTLED, never from a change count, and decides again when the fence had moved.

SETTLE_EXECUTIONS: Final = Query("""
    UPDATE task_executions SET
      status = value ->> 'state', result = value ->> 'result', result_key = value ->> 'key',
      cost_micro = value ->> 'cost', cost = (value ->> 'cost') / 1000000.0, cost_source = value ->> 'source',
      usage = value ->> 'usage', reason = value ->> 'why', external_id = COALESCE(value ->> 'external', external_id),
      wake_at_ms = value ->> 'wake', resolve_by_ms = value ->> 'resolve', completed_at = value ->> 'done',
      looks = 0
    FROM json_each(:rows)
    WHERE task_executions.id = value ->> 'e' AND task_executions.status IN {OPEN}
      AND COALESCE((SELECT version FROM tasks WHERE id = value ->> 't'), value ->> 'v') = value ->> 'v'
      AND (value ->> 'late' IS NULL OR note = 'late answer of execution ' || (value ->> 'late'))
""")

SETTLE_TASKS: Final = Query("""
    UPDATE tasks SET
      status = value ->> 'to', version = version + 1, last_execution = value ->> 'e', updated_at = :at,
      lease = CASE WHEN value ->> 'to' = 'running' THEN lease END, lost = 0,
      stage = value ->> 'stage', candidate = value ->> 'candidate', attempt = value ->> 'attempt',
      repairs = value ->> 'repairs', redos = value ->> 'redos', replaces = value ->> 'replaces',
      fed_by = CASE WHEN value ->> 'fed' THEN value ->> 'e'
        WHEN value ->> 'stage' < stage AND value ->> 'stage' > 0 THEN (SELECT max(f.id) FROM task_executions f
          WHERE f.id BETWEEN {ids of tasks.id} AND f.stage = (value ->> 'stage') - 1 AND f.status = 'succeeded')
        ELSE fed_by END,
      run_at_ms = value ->> 'run_at', reason = value ->> 'reason',
      feedback = COALESCE(value ->> 'feedback', CASE WHEN stage = value ->> 'stage'
        AND (candidate = value ->> 'candidate' OR repairs = 0) THEN feedback END)
    FROM json_each(:rows)
    WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' AND value ->> 'to' IS NOT NULL
      AND EXISTS (SELECT 1 FROM task_executions e WHERE e.id = value ->> 'e' AND e.status = value ->> 'state')
""")

# A sibling that is still open when the stage or the task has ended is asked to stop.
SETTLE_SIBLINGS: Final = Query("""
    UPDATE task_executions SET wake_at_ms = 0
    FROM json_each(:rows)
    WHERE task_executions.id BETWEEN {ids of (value ->> 't')} AND task_executions.id <> value ->> 'e'
      AND +task_executions.status IN ('waiting', 'unknown')
      AND EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' + 1
        AND tasks.last_execution = value ->> 'e')
""")

SETTLE_OUTBOX: Final = Query("""
    INSERT INTO outbox (kind, task_id, holder, due_ms)
    SELECT 'publish', value ->> 't', :holder, :due FROM json_each(:rows)
    WHERE EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' + 1
      AND tasks.last_execution = value ->> 'e')
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

SETTLED: Final = Query("""
    SELECT e.id, e.status AS state, e.cost_micro, tasks.id AS task_id, tasks.version, tasks.status, tasks.last_execution,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of e.task_id}) AS total_micro
    FROM json_each(:rows) CROSS JOIN task_executions e ON e.id = value ->> 'e' LEFT JOIN tasks ON tasks.id = e.task_id
""")

# A bill that comes after the end: believed when nothing better was known.
REBILL: Final = Query("""
    UPDATE task_executions SET cost_micro = :cost, cost = :cost / 1000000.0, cost_source = :source, usage = :usage
    WHERE id = :execution AND status NOT IN {OPEN} AND (cost_micro IS NULL OR cost_source IN ('bound', 'none')
      OR (:source = 'provider' AND cost_source IN ('declared', 'price_book')))
      AND (cost_micro IS NOT :cost OR cost_source IS NOT :source)
    RETURNING task_id
""")

# --- release, block, renew, finish ---------------------------------------------------------------------------------

# A begin that was refused may land after all: its first sending, when there is room again.  Only whoever knows that
# nothing was sent can say so, and after the release, which moves the version, it cannot land any more.
UNSENT: Final = Query("""
    UPDATE task_executions SET status = 'cancelled', reason = 'never sent', cost_micro = 0, cost = 0, cost_source = 'none',
      completed_at = :at, wake_at_ms = NULL
    FROM json_each(:rows)
    WHERE task_executions.id = value ->> 'e' AND task_executions.status = 'running'
      AND task_executions.lease = value ->> 'lease'
      AND EXISTS (SELECT 1 FROM tasks WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' AND tasks.status = 'running')
""")

RELEASE: Final = Query("""
    UPDATE tasks SET status = value ->> 'to', lease = NULL, version = version + 1, updated_at = :at,
      run_at_ms = COALESCE(value ->> 'run_at', run_at_ms), blocked_by = value ->> 'blocked_by',
      needs_micro = value ->> 'needs',
      reason = COALESCE(value ->> 'reason', reason), lost = CASE WHEN value ->> 'blocked_by' IS NULL THEN lost ELSE 0 END
    FROM json_each(:rows)
    WHERE tasks.id = value ->> 't' AND tasks.version = value ->> 'v' AND tasks.status = 'running'
""")

RENEW: Final = Query(
    "UPDATE leases SET until_ms = :until WHERE token IN (SELECT value FROM json_each(:tokens))"
)

# A lease that still holds a task stays, for the sweep: a claim that was sent again may land once more, seconds later,
# on tasks that were given back meanwhile.
FINISH: Final = Query("""
    DELETE FROM leases WHERE token IN (SELECT value FROM json_each(:tokens))
      AND NOT EXISTS (SELECT 1 FROM json_each(leases.task_ids) AS task CROSS JOIN tasks
        ON tasks.id = task.value AND tasks.status = 'running' AND tasks.lease = leases.token)
""")

# Where a task has moved on since its status was written: the one who moved it may have published before us.
OVERTAKEN: Final = Query("""
    INSERT INTO outbox (kind, task_id, due_ms)
    SELECT 'publish', tasks.id, :due FROM json_each(:rows) CROSS JOIN tasks ON tasks.id = value ->> 't'
    WHERE tasks.version > value ->> 'v'
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = min(due_ms, excluded.due_ms)
""")

PUBLISH_COST: Final = Query("""
    INSERT INTO outbox (kind, task_id, due_ms) SELECT 'publish', id, :due FROM tasks
    WHERE id = :task AND status IN {FINISHED} ON CONFLICT (kind, task_id, holder) DO NOTHING
""")

PUBLISH_LATER: Final = Query("""
    INSERT INTO outbox (kind, task_id, holder, due_ms)
    SELECT 'publish', value, :holder, :due FROM json_each(:tasks) WHERE true
    ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = excluded.due_ms
""")

# --- views ---------------------------------------------------------------------------------------------------------

SITUATIONS: Final = Query("""
    SELECT e.id, e.task_id, e.status AS state, e.profile, e.provider, e.stage AS execution_stage,
      e.candidate AS execution_candidate, e.started_ms, e.external_id, e.resolve_by_ms, e.reserved_micro, e.cost_micro,
      e.cost_source, e.budgets, e.looks, e.assigned_to, e.reason AS execution_reason, e.result, e.result_key, e.note,
      EXISTS (SELECT 1 FROM stops) AS stopped,
      tasks.id AS present, tasks.version, tasks.status, tasks.organization_id, tasks.template_id, tasks.title,
      tasks.description, tasks.input, tasks.reason, tasks.stage, tasks.candidate, tasks.attempt, tasks.repairs, tasks.redos,
      tasks.replaces, tasks.deadline_ms, tasks.feedback, tasks.fed_by,
      (SELECT max(s.id) FROM task_executions s WHERE s.id BETWEEN {ids of e.task_id}) AS newest,
      (SELECT max(s.stage <> e.stage) FROM task_executions s WHERE s.id > e.id AND s.id BETWEEN {ids of e.task_id}) AS passed,
      (SELECT f.result FROM task_executions f WHERE f.id = tasks.fed_by) AS fed,
      (SELECT f.result_key FROM task_executions f WHERE f.id = tasks.fed_by) AS fed_key,
      t.prompt, t.output_schema, t.route, t.limits
    FROM task_executions e LEFT JOIN tasks ON tasks.id = e.task_id LEFT JOIN task_templates t ON t.id = tasks.template_id
    WHERE e.id IN (SELECT value FROM json_each(:executions))
""")

SNAPSHOTS: Final = Query("""
    SELECT tasks.id, tasks.organization_id, tasks.version, tasks.status, tasks.stage, tasks.attempt, tasks.updated_at, tasks.blocked_by,
      tasks.reason, tasks.run_at_ms, e.provider, e.profile,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS total_micro
    FROM tasks LEFT JOIN task_executions e
      ON e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
    WHERE tasks.id IN (SELECT value FROM json_each(:tasks))
""")
