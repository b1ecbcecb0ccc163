"""Profiles that fail, that get too many calls, or that have limits of their own; and the tasks that wait for them."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Read the state of every profile that has one: a few rows, and none while all is well.
RESTS: Final = Query("""
    SELECT profile, version, failures, level, limits, began_ms, until_ms, reason, recent, holders, account, failing,
      changed_ms
    FROM rests
""")

# Write the next state of profiles, each only if no other worker has written since it was read.
REMEMBER: Final = Query("""
    INSERT INTO rests (profile, version, writer, failures, level, limits, began_ms, until_ms, reason, recent, holders,
      account, failing, changed_ms)
    SELECT value ->> 'profile', value ->> 'version', value ->> 'writer', value ->> 'failures', value ->> 'level',
      value ->> 'limits', value ->> 'began_ms', value ->> 'until_ms', value ->> 'reason', value ->> 'recent',
      value ->> 'holders', value ->> 'account', value ->> 'failing', :now
    FROM json_each(:rows) WHERE true
    ON CONFLICT (profile) DO UPDATE SET version = excluded.version, writer = excluded.writer,
      failures = excluded.failures, level = excluded.level, limits = excluded.limits, began_ms = excluded.began_ms,
      until_ms = excluded.until_ms, reason = excluded.reason, recent = excluded.recent, holders = excluded.holders,
      account = excluded.account, failing = excluded.failing,
      changed_ms = excluded.changed_ms
    WHERE rests.version = excluded.version - 1
""")

# Take the calls of a run that ends out of the row of its profile, even if another worker has written the row since.
LET_GO: Final = Query("""
    UPDATE rests SET holders = json_remove(holders, '$."' || :holder || '"'), version = version + 1
    WHERE holders LIKE '%"' || :holder || '"%'
""")

_WAITING = """SELECT id FROM tasks AS waiting
        WHERE waiting.status = 'pending' AND waiting.blocked_by IS NOT NULL AND waiting.blocked_by = 'rest:' || {profile}
        ORDER BY waiting.rank, waiting.run_at_ms, waiting.id LIMIT {size}"""

# Make the first :size tasks due that wait for a profile which may be called again.
WAKE: Final = Query(f"""
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    WHERE id IN ({_WAITING.replace("{profile}", ":profile").replace("{size}", ":size")})
      AND NOT EXISTS (SELECT 1 FROM stops)
""")

# Make one task due for each profile whose rest or wait is over, or whose rest is about another account than the one that
# :accounts, the present fingerprints, has for it.  A run that finds the task makes the others due.
WAKE_FIRST: Final = Query(f"""
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    WHERE id IN (SELECT ({_WAITING.replace("{profile}", "rests.profile").replace("{size}", "1")}) FROM rests
      WHERE until_ms <= :now OR EXISTS (SELECT 1 FROM json_each(:accounts) AS present
        WHERE present.key = rests.profile AND present.value <> rests.account))
""")

# Make tasks due that wait for a profile without a state, which was removed while they were on their way here.  The
# recursion steps from one blocker to the next by the index.
WAKE_FORGOTTEN: Final = Query("""
    WITH RECURSIVE blockers (name) AS (
      SELECT min(blocked_by) FROM tasks
      WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by >= 'rest:' AND blocked_by < 'rest;'
      UNION ALL SELECT (SELECT min(blocked_by) FROM tasks
        WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by > name AND blocked_by < 'rest;')
      FROM blockers WHERE name IS NOT NULL)
    UPDATE tasks SET run_at_ms = :now, blocked_by = NULL
    WHERE id IN (SELECT id FROM tasks WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by IN (
      SELECT name FROM blockers WHERE NOT EXISTS (SELECT 1 FROM rests WHERE profile = substr(name, 6))) LIMIT 1000)
""")

# Remove the state of profiles that have been well since :idle, and for which no task waits.
FORGET: Final = Query("""
    DELETE FROM rests WHERE changed_ms <= :idle AND until_ms <= :idle AND level = 0
      AND NOT EXISTS (SELECT 1 FROM tasks
        WHERE status = 'pending' AND blocked_by IS NOT NULL AND blocked_by = 'rest:' || rests.profile)
""")
