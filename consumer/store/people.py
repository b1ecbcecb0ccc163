"""Notes that people leave on an execution."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Note that a person accepted the assignment.  An earlier note stays: it may hold an answer.
NOTE_ACCEPTED: Final = Query("UPDATE task_executions SET note = :note WHERE id = :execution AND note IS NULL")

# Keep an answer that came too late to be used.  The first late answer stays; a note that the person had accepted is
# replaced.
NOTE_LATE_ANSWER: Final = Query("""
    UPDATE task_executions SET note = :answer WHERE id = :execution AND (note IS NULL OR note NOT LIKE 'late answer%')
""")
