"""Following up open executions: the counter of follow-ups without a result, and giving executions back."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Reset the counter of follow-ups after one that left its worker alive.
RESET_FOLLOW_UPS: Final = Query("""
    UPDATE task_executions SET follow_ups = 0 WHERE id IN (SELECT value FROM json_each(:executions)) AND +status IN {OPEN}
""")

# Give back executions that were claimed and not followed up.
GIVE_BACK: Final = Query("""
    UPDATE task_executions SET follow_ups = max(0, follow_ups - 1), wake_at_ms = min(wake_at_ms, :now)
    WHERE id IN (SELECT value FROM json_each(:executions)) AND +status IN ('waiting', 'unknown')
""")
