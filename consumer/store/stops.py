"""The stop of all spending."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

STOPPED: Final = Query("SELECT at_ms, actor, reason FROM stops")

STOP: Final = Query("""
    INSERT INTO stops (id, at_ms, actor, reason) VALUES (1, :now, :actor, :reason) ON CONFLICT DO NOTHING RETURNING id
""")

RESUME: Final = Query("DELETE FROM stops RETURNING id")

STOP_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, actor, event, detail)
    SELECT at_ms, actor, 'spending stopped', reason FROM stops WHERE at_ms = :now AND actor = :actor
""")

RESUME_AUDIT: Final = Query("""
    INSERT INTO audit_log (at_ms, actor, event, detail) SELECT :now, :actor, 'spending resumed', reason FROM stops
""")
