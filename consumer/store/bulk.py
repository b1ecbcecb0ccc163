"""Bulk actions: which tasks a filter covers, what an action on them means for money, and the record of it.

`PART` and `MATCHES` are those of the list of tasks: at most :most tasks are read.  What an action covers beyond the
filter differs for each verb, and so do the executions that count for its money."""

from __future__ import annotations

from typing import Final

from consumer.store.commands import RELEASABLE
from consumer.store.queries import MATCHES, OF_ALL, OF_ONE, PART
from consumer.store.sql import Query

_RETRIED = "'~retry-' || part.id || '-' || part.identity || '-'"
# What each verb covers beyond the filter.  A task that was retried before is not covered again: its retry may be.
_COVERS = {
    "cancel": "part.status NOT IN {FINISHED}",
    "retry": f"""part.status = COALESCE(:status, 'failed') AND part.status IN {{FINISHED}} AND NOT EXISTS (
        SELECT 1 FROM tasks AS again WHERE again.organization_id = part.organization_id
          AND again.idempotency_key >= {_RETRIED} AND again.idempotency_key < {_RETRIED} || '~')""",
    "release": f"""EXISTS (SELECT 1 FROM task_executions AS e
        WHERE e.id BETWEEN {{ids of part.id}} AND {RELEASABLE})""",
}
# The executions of a task that count, and the money that they stand for in each stage.  A retry is taken to need, in each
# stage, the most that a call of the task cost or reserved there.
_COUNTS = {
    "cancel": ("+e.status IN {OPEN}", "sum(e.reserved_micro)"),
    "retry": ("e.profile <> ''", "max(max(COALESCE(e.cost_micro, 0), e.reserved_micro))"),
    "release": (RELEASABLE, "sum(e.reserved_micro)"),
}

_COVERED = f"""
    WITH covered (id) AS (SELECT part.id FROM {PART} WHERE {MATCHES} AND {{covers}} ORDER BY part.id DESC LIMIT :size),
    stages AS (
      SELECT covered.id, e.stage, count(e.id) AS executions, COALESCE({{money}}, 0) AS money_micro,
        COALESCE(max(e.cost_micro IS NOT NULL AND e.cost_source IS NOT 'none' OR e.reserved_micro > 0), 0) AS priced
      FROM covered LEFT JOIN task_executions AS e ON e.id BETWEEN {{ids of covered.id}} AND {{counted}}
      GROUP BY covered.id, e.stage),
    each_task AS (
      SELECT id, sum(executions) AS executions, sum(money_micro) AS money_micro, max(priced) AS priced
      FROM stages GROUP BY id)
"""
_PAGE = f"{_COVERED} SELECT id, executions, money_micro, priced FROM each_task ORDER BY id DESC"
_TOTAL = f"""{_COVERED}
    SELECT count(*) AS tasks, COALESCE(sum(executions), 0) AS executions, COALESCE(sum(money_micro), 0) AS money_micro,
      COALESCE(sum(1 - priced), 0) AS unpriced
    FROM each_task
"""


def _for_each(sql: str, whose: str) -> dict[str, Query]:
    """The statement of each verb."""
    return {
        verb: Query(
            sql.replace("{covers}", _COVERS[verb])
            .replace("{counted}", counted)
            .replace("{money}", money)
            .replace("{whose}", whose)
        )
        for verb, (counted, money) in _COUNTS.items()
    }


# The first :size tasks of one organization that an action covers, newest first, each with its executions and its money.
PAGE: Final = _for_each(_PAGE, OF_ONE)
# The same for all organizations.
PAGE_ALL: Final = _for_each(_PAGE, OF_ALL)
# The number of tasks of one organization that an action covers among those that are read, and the sums over them.
TOTAL: Final = _for_each(_TOTAL, OF_ONE)
# The same for all organizations.
TOTAL_ALL: Final = _for_each(_TOTAL, OF_ALL)

# Record a bulk action before it changes anything: who, which filter, how many tasks, what it means for money.  The
# condition on the last 100 records keeps a batch that is sent twice from adding a second one.
RECORD: Final = Query("""
    INSERT INTO audit_log (at_ms, organization_id, actor, event, detail)
    SELECT :now, :organization, :actor, :event, :detail
    WHERE NOT EXISTS (SELECT 1 FROM audit_log WHERE id > (SELECT max(id) FROM audit_log) - 100
      AND at_ms = :now AND actor = :actor AND event = :event AND detail = :detail)
""")
