"""Notes that people leave on an execution."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

NOTE: Final = Query("UPDATE task_executions SET note = :note WHERE id = :execution AND note IS NULL")

NOTE_LATE_ANSWER: Final = Query("""
    UPDATE task_executions SET note = :answer WHERE id = :execution AND (note IS NULL OR note NOT LIKE 'late answer%')
""")
