"""After a restore: numbers that were given out before are not given out again, and lost work is looked for.

A restore takes the database back to an earlier time, and the world outside remembers the time in between."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import FIRST_EXECUTION, PER_TASK, Query

# Read which of these tables never give an id twice (AUTOINCREMENT), each with the highest id that it gave.
SEQUENCES: Final = Query("""
    SELECT tables.name, upper(tables.sql) LIKE '%AUTOINCREMENT%' AS kept,
      COALESCE((SELECT max(seq) FROM sqlite_sequence AS known WHERE known.name = tables.name), 0) AS seq
    FROM sqlite_master AS tables
    WHERE tables.type = 'table' AND tables.name IN ('tasks', 'task_templates', 'budgets') ORDER BY tables.name
""")

# Give such a table a place where the highest id is stored, if it has none because it was always empty.
ADD_SEQUENCE: Final = Query("""
    INSERT INTO sqlite_sequence (name, seq) SELECT :name, 0
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = :name)
""")

# Let the next id of a table be higher than any that was given out before.
RAISE_SEQUENCE: Final = Query("""
    UPDATE sqlite_sequence SET seq = max(seq, CAST(:seq AS INTEGER)) WHERE name = :name
""")

# Read a part of the tasks that are not finished, by id, each with the profile that its next call goes to.
OPEN_TASKS: Final = Query("""
    SELECT tasks.id, CASE WHEN json_valid(t.route)
      THEN json_extract(t.route, '$.stages[' || tasks.stage || '].candidates[' || tasks.candidate || '].profile') END AS profile
    FROM tasks LEFT JOIN task_templates t ON t.id = tasks.template_id
    WHERE tasks.id > :after AND tasks.status IN ('pending', 'running', 'waiting') ORDER BY tasks.id LIMIT :size
""")

# Give these tasks a version that none had before the restore, so that a worker which still holds one from that time can
# no longer change it.  Remember the execution that may have begun in the lost time.
MOVE_ON: Final = Query(f"""
    UPDATE tasks SET version = max(version, CAST(:version AS INTEGER)), restored = 1 + COALESCE(
      (SELECT max(e.id) FROM task_executions e WHERE e.id BETWEEN {{ids of tasks.id}}), {FIRST_EXECUTION} + id * {PER_TASK})
    WHERE id IN (SELECT value FROM json_each(:tasks)) AND status IN ('pending', 'running', 'waiting')
""")

# Count the executions that were open at the time to which the database was restored.
OPEN_EXECUTIONS: Final = Query("""
    SELECT count(*) AS executions FROM (SELECT 1 FROM task_executions WHERE status IN ('waiting', 'unknown')
      AND wake_at_ms >= -1 LIMIT :limit)
""")

# Read the time of the newest task: the database was restored to a time soon after it.
NEWEST_TASK: Final = Query("SELECT created_at FROM tasks ORDER BY id DESC LIMIT 1")

# Revoke the named keys, or all, except the caller's own.
REVOKE_KEYS: Final = Query("""
    UPDATE api_keys SET revoked_ms = :now
    WHERE revoked_ms IS NULL AND id <> :own AND (:all OR id IN (SELECT value FROM json_each(:keys)))
    RETURNING id
""")

# Read the keys that work.
WORKING_KEYS: Final = Query("""
    SELECT id, organization_id, role, created_ms FROM api_keys WHERE revoked_ms IS NULL ORDER BY created_ms, id LIMIT :limit
""")

# Record that the operator has finished a restore.
RESTORE_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, actor, event, detail) SELECT :now, :actor, 'restored', :detail
    WHERE NOT EXISTS (SELECT 1 FROM audit_log WHERE id > (SELECT max(id) FROM audit_log) - 100
      AND at_ms = :now AND actor = :actor AND event = 'restored')
""")
