"""No statement reads a growing table from one end to the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from consumer.ports import Statement
from consumer.store.sql import Query
from tests.schema import databases
from tests.schema.databases import Sql
from tests.store.many_tasks import EXECUTIONS, TASKS
from tests.support.statements import modules

empty, sql = databases.empty, databases.sql


OF_ALL: Final = "stops after :most tasks, by the order of the ids; for an operator"
WAITING: Final = "tasks that wait, by an index that has no others; for an operator"
FOREIGN_KEY: Final = "the plan shows a scan that SQLite does only while a deferred foreign key is violated"

GROWING: Final = ("tasks", "task_executions", "webhooks", "audit_log", "budget_periods")
"""Tables that grow with the work."""
OTHERS: Final = (
    *("organizations", "users", "task_templates", "budgets", "api_keys", "leases", "outbox", "dead_letters"),
)
"""Tables that grow with the customers, or that hold only what is unfinished."""
LEASES: Final = "the first 50 expired leases, by the order of an index or of the few rows that there are"
DUE: Final = (
    "the due rows, from the beginning of an index whose order is their time, and no more than a limit"
)

TAKEN: Final = "tasks that other applications set to running, by an index that has no others, up to a limit"

EXEMPT: Final = {
    "store.restore.NEWEST_TASK": "the highest id, by the order of the ids",
    "store.restore.RESTORE_AUDIT": "the highest id, by the order of the ids; once for each restore",
    "store.restore.REVOKE_KEYS": "all keys, once for each restore",
    "store.restore.WORKING_KEYS": "all keys, once for each restore",
    "store.leases.ABANDON": "the leases, of which there are as many as workers; when a process starts alone",
    "store.admin.PUT_BUDGET": "SQLite compares the three parts of the key in any order; there are few budgets",
    "store.claim.CLAIMED_BUDGETS": "whether there is any budget: the first one is enough",
    "store.claim.CLAIM_OUTBOX": DUE,
    "store.sweep.DUE": DUE,
    "store.schema.check.BACKLOG": DUE,
    "store.schema.check.TAKEN": TAKEN,
    **{f"store.sweep.{name}": TAKEN for name in ("TAKEN_STATUS", "TAKEN_AUDIT", "TAKEN_BACK")},
    "store.schema.check.UNKNOWN": DUE,
    "store.schema.check.UNHANDLED": "the unhandled webhooks, by an index that has no others, up to :limit",
    "store.schema.check.DEAD_LETTERS": "stops after :limit",
    "store.schema.check.ALIVE": "the leases, of which there are as many as workers, and the newest executions",
    "store.schema.check.EXPIRED": "the leases, of which there are as many as workers",
    **{
        f"store.sweep.{name}": LEASES
        for name in ("LOST_CALLS", "ORPHANED_TASKS", "LOST_TASKS", "LOST_STATUS", "EXPIRED_LEASES")
    },
    "store.queries.COUNTS_ALL": OF_ALL,
    "store.admin.BUDGET_AUDIT": "the highest id, by the order of the ids",
    "store.bulk.RECORD": "the highest id, by the order of the ids",
    "store.begin.BEGIN": "the trigger `executions_foreign_id` reads the highest id, by the order of the ids",
    "store.settle.INSERT_LATE_ANSWER": "the same trigger",
    "store.claim.CLAIM_LEASE": "the last organization with due tasks, by the order of an index",
    "store.schema.check.LACKING_PROFILES": "the newest templates, up to :limit",
    "store.schema.check.MODELS": "the newest templates, up to :limit",
    "store.queries.INBOX_ALL": WAITING,
    "store.queries.INBOX_SIZE_ALL": WAITING,
    "store.queries.ORGANIZATIONS": "stops after :size organizations, by the order of the ids; for an operator",
    "store.queries.TEMPLATES_ALL": "the templates, up to :size; for an operator",
    "store.queries.BUDGET": "the budgets, of which there are few",
    "store.commands.SUBMIT": FOREIGN_KEY,
    "store.admin.CREATE_USER": FOREIGN_KEY,
    "store.admin.INSERT_TEMPLATE": FOREIGN_KEY,
}
ANALYZED: Final = {
    "store.schema.check.TIGHT_BUDGETS": "the open periods, at most one for each budget, by an index that has no others"
}
"""Exempt only where an operator has collected statistics."""
"""Statements that read a table from one of its ends, each with the reason why that is right."""


def named(value: object, name: str) -> Iterator[tuple[str, Query]]:
    """The statements in a value of a module, by their names."""
    match value:
        case Query():
            yield name, value
        case tuple() | list():
            for place, one in enumerate(value):
                yield from named(one, f"{name}[{place}]")
        case dict():
            for key, one in value.items():
                yield from named(one, f"{name}[{key}]")


def queries() -> dict[str, Query]:
    """Every statement of the product by its name."""
    return {
        name: query
        for module in modules()
        for attribute, value in vars(module).items()
        for name, query in named(value, f"{module.__name__.removeprefix('consumer.')}.{attribute}")
    }


def scans(sql: Sql, query: Query, tables: Sequence[str] = GROWING) -> set[str]:
    """The growing tables and indexes that a statement reads from one end to the other.

    In the program of a statement, this is `Rewind` or `Last` on a cursor that was opened on one of them."""
    tables = json.dumps(tables)
    pages = sql.run(
        "SELECT rootpage, name FROM sqlite_master WHERE rootpage > 0 AND tbl_name IN (SELECT value FROM json_each(?1))",
        tables,
    )
    names = {row["rootpage"]: row["name"] for row in pages}
    placeholders = {int(number) for number in re.findall(r"\?(\d+)", query.sql)}
    found: set[str] = set()
    opened: dict[int, str] = {}
    for row in sql.run(f"EXPLAIN {query.sql}", *[None] * len(placeholders)):
        if row["addr"] == 0:  # the statement itself, then each trigger with cursors of its own
            opened = {}
        if row["opcode"] in {"OpenRead", "OpenWrite"} and row["p2"] in names:
            opened[row["p1"]] = names[row["p2"]]
        if row["opcode"] in {"Rewind", "Last"} and row["p1"] in opened:
            found.add(opened[row["p1"]])
    return found


@pytest.mark.parametrize("analyzed", [False, True], ids=["fresh", "analyzed"])
def test_no_statement_reads_a_growing_table_as_a_whole(sql: Sql, *, analyzed: bool) -> None:
    """Neither with SQLite's estimates nor with statistics, which an operator may have collected."""
    sql.run("CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY, name TEXT)")
    if analyzed:
        sql.send(Query(TASKS)(size=300), Statement(EXECUTIONS), Statement("ANALYZE"))
    tables = (
        GROWING if analyzed else GROWING + OTHERS
    )  # a table with few rows is read as a whole, and rightly
    found = {name: scanned for name, query in queries().items() if (scanned := scans(sql, query, tables))}
    assert {name: scanned for name, scanned in found.items() if name not in EXEMPT | ANALYZED} == {}
    assert analyzed or EXEMPT.keys() <= found.keys()


def test_a_scan_is_detected(sql: Sql) -> None:
    """A scan of a table, and of an index."""
    assert scans(sql, Query("SELECT * FROM tasks WHERE title = :title")) == {"tasks"}
    assert scans(sql, Query("SELECT title FROM tasks ORDER BY id DESC")) == {"tasks"}
    assert scans(
        sql, Query("SELECT wake_at_ms FROM task_executions WHERE status IN ('waiting', 'unknown')")
    ) == {"executions_wake"}
