"""Values of public columns: any text, and integers as large as D1 can carry them."""

from __future__ import annotations

from typing import Final

import pytest

from consumer.core.strictjson import clean, dump_json, parse_json
from consumer.ports import MAX_INTEGER, Value
from consumer.store import claim as claim_sql
from consumer.store import settle
from consumer.store.sql import execution_id
from tests.contracts.database_values import TEXTS
from tests.schema import databases
from tests.schema.databases import Sql

empty, sql = databases.empty, databases.sql

NASTY: Final = {**TEXTS, "NUL": "before\0after", "quoted NUL": "'\0'; --", "half a comment": "/* "}

PUBLIC_TEXTS: Final = {
    "organizations": ("name", "created_at"),
    "users": ("email", "name", "role", "created_at"),
    "task_templates": ("name", "description", "category", "created_at"),
    "tasks": ("title", "description", "priority", "due_date", "created_at", "updated_at"),
    "task_executions": ("execution_type", "provider", "started_at", "completed_at", "result"),
}


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_any_text_in_every_public_column_comes_back_and_breaks_nothing(sql: Sql, text: str) -> None:
    """Triggers read some of these columns: priority, due date."""
    columns: dict[str, Value]
    for table, names in PUBLIC_TEXTS.items():
        columns = dict.fromkeys(names, text)
        if table == "tasks":
            columns |= {"template_id": 1}
        if table == "task_executions":
            columns |= {"task_id": sql.value("SELECT max(id) FROM tasks")}
        number = sql.insert(table, **columns)
        sql.run(f"UPDATE {table} SET {names[0]} = ?1 WHERE id = ?2", text, number)
        (row,) = sql.run(f"SELECT * FROM {table} WHERE id = ?1", number)
        assert {name: row[name] for name in names} == dict.fromkeys(names, text)

    task = sql.run("SELECT * FROM tasks")[0]
    assert (task["organization_id"], task["blocked_by"], task["rank"]) == (1, None, 2)
    claim = [
        claim_sql.CLAIM_LEASE(
            token="x",
            until=1,
            now=MAX_INTEGER,
            size=10,
            half=5,
            start=0,
            hops=25,
            few=10,
            most=10,
            used="{}",
            without="[]",
        ),
        claim_sql.CLAIM_TASKS(token="x", at="now"),
        claim_sql.CLAIMED(token="x"),
        claim_sql.CLAIMED_TEMPLATES(token="x"),
    ]
    claimed = sql.send(*claim)[2]
    assert [(row["title"], row["description"]) for row in claimed] == [(text, text)]


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_any_text_in_a_settle_is_stored(sql: Sql, text: str) -> None:
    """Results are JSON inside JSON; other text is cleaned of NUL first, because SQLite's JSON functions stop there."""
    task = sql.new_task(status="running", version=3)
    execution = sql.new_execution(task)
    result, words = dump_json({"answer": text}), clean(text)
    row = {"execution": execution, "task": task, "version": 3, "state": "failed", "status": "failed"}
    row |= {"stage": 0, "candidate": 0, "attempt": 1, "repairs": 0, "redos": 0, "run_at_ms": 0}
    row |= {"result": result, "usage": result, "reason": words, "task_reason": words, "external_id": words}
    row |= {"cost_source": words, "feedback": words}
    rows = dump_json([row])

    sql.send(settle.SETTLE_EXECUTIONS(rows=rows), settle.SETTLE_TASKS(rows=rows, at="now"))

    settled = sql.execution(execution)
    assert {settled[name] for name in ("reason", "external_id", "cost_source")} == {words}
    assert {settled[name] for name in ("result", "usage")} == {result}
    assert parse_json(settled["result"]) == {"answer": text}
    assert (sql.task(task)["reason"], sql.task(task)["feedback"]) == (words, words)


@pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER, 2**31, 2**32, 0])
def test_integers_in_public_columns_are_exact(sql: Sql, number: int) -> None:
    template = sql.insert("task_templates", name="t", estimated_duration=number)
    task = sql.insert("tasks", title="t", template_id=template)
    execution = sql.insert("task_executions", task_id=task, execution_type="ai", cost=number)
    assert sql.value("SELECT estimated_duration FROM task_templates WHERE id = ?1", template) == number
    assert sql.execution(execution)["cost"] == number


def test_references_to_the_largest_ids_are_exact(sql: Sql) -> None:
    sql.insert("organizations", id=MAX_INTEGER, name="last")
    sql.insert("users", id=MAX_INTEGER, organization_id=MAX_INTEGER, email="x")
    sql.insert("task_templates", id=MAX_INTEGER, organization_id=MAX_INTEGER, name="last")
    task = sql.task(sql.insert("tasks", template_id=MAX_INTEGER, created_by=MAX_INTEGER, title="t"))
    assert (task["organization_id"], task["blocked_by"]) == (MAX_INTEGER, f"no_route:{MAX_INTEGER}")


def test_the_largest_task_id_still_has_room_for_execution_ids(sql: Sql) -> None:
    """From an id of 2^42 - 2^30 on, a task's executions would reach those of other applications."""
    last = 2**42 - 2**30 - 1
    task = sql.new_task(id=last, status="running", version=1)
    execution = sql.new_execution(task, 1023)
    assert execution == execution_id(last, 1023) == 2**52 - 1
    other = sql.insert("task_executions", task_id=task, execution_type="ai")
    assert other == 2**52 + 1
