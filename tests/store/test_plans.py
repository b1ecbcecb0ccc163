"""No statement reads a growing table from one end to the other."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Final

import pytest

from consumer.ports import Statement
from consumer.store.sql import Query
from tests.schema import databases
from tests.schema.databases import Sql
from tests.store.many_tasks import EXECUTIONS, TASKS
from tests.support.statements import modules

empty, sql = databases.empty, databases.sql


EVERYTHING: Final = {"COUNTS", "INBOX"}
"""Statements about all tasks, or about all waiting ones."""

CHECKED_BY_FOREIGN_KEYS: Final = {"SUBMIT", "CREATE_USER", "INSERT_TEMPLATE"}
"""The plan shows a scan that SQLite only does while a deferred foreign key is violated."""


def queries(module: ModuleType) -> dict[str, Query]:
    """The statements of a module by their names."""
    found = {}
    for name, value in vars(module).items():
        for place, one in enumerate(value if isinstance(value, tuple) else [value]):
            if isinstance(one, Query):
                found[f"{name}[{place}]" if isinstance(value, tuple) else name] = one
    return {name: one for name, one in found.items() if name not in EVERYTHING | CHECKED_BY_FOREIGN_KEYS}


def scans(sql: Sql, query: Query) -> set[str]:
    """The growing tables and indexes that a statement reads from one end to the other.

    In the program of a statement, this is `Rewind` on a cursor that was opened on one of them."""
    growing = "('tasks', 'task_executions', 'webhooks', 'audit_log', 'budget_periods')"
    pages = sql.run(f"SELECT rootpage, name FROM sqlite_master WHERE tbl_name IN {growing} AND rootpage > 0")
    names = {row["rootpage"]: row["name"] for row in pages}
    placeholders = {int(number) for number in re.findall(r"\?(\d+)", query.sql)}
    found: set[str] = set()
    opened: dict[int, str] = {}
    for row in sql.run(f"EXPLAIN {query.sql}", *[None] * len(placeholders)):
        if row["addr"] == 0:  # the statement itself, then each trigger with cursors of its own
            opened = {}
        if row["opcode"] in {"OpenRead", "OpenWrite"} and row["p2"] in names:
            opened[row["p1"]] = names[row["p2"]]
        if row["opcode"] == "Rewind" and row["p1"] in opened:
            found.add(opened[row["p1"]])
    return found


@pytest.mark.parametrize("analyzed", [False, True], ids=["fresh", "analyzed"])
def test_no_statement_reads_a_growing_table_as_a_whole(sql: Sql, *, analyzed: bool) -> None:
    """Neither with SQLite's estimates nor with statistics, which an operator may have collected."""
    if analyzed:
        sql.send(Query(TASKS)(size=300), Statement(EXECUTIONS), Statement("ANALYZE"))
    found = {
        f"{module.__name__}.{name}": scanned
        for module in modules()
        if module.__package__ == "consumer.store"  # its folder `schema` reads the schema, not rows
        for name, query in queries(module).items()
        if (scanned := scans(sql, query))
    }
    assert found == {}


def test_a_scan_is_detected(sql: Sql) -> None:
    """A scan of a table, and of an index."""
    assert scans(sql, Query("SELECT * FROM tasks WHERE title = :title")) == {"tasks"}
    assert scans(
        sql, Query("SELECT wake_at_ms FROM task_executions WHERE status IN ('waiting', 'unknown')")
    ) == {"executions_wake"}
