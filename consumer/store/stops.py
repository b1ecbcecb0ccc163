"""The stop of all spending."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Read the stop that is in force; no row when spending is not stopped.
STOPPED: Final = Query("SELECT at_ms, actor, reason FROM stops")

# Stop all spending.  An earlier stop stays in force, and then no row is returned.
STOP: Final = Query("""
    INSERT INTO stops (id, at_ms, actor, reason) VALUES (1, :now, :actor, :reason) ON CONFLICT DO NOTHING RETURNING id
""")

# Record the stop, if it is the one that this batch has inserted.
STOP_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, actor, event, detail)
    SELECT at_ms, actor, 'spending stopped', reason FROM stops WHERE at_ms = :now AND actor = :actor
""")

# Record who ended the stop, with its reason.  This runs before RESUME deletes the row.
RESUME_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, actor, event, detail) SELECT :now, :actor, 'spending resumed', reason FROM stops
""")

# End the stop.
RESUME: Final = Query("DELETE FROM stops RETURNING id")
