"""Room in budgets: what blocks a task, and which blocked tasks become due.

A task that a budget refused is due at no time.  `blocked_by` names the budget: `budget:7`, or `budget:operator:8` for a
budget of the operator.  Three events bring room: a call cost less than was reserved for it, a cap was raised, a period
began.  Then as many tasks become due as fit into the room.  A task that was woken keeps its blocker until it is claimed,
so that its room is not given to another task as well.
"""

from __future__ import annotations

from typing import Final

from consumer.core.policy import NEVER
from consumer.store.sql import Query

# The name under which a budget blocks tasks.
_NAME = "CASE budget.tier WHEN 'operator' THEN 'budget:operator:' ELSE 'budget:' END || budget.id"

# The tasks that one budget keeps back.  The words are those of the index `tasks_needs`.
_BLOCKED = "status = 'pending' AND blocked_by IS NOT NULL AND blocked_by = free.name"
_KEPT_BACK = f"{_BLOCKED} AND run_at_ms = {NEVER}"

# Make the tasks due that fit into the room of the budgets `wanted (id)`.
#
# The room is what the cap leaves in the current period, less the needs of tasks that were woken since :since and are not
# claimed yet.  A budget is read further only if the task that needs least fits into its room.  Then the first :most tasks
# in order of rank and age are read, and the :most tasks that need least: so a task that fits is found behind any number
# of tasks that do not fit.  (The first part says >=, because with = SQLite would sort all of them.)  The tasks that fit become due in order of rank and age until the room is full.
# `needs_micro` is the amount that a task needed when it was refused.  NULL means that this may have changed: then about
# ten tasks at a time may try.
_WAKE = f"""
    free (name, room) AS MATERIALIZED (
      SELECT {_NAME}, budget.cap_micro - COALESCE(period.spent_micro + period.reserved_micro, 0) - (
        SELECT COALESCE(sum(needs_micro), 0) FROM tasks INDEXED BY tasks_blocked WHERE status = 'pending' AND blocked_by IS NOT NULL
          AND blocked_by = {_NAME} AND rank IN (0, 1, 2, 3) AND run_at_ms BETWEEN :since AND :now)
      FROM wanted CROSS JOIN budgets AS budget ON budget.id = wanted.id
        LEFT JOIN budget_periods AS period
          ON period.budget_id = budget.id AND period.ends_ms > :now AND period.starts_ms <= :now)
    UPDATE tasks SET run_at_ms = :now
    FROM free
    WHERE free.room >= (SELECT COALESCE(needs_micro, 0) FROM tasks INDEXED BY tasks_needs
        WHERE {_KEPT_BACK} ORDER BY needs_micro LIMIT 1)
      AND tasks.id IN (
        SELECT id FROM (SELECT id, sum(needs) OVER (ORDER BY rank, id) AS total FROM (
            SELECT id, rank, needs FROM (SELECT id, rank, COALESCE(needs_micro, free.room / 10) AS needs
              FROM tasks INDEXED BY tasks_blocked
              WHERE {_BLOCKED} AND run_at_ms >= {NEVER} ORDER BY rank, run_at_ms, id LIMIT :most)
            WHERE needs <= free.room
            UNION SELECT * FROM (SELECT id, rank, needs_micro FROM tasks INDEXED BY tasks_needs
              WHERE {_KEPT_BACK} AND needs_micro <= free.room ORDER BY needs_micro LIMIT :most)))
        WHERE total <= free.room)
    RETURNING tasks.id
"""

# The names of all budgets that block a task.  The recursion steps from one name to the next by the index, so tasks with
# the same blocker are not read to find it.
_BLOCKERS = """blockers (name) AS (
      SELECT min(blocked_by) FROM tasks
      WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by >= 'budget:' AND blocked_by < 'budget;'
      UNION ALL SELECT (SELECT min(blocked_by) FROM tasks
        WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by > name AND blocked_by < 'budget;')
      FROM blockers WHERE name IS NOT NULL)"""

# The id of the budget that a blocker names.
_ID = "CAST(replace(substr(name, 8), 'operator:', '') AS INTEGER)"

# For the sweep: wake tasks of every budget that blocks some.
WAKE: Final = Query(f"""
    WITH RECURSIVE {_BLOCKERS},
    wanted (id) AS MATERIALIZED (SELECT {_ID} FROM blockers WHERE name IS NOT NULL), {_WAKE}
""")

# For a change of a cap: wake tasks of this budget.
WAKE_BUDGET: Final = Query(f"""
    WITH wanted (id) AS MATERIALIZED (SELECT id FROM budgets
      WHERE scope = :scope AND scope_id = :scope_id AND period = :period AND tier = :tier), {_WAKE}
""")

# For a settle, which may leave room in the budgets of its executions: wake tasks of these budgets.  Where no budget
# blocks a task, the usual case, nothing else is read.  A period's name begins with the id of its budget.
WAKE_SETTLED: Final = Query(f"""
    WITH wanted (id) AS (
      SELECT DISTINCT CAST(held.value AS INTEGER)
      FROM (SELECT 1 FROM tasks INDEXED BY tasks_blocked WHERE status = 'pending' AND blocked_by IS NOT NULL
          AND blocked_by >= 'budget:' AND blocked_by < 'budget;' LIMIT 1) AS any_blocked
        CROSS JOIN json_each(:rows) AS row CROSS JOIN task_executions e ON e.id = row.value ->> 'execution'
        CROSS JOIN json_each(e.budgets) AS held), {_WAKE}
""")

# Make tasks due that wait for a budget which was deleted.
WAKE_GONE: Final = Query(f"""
    WITH RECURSIVE {_BLOCKERS}
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    WHERE id IN (SELECT id FROM tasks WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by IN (
      SELECT name FROM blockers WHERE NOT EXISTS (SELECT 1 FROM budgets WHERE id = {_ID})) LIMIT :most)
    RETURNING id
""")

# Read one budget with the counters of its current period, to say why it blocks a task.
BLOCKING: Final = Query("""
    SELECT budget.id, budget.tier, budget.period, budget.cap_micro, COALESCE(period.spent_micro, 0) AS spent_micro,
      COALESCE(period.reserved_micro, 0) AS reserved_micro
    FROM budgets AS budget LEFT JOIN budget_periods AS period
      ON period.budget_id = budget.id AND period.ends_ms > :now AND period.starts_ms <= :now
    WHERE budget.id = :id
""")
