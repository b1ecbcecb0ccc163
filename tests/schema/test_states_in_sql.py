"""The states in SQL are the states in code: in the triggers and partial indexes of the migrations, and in every
statement of `consumer/store`.

SQL cannot import them, so they are text there; these tests read the text, and then ask the database itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

import pytest

from consumer.core.lifecycle import (
    EXECUTION_FINAL,
    EXECUTION_OPEN,
    TASK_FINAL,
    ExecutionState,
    TaskState,
    Word,
)
from consumer.local import migrate
from consumer.local.database import SqliteDatabase
from consumer.ports import Refused, Row, Statement, Value
from consumer.store.sql import FINISHED, OPEN, Query, execution_id
from scripts.stage import ROOT
from tests.support.statements import modules

States = frozenset[str]

LIST: Final = re.compile(r"\bstatus\b(?:, ''\))? (?:NOT )?IN \(([^)]*)\)")
ONE: Final = re.compile(r"\b(?:status|state)\b (?:=|<>|IS|IS NOT) '([^']*)'")


def values(states: frozenset[Word] | type[Word]) -> States:
    return frozenset(state.value for state in states)


TASKS: Final = values(TaskState)
EXECUTIONS: Final = values(ExecutionState)
FOLLOWED_UP: Final = values(EXECUTION_OPEN) - {ExecutionState.RUNNING.value}
"""Open executions that no worker has in flight."""
UNFINISHED: Final = TASKS - values(TASK_FINAL)
KNOWN_LISTS: Final = {
    TASKS,
    values(TASK_FINAL),
    UNFINISHED,
    EXECUTIONS,
    values(EXECUTION_FINAL),
    values(EXECUTION_OPEN),
    FOLLOWED_UP,
}

LISTS_OF_TRIGGERS: Final = {
    "tasks_state_insert": TASKS,
    "tasks_state_update": TASKS,
    "tasks_finished": values(TASK_FINAL),
    "tasks_replaced": values(TASK_FINAL),
    "executions_state_insert": EXECUTIONS,
    "executions_state_update": EXECUTIONS,
    "executions_finished": values(EXECUTION_FINAL),
    "executions_replaced": values(EXECUTION_FINAL),
}
PENDING: Final = frozenset({TaskState.PENDING.value})
STATES_OF_INDEXES: Final = {
    "tasks_due": PENDING,
    "tasks_organization_due": PENDING,
    "tasks_blocked": PENDING,
    "tasks_needs": PENDING,
    "tasks_raise": PENDING,
    "tasks_deadline": UNFINISHED,
    "tasks_taken": frozenset({TaskState.RUNNING.value}),
    "tasks_organization_waiting": frozenset({TaskState.WAITING.value}),
    "executions_wake": FOLLOWED_UP,
}


def items(text: str) -> States:
    """The quoted words of a list like `'a', 'b'`."""
    return frozenset(re.findall(r"'([^']*)'", text))


def lists(sql: str) -> list[States]:
    return [items(found) for found in LIST.findall(sql)]


def singles(sql: str) -> States:
    return frozenset(ONE.findall(sql))


@pytest.fixture(scope="module")
def database() -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase(":memory:")
    migrate.apply(opened, ROOT / "migrations")
    yield opened
    opened.close()


def read(database: SqliteDatabase, sql: str, *parameters: Value) -> list[Row]:
    return list(database.run([Statement(sql, parameters)])[0].rows)


def objects(database: SqliteDatabase, kind: str) -> dict[str, str]:
    found = read(database, "SELECT name, sql FROM sqlite_master WHERE type = ?1 AND sql IS NOT NULL", kind)
    return {str(row["name"]): str(row["sql"]) for row in found}


# ---------------------------------------------------------------------------------------------- the text of the SQL


def test_the_words_of_the_store_are_those_of_the_code() -> None:
    assert items(OPEN) == values(EXECUTION_OPEN)
    assert items(FINISHED) == values(TASK_FINAL)


@pytest.mark.parametrize("name", LISTS_OF_TRIGGERS)
def test_a_trigger_lists_exactly_the_states_of_the_code(database: SqliteDatabase, name: str) -> None:
    sql = objects(database, "trigger")[name]
    assert lists(sql) == [LISTS_OF_TRIGGERS[name]]


@pytest.mark.parametrize("name", [name for name in LISTS_OF_TRIGGERS if "_state_" in name])
def test_a_refusal_names_every_state(database: SqliteDatabase, name: str) -> None:
    message = re.search(r"RAISE\(ABORT, '\w+\.status must be ([^']*)'", objects(database, "trigger")[name])
    assert message
    assert frozenset(re.findall(r"\w+", message[1])) - {"or"} == LISTS_OF_TRIGGERS[name]


def test_a_partial_index_covers_exactly_the_states_that_queries_look_for(database: SqliteDatabase) -> None:
    partial = {
        name: frozenset().union(*lists(where), singles(where))
        for name, sql in objects(database, "index").items()
        if "status" in (where := sql.partition(" WHERE ")[2])
    }
    assert partial == STATES_OF_INDEXES


def statements() -> dict[str, str]:
    """Every statement of the store by its name."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            for query in value if isinstance(value, tuple) else [value]:
                if isinstance(query, Query):
                    found[f"{module.__name__}.{name}"] = query.sql
    return found


