"""Rules for every writer: finished rows do not change, and every status is a state of the lifecycle."""

from __future__ import annotations

import pytest

from consumer.core.lifecycle import EXECUTION_FINAL, TASK_FINAL, ExecutionState, TaskState
from consumer.ports import Value
from tests.schema import databases
from tests.schema.databases import Sql

empty, sql = databases.empty, databases.sql

TASK_STATES = [state.value for state in TaskState]
EXECUTION_STATES = [state.value for state in ExecutionState]
FINISHED = sorted(state.value for state in TASK_FINAL)
ENDED = sorted(state.value for state in EXECUTION_FINAL)


# --- finished rows ------------------------------------------------------------------------------------------

CHANGES_OF_A_FINISHED_TASK = {
    "status": "UPDATE tasks SET status = 'pending' WHERE id = 1",
    "another end": "UPDATE tasks SET status = iif(status = 'failed', 'completed', 'failed') WHERE id = 1",
    "stage": "UPDATE tasks SET stage = stage + 1 WHERE id = 1",
    "result": "UPDATE tasks SET last_execution = 5 WHERE id = 1",
    "reason": "UPDATE tasks SET reason = 'other' WHERE id = 1",
    "id": "UPDATE tasks SET id = 3 WHERE id = 1",
    "or replace": "UPDATE OR REPLACE tasks SET status = 'pending' WHERE id = 1",
    "another takes its id": "UPDATE OR REPLACE tasks SET id = 1 WHERE id = 2",
    "insert or replace": "INSERT OR REPLACE INTO tasks (id, title) VALUES (1, 'new')",
    "replace": "REPLACE INTO tasks (id, title, organization_id) VALUES (1, 'new', 1)",
    "upsert": "INSERT INTO tasks (id, title) VALUES (1, 'new') ON CONFLICT (id) DO UPDATE SET status = 'pending'",
    "upsert of a title": "INSERT INTO tasks (id, title) VALUES (1, 'new') ON CONFLICT (id) DO UPDATE SET title = 'new'",
}


@pytest.mark.parametrize("change", CHANGES_OF_A_FINISHED_TASK.values(), ids=CHANGES_OF_A_FINISHED_TASK.keys())
@pytest.mark.parametrize("state", FINISHED)
def test_a_finished_task_does_not_change(sql: Sql, state: str, change: str) -> None:
    sql.new_task(id=1, status=state, reason="because", last_execution=4, idempotency_key="k")
    sql.new_task(id=2)
    before = sql.task(1)

    assert "does not change" in sql.refused(change)

    assert sql.task(1) == before
    assert sql.value("SELECT count(*) FROM tasks") == 2


def test_an_ignored_conflict_does_not_bypass_the_rule(sql: Sql) -> None:
    """OR IGNORE skips constraint errors, but not errors of triggers."""
    sql.new_task(id=1, status="completed")

    assert "does not change" in sql.refused("UPDATE OR IGNORE tasks SET status = 'pending' WHERE id = 1")
    assert "does not change" in sql.refused("INSERT OR IGNORE INTO tasks (id, title) VALUES (1, 'new')")


@pytest.mark.parametrize("state", FINISHED)
def test_other_columns_of_a_finished_task_stay_writable(sql: Sql, state: str) -> None:
    sql.new_task(id=1, status=state)

    sql.run(
        "UPDATE tasks SET title = 'x', description = 'y', priority = 'high', due_date = '2026-01-01', assigned_to = 1,"
        " status = status, updated_at = 'z' WHERE id = 1"
    )

    assert (sql.task(1)["title"], sql.task(1)["updated_at"]) == ("x", "z")


CHANGES_OF_AN_ENDED_EXECUTION = {
    "status": "UPDATE task_executions SET status = 'running' WHERE id = ?1",
    "result": "UPDATE task_executions SET result = '2' WHERE id = ?1",
    "no result": "UPDATE task_executions SET result = NULL WHERE id = ?1",
    "result in the blobs": "UPDATE task_executions SET result_key = 'k' WHERE id = ?1",
    "id": "UPDATE task_executions SET id = id + 5 WHERE id = ?1",
    "task": "UPDATE task_executions SET task_id = 2 WHERE id = ?1",
    "another takes its id": "UPDATE OR REPLACE task_executions SET id = ?1 WHERE id = ?1 + 1",
    "or ignore": "UPDATE OR IGNORE task_executions SET result = '2' WHERE id = ?1",
    "replace": "REPLACE INTO task_executions (id, task_id, execution_type) VALUES (?1, 1, 'ai')",
    "upsert": "INSERT INTO task_executions (id, task_id, execution_type) VALUES (?1, 1, 'ai')"
    " ON CONFLICT (id) DO UPDATE SET result = '2'",
}


