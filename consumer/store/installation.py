"""Marking the tasks that are older than the worker, in parts.

The migrations note which ids these tasks have, and stop all spending.  Each part gives some of them an identity and an
organization, and lets the unfinished ones wait for an operator.  The last part ends the stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.core.policy import NEVER
from consumer.store.sql import Query

if TYPE_CHECKING:
    from consumer.ports import Statement

PART: Final = 2_000
"""Tasks in one part.  A part writes about ten rows for each task, the entries of indexes among them."""
ACTOR: Final = "installation"
"""Who has set the stop."""

# Read whether tasks are left to be marked.
LEFT: Final = Query("SELECT next_id, last_id FROM installation")

# The last id of the next part; an id above all where no task is left.
_END = """SELECT COALESCE(max(id), last_id + 1) FROM (
        SELECT id FROM tasks WHERE id BETWEEN next_id AND last_id ORDER BY id LIMIT :size)"""

# Mark the next :size tasks.  A task that has an identity was inserted, or marked, before.  The organization that another
# application has written in the meantime is kept.
MARK: Final = Query(f"""
    UPDATE tasks SET identity = lower(hex(randomblob(8))),
      organization_id = COALESCE(organization_id,
        (SELECT organization_id FROM task_templates WHERE id = tasks.template_id),
        (SELECT organization_id FROM users WHERE id = tasks.created_by)),
      run_at_ms = CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN run_at_ms ELSE {NEVER} END,
      blocked_by = CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN blocked_by ELSE 'adopt' END
    WHERE id BETWEEN (SELECT next_id FROM installation) AND (SELECT ({_END}) FROM installation) AND identity IS NULL
""")

# Note where the next part begins.
ADVANCE: Final = Query(f"UPDATE installation SET next_id = 1 + ({_END})")

# The last part removes the note,
FINISH: Final = Query("DELETE FROM installation WHERE next_id > last_id")

# and ends the stop.
START: Final = Query(f"DELETE FROM stops WHERE actor = '{ACTOR}' AND NOT EXISTS (SELECT 1 FROM installation)")


def part(size: int = PART) -> list[Statement]:
    """The statements of one part, which are one batch.  A batch that is sent twice marks two parts."""
    return [MARK(size=size), ADVANCE(size=size), FINISH(), START()]
