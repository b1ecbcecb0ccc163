"""What people leave with an execution: notes, who decided, and words that were not used."""

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

# The person whom the execution asks, by id and name; for an assignment of a whole organization, what the person typed.
_ACTOR = """COALESCE((SELECT 'user ' || users.id || COALESCE(' (' || NULLIF(users.name, '') || ')', '') FROM users
      WHERE users.id = e.assigned_to), :actor)"""

# The events of the audit log that end an assignment.
_DECISIONS = "('answered', 'approved', 'edited', 'rejected', 'declined')"

# Whether a row of the audit log is about the execution `e`.  The detail begins with its id, and words may follow.
_ABOUT = "substr(detail || ':', 1, length('assignment ' || e.id) + 1) = 'assignment ' || e.id || ':'"

# Record who ended an assignment and how, once.  The row is written in the batch that settles the execution, so the
# condition on :cause keeps it out when the deadline or other evidence ended the execution first; NULL: no condition.
DECIDED: Final = Query(f"""
    INSERT INTO audit_log (at_ms, organization_id, task_id, actor, event, detail)
    SELECT :now, tasks.organization_id, e.task_id, {_ACTOR}, :event, 'assignment ' || e.id || :words
    FROM task_executions e JOIN tasks ON tasks.id = e.task_id
    WHERE e.id = :execution AND e.status NOT IN {{OPEN}}
      AND CASE WHEN :cause IS NULL THEN true
        WHEN :cause = '' THEN (e.result IS NOT NULL OR e.result_key IS NOT NULL) AND e.status <> 'failed'
          AND (e.provider = 'inbox' OR e.cost_source = 'bound')
        ELSE e.reason = :cause OR substr(e.reason, 1, length(:cause) + 1) = :cause || ':' END
      AND NOT EXISTS (SELECT 1 FROM audit_log WHERE task_id = e.task_id AND event IN {_DECISIONS} AND {_ABOUT})
""")

# Read who ended an assignment, how and when.
DECISION: Final = Query(f"""
    SELECT at_ms, actor, event, detail FROM task_executions e CROSS JOIN audit_log ON audit_log.task_id = e.task_id
    WHERE e.id = :execution AND event IN {_DECISIONS} AND {_ABOUT} ORDER BY audit_log.id LIMIT 1
""")

# Keep what a person sent after another person had decided, once for the same words and at most :most times for a task,
# because everybody who has the link can send more.
NOT_USED: Final = Query(f"""
    INSERT INTO audit_log (at_ms, organization_id, task_id, actor, event, detail)
    SELECT :now, tasks.organization_id, e.task_id, {_ACTOR}, 'answer not used', 'assignment ' || e.id || ': ' || :words
    FROM task_executions e JOIN tasks ON tasks.id = e.task_id
    WHERE e.id = :execution
      AND NOT EXISTS (SELECT 1 FROM audit_log WHERE task_id = e.task_id AND event = 'answer not used'
        AND detail = 'assignment ' || e.id || ': ' || :words)
      AND (SELECT count(*) FROM audit_log WHERE task_id = e.task_id AND event = 'answer not used') < :most
""")

# Whether these words are kept.
KEPT: Final = Query("""
    SELECT 1 AS kept FROM task_executions e CROSS JOIN audit_log ON audit_log.task_id = e.task_id
    WHERE e.id = :execution AND event = 'answer not used' AND detail = 'assignment ' || e.id || ': ' || :words
""")

# The rejections of earlier drafts of the same stage, oldest first, each with who rejected it and when.
ROUNDS: Final = Query(f"""
    SELECT e.id, e.result, e.completed_at,
      (SELECT actor FROM audit_log WHERE task_id = e.task_id AND event = 'rejected' AND {_ABOUT}) AS actor
    FROM task_executions review JOIN task_executions e
      ON e.id BETWEEN {{ids of review.task_id}} AND e.id < review.id AND e.stage = review.stage
    WHERE review.id = :execution AND e.status = 'failed' AND e.reason = 'rejected' AND e.provider = 'inbox'
    ORDER BY e.id
""")