@pytest.mark.parametrize(
    "change", CHANGES_OF_AN_ENDED_EXECUTION.values(), ids=CHANGES_OF_AN_ENDED_EXECUTION.keys()
)
@pytest.mark.parametrize("state", ENDED)
def test_an_ended_execution_keeps_its_status_and_result(sql: Sql, state: str, change: str) -> None:
    sql.new_task(id=1)
    sql.new_task(id=2)
    execution = sql.new_execution(1, status=state, result='{"answer": 1}')
    sql.new_execution(1, 2)
    before = sql.execution(execution)

    assert sql.refused(change, execution)

    assert sql.execution(execution) == before
    assert sql.value("SELECT count(*) FROM task_executions") == 2


@pytest.mark.parametrize("change", ["replace", "upsert"])
def test_an_open_execution_of_the_worker_is_not_replaced(sql: Sql, change: str) -> None:
    """Otherwise its task would wait for a row without follow-ups."""
    sql.new_task(id=1)
    execution = sql.new_execution(1, status="waiting", wake_at_ms=1)

    assert "not replaced" in sql.refused(CHANGES_OF_AN_ENDED_EXECUTION[change], execution)

    assert sql.execution(execution)["status"] == "waiting"


@pytest.mark.parametrize("state", ENDED)
def test_a_bill_and_a_note_may_follow(sql: Sql, state: str) -> None:
    sql.new_task(id=1)
    execution = sql.new_execution(1, status=state, result="1")

    sql.run(
        "UPDATE task_executions SET cost = 0.5, cost_micro = 500000, cost_source = 'bill', usage = '{}', note = 'late',"
        " status = status, result = result WHERE id = ?1",
        execution,
    )

    assert sql.execution(execution)["cost_micro"] == 500_000


def test_deleting_and_replacing_a_finished_task_cannot_be_prevented(sql: Sql) -> None:
    """Deletes are allowed, no row remembers a deleted one, and REPLACE deletes without firing a trigger."""
    sql.new_task(id=1, status="completed", idempotency_key="a")
    sql.run("DELETE FROM tasks WHERE id = 1")
    sql.new_task(id=1, status="completed", idempotency_key="b")
    sql.run("REPLACE INTO tasks (organization_id, title, idempotency_key) VALUES (1, 'new', 'b')")
    assert [row["title"] for row in sql.run("SELECT title FROM tasks")] == ["new"]


def test_a_task_with_executions_cannot_be_deleted_or_replaced_by_any_key(sql: Sql) -> None:
    sql.new_task(id=1, status="completed", idempotency_key="a")
    sql.new_execution(1, status="succeeded")

    assert sql.refused("DELETE FROM tasks WHERE id = 1")
    assert sql.refused("REPLACE INTO tasks (organization_id, title, idempotency_key) VALUES (1, 'new', 'a')")
    assert sql.task(1)["status"] == "completed"


# --- states -------------------------------------------------------------------------------------------------

NO_STATES: list[Value] = ["done", "PENDING", " pending", "", None, 1]


@pytest.mark.parametrize("state", TASK_STATES)
def test_every_state_of_a_task_can_be_written(sql: Sql, state: str) -> None:
    """The states in SQL are those of the lifecycle."""
    sql.new_task(id=1, status=state)
    sql.new_task(id=2)
    sql.run("UPDATE tasks SET status = ?1, version = version + 1 WHERE id = 2", state)
    assert (sql.task(1)["status"], sql.task(2)["status"]) == (state, state)


@pytest.mark.parametrize("state", EXECUTION_STATES)
def test_every_state_of_an_execution_can_be_written(sql: Sql, state: str) -> None:
    sql.new_task(id=1)
    first, second = sql.new_execution(1, 1, status=state), sql.new_execution(1, 2)
    wake = 0 if state in ("waiting", "unknown") else None
    sql.run("UPDATE task_executions SET status = ?1, wake_at_ms = ?2 WHERE id = ?3", state, wake, second)
    assert (sql.execution(first)["status"], sql.execution(second)["status"]) == (state, state)


@pytest.mark.parametrize("state", NO_STATES)
def test_no_other_value_is_a_state(sql: Sql, state: Value) -> None:
    sql.new_task(id=1)
    execution = sql.new_execution(1)

    assert "tasks.status" in sql.refused("INSERT INTO tasks (title, status) VALUES ('t', ?1)", state)
    assert "tasks.status" in sql.refused("UPDATE tasks SET status = ?1 WHERE id = 1", state)
    assert "task_executions.status" in sql.refused(
        "INSERT INTO task_executions (task_id, execution_type, status) VALUES (1, 'ai', ?1)", state
    )
    assert "task_executions.status" in sql.refused(
        "UPDATE task_executions SET status = ?1 WHERE id = ?2", state, execution
    )