def test_every_other_mention_of_a_state_is_a_known_state(database: SqliteDatabase) -> None:
    """No statement names an unknown state, or only a part of the states that belong together."""
    everything = statements() | objects(database, "trigger") | objects(database, "index")
    assert len(statements()) > 40
    strange = {
        name: (
            *(set(found) for found in lists(sql) if found not in KNOWN_LISTS),
            singles(sql) - TASKS - EXECUTIONS,
        )
        for name, sql in everything.items()
    }
    assert {name: found for name, found in strange.items() if any(found)} == {}


@pytest.mark.parametrize(
    ("table", "first"), [("tasks", TaskState.PENDING), ("task_executions", ExecutionState.RUNNING)]
)
def test_rows_of_other_applications_begin_in_the_workers_first_state(
    database: SqliteDatabase, table: str, first: Word
) -> None:
    (column,) = read(database, f"SELECT dflt_value FROM pragma_table_info('{table}') WHERE name = 'status'")
    assert column["dflt_value"] == f"'{first.value}'"
    assert first is next(iter(type(first)))


# ---------------------------------------------------------------------------------------------- the database itself

STRANGE: Final = ("", "PENDING", "pending ", "done", "succeed", "skipped", None)


def insert(table: str, row: int, state: str | None) -> Statement:
    """A statement that inserts a row of either table in a state; executions belong to task 1."""
    if table == "tasks":
        return Statement("INSERT INTO tasks (id, title, status) VALUES (?1, 'x', ?2)", (row, state))
    return Statement(
        "INSERT INTO task_executions (id, task_id, execution_type, profile, status) VALUES (?1, 1, 'ai', 'p', ?2)",
        (execution_id(1, row), state),
    )


def update(table: str, row: int, state: str | None) -> Statement:
    if table == "tasks":
        return Statement("UPDATE tasks SET status = ?2 WHERE id = ?1", (row, state))
    wake = 0 if state in ("waiting", "unknown") else None  # as the worker moves it
    return Statement(
        "UPDATE task_executions SET status = ?2, wake_at_ms = ?3 WHERE id = ?1",
        (execution_id(1, row), state, wake),
    )


@pytest.fixture
def empty(database: SqliteDatabase) -> SqliteDatabase:
    database.run(
        [
            Statement("DELETE FROM task_executions"),
            Statement("DELETE FROM tasks"),
            insert("tasks", 1, "pending"),
        ]
    )
    return database


@pytest.mark.parametrize(("table", "states"), [("tasks", TASKS), ("task_executions", EXECUTIONS)])
def test_the_database_takes_every_state_and_no_other(
    empty: SqliteDatabase, table: str, states: States
) -> None:
    for row, known in enumerate(sorted(states), start=2):
        empty.run([insert(table, row, known)])
    for state in (*STRANGE, *((TASKS | EXECUTIONS) - states)):
        with pytest.raises(Refused):
            empty.run([insert(table, 100, state)])
        with pytest.raises(Refused):
            empty.run([update(table, 2 + sorted(states).index("running"), state)])


@pytest.mark.parametrize(
    ("table", "states", "final"),
    [
        ("tasks", TASKS, values(TASK_FINAL)),
        ("task_executions", EXECUTIONS, values(EXECUTION_FINAL)),
    ],
)
def test_the_database_allows_leaving_every_state_except_the_final_ones(
    empty: SqliteDatabase, table: str, states: States, final: States
) -> None:
    for row, (before, after) in enumerate(product(sorted(states), repeat=2), start=2):
        empty.run([insert(table, row, before)])
        if before in final and after != before:
            with pytest.raises(Refused, match=r"finished|ended"):
                empty.run([update(table, row, after)])
        elif table == "task_executions" and after == "running" != before:
            with pytest.raises(Refused, match="cancel the task instead"):
                empty.run([update(table, row, after)])
        else:
            empty.run([update(table, row, after)])
