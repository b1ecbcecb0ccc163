"""The hard limit of a budget is in the schema: admission, counters, and refused writes."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.budget import period_of
from consumer.local.database import SqliteDatabase
from consumer.ports import MAX_INTEGER, Refused, Value
from consumer.store import begin as begin_sql
from consumer.store.sql import execution_id
from tests.schema import databases
from tests.schema.databases import Sql, on_sqlite

empty, sql = databases.empty, databases.sql

UPSERT: Final = " ON CONFLICT (id) DO UPDATE SET reserved_micro = 0"
NOW: Final = 1_800_000_000_000


def budget(sql: Sql, cap: int, kind: str = "total", scope_id: int = 1) -> str:
    """Insert a budget and its period; return the name of the period."""
    number = sql.insert(
        "budgets", organization_id=1, scope="organization", scope_id=scope_id, period=kind, cap_micro=cap
    )
    period = period_of(number, kind, NOW)
    row = {"id": period.id, "budget": number, "starts_ms": period.starts_ms, "ends_ms": period.ends_ms}
    sql.send(begin_sql.BEGIN_PERIODS(rows=json.dumps([row])))
    return period.id


def books(sql: Sql, period: str) -> tuple[int, int]:
    """(spent, reserved) of a budget, in micro-dollars."""
    (row,) = sql.run("SELECT spent_micro, reserved_micro FROM budget_periods WHERE id = ?1", period)
    return row["spent_micro"], row["reserved_micro"]


def begin(sql: Sql, *reservations: int, budgets: list[str] | None) -> list[int]:
    """Try reservations, each of another task, in one statement; return the indexes of the admitted ones."""
    tasks = [sql.new_task(status="running", version=1, lease="held") for _ in reservations]
    text = None if budgets is None else json.dumps(budgets)
    rows = [
        {"execution": execution_id(task, 1), "task": task, "version": 1, "lease": "held", "assigned_to": None}
        | {
            "execution_type": "ai",
            "provider": "echo",
            "profile": "p",
            "reserved_micro": amount,
            "budgets": text,
        }
        for task, amount in zip(tasks, reservations, strict=True)
    ]
    _, begun = sql.send(
        begin_sql.BEGIN(rows=json.dumps(rows), now=NOW, at="now"), begin_sql.BEGUN(rows=json.dumps(rows))
    )
    admitted = {row["id"] for row in begun}
    return [place for place, row in enumerate(rows) if row["execution"] in admitted]


# --- admission ----------------------------------------------------------------------------------------------


def test_rows_of_one_statement_are_judged_one_after_the_other(sql: Sql) -> None:
    """A condition in the statement would be evaluated for all rows before the first row is inserted."""
    period = budget(sql, 100)

    assert begin(sql, 30, 30, 30, 30, 30, budgets=[period]) == [0, 1, 2]

    assert books(sql, period) == (0, 90)


def test_a_row_without_room_stops_no_other_row(sql: Sql) -> None:
    period = budget(sql, 100)
    assert begin(sql, 60, 60, 40, 1, budgets=[period]) == [0, 2]
    assert books(sql, period) == (0, 100)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_all_applicable_budgets_admit_a_row_or_none(sql: Sql, order: list[int]) -> None:
    """If one budget has no room, nothing stays reserved in the others, in any order of the budgets."""
    periods = [budget(sql, cap, scope_id=cap) for cap in (100, 50, 1_000)]
    applying = [periods[place] for place in order]

    assert begin(sql, 40, 40, 10, budgets=applying) == [0, 2]

    assert [books(sql, period) for period in periods] == [(0, 50)] * 3


@pytest.mark.parametrize(
    ("spent", "reserved", "estimate", "admitted"),
    [(0, 0, 100, True), (0, 0, 101, False), (60, 40, 0, True), (60, 40, 1, False), (101, 0, 0, False)],
)
def test_a_cap_may_be_reached_and_not_passed(
    sql: Sql, spent: int, reserved: int, estimate: int, *, admitted: bool
) -> None:
    """A charge above the declared maximum stops even free calls."""
    period = budget(sql, 100)
    sql.run("UPDATE budget_periods SET spent_micro = ?1, reserved_micro = ?2", spent, reserved)

    assert begin(sql, estimate, budgets=[period]) == [0] * admitted

    assert books(sql, period) == (spent, reserved + estimate * admitted)


def test_a_missing_budget_or_period_admits_nothing(sql: Sql) -> None:
    period = budget(sql, 100)
    assert begin(sql, 1, budgets=["99:total"]) == begin(sql, 1, budgets=[period, "99:total"]) == []
    sql.run("DELETE FROM budgets")
    assert begin(sql, 1, budgets=[period]) == []


def test_without_a_budget_everything_is_admitted(sql: Sql) -> None:
    assert begin(sql, 10**9, budgets=None) == begin(sql, 10**9, budgets=[]) == [0]


def test_budgets_that_are_no_json_are_refused(sql: Sql) -> None:
    task = sql.new_task()
    with pytest.raises(Refused, match="JSON"):
        sql.new_execution(task, budgets="1:total", reserved_micro=1)


# --- NULL would be unlimited room ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE budgets SET cap_micro = NULL",
        "UPDATE budgets SET cap_micro = -1",
        "UPDATE budget_periods SET spent_micro = NULL",
        "UPDATE budget_periods SET reserved_micro = NULL",
        "UPDATE task_executions SET reserved_micro = NULL",
    ],
)
def test_no_amount_of_a_budget_can_be_null(sql: Sql, change: str) -> None:
    """`spent + NULL > cap` is NULL, which is not true."""
    period = budget(sql, 100)
    begin(sql, 10, budgets=[period])

    assert "constraint failed" in sql.refused(change)

    assert books(sql, period) == (0, 10)


def test_a_reservation_of_null_is_refused(sql: Sql) -> None:
    period, task = budget(sql, 100), sql.new_task()
    with pytest.raises(Refused, match="reserved_micro"):
        sql.new_execution(task, budgets=json.dumps([period]), reserved_micro=None)
    assert books(sql, period) == (0, 0)


# --- counters -----------------------------------------------------------------------------------------------


def test_counters_follow_an_execution_from_its_reservation_to_its_bill(sql: Sql) -> None:
    periods = [budget(sql, 1_000), budget(sql, 2_000, "day")]
    execution = sql.new_execution(sql.new_task(), budgets=json.dumps(periods), reserved_micro=300)

    def after(change: str, *parameters: Value) -> tuple[int, int]:
        sql.run(f"UPDATE task_executions SET {change} WHERE id = {execution}", *parameters)
        both = {books(sql, period) for period in periods}
        assert len(both) == 1
        return both.pop()

    assert after("status = 'waiting', wake_at_ms = 0") == (0, 300)
    assert after("reserved_micro = 350") == (0, 350)
    assert after("status = 'succeeded', wake_at_ms = NULL, cost_micro = ?1", 120) == (120, 0)
    assert after("cost_micro = ?1, cost_source = 'bill'", 1_500) == (1_500, 0)
    assert after("cost_micro = NULL") == (0, 350)
    assert after("cost_micro = 0") == (0, 0)
    assert after("note = 'x', usage = '{}'") == (0, 0)
    sql.run("UPDATE task_executions SET cost_micro = 7")
    sql.run("DELETE FROM task_executions")
    assert [books(sql, period) for period in periods] == [(7, 0), (7, 0)]


def test_a_counter_that_was_set_by_hand_does_not_fall_below_zero(sql: Sql) -> None:
    """A negative counter would be additional room."""
    period = budget(sql, 100)
    sql.new_task(id=1)
    reserved = sql.new_execution(1, 1, budgets=json.dumps([period]), reserved_micro=50)
    spent = sql.new_execution(1, 2, budgets=json.dumps([period]), reserved_micro=50, cost_micro=30)
    sql.run("UPDATE budget_periods SET spent_micro = 0, reserved_micro = 10")

    sql.run("UPDATE task_executions SET cost_micro = 10 WHERE id = ?1", spent)
    assert books(sql, period) == (0, 10)
    sql.run("UPDATE task_executions SET cost_micro = 40 WHERE id = ?1", reserved)
    assert books(sql, period) == (40, 0)
    sql.run("UPDATE budget_periods SET spent_micro = 5")
    sql.run("DELETE FROM task_executions WHERE id = ?1", spent)
    sql.run("DELETE FROM task_executions WHERE id = ?1", reserved)
    assert books(sql, period) == (5, 0)


def test_the_budgets_of_an_execution_are_those_of_its_reservation(sql: Sql) -> None:
    first, second = budget(sql, 100), budget(sql, 100, "day")
    charged = sql.new_execution(sql.new_task(), budgets=json.dumps([first]), reserved_micro=10)
    free = sql.new_execution(sql.new_task())
    for execution, budgets in ((charged, json.dumps([second])), (charged, None), (free, json.dumps([first]))):
        assert "its reservation" in sql.refused(
            "UPDATE task_executions SET budgets = ?1 WHERE id = ?2", budgets, execution
        )
    sql.run("UPDATE task_executions SET budgets = budgets, status = 'waiting', wake_at_ms = 0")
    assert (books(sql, first), books(sql, second)) == ((0, 10), (0, 0))


@pytest.mark.parametrize(
    "statement",
    [
        "REPLACE INTO task_executions (id, task_id, execution_type, profile) VALUES (?1, 1, 'ai', 'p')",
        "INSERT OR REPLACE INTO task_executions (id, task_id, execution_type) VALUES (?1, 1, 'ai')",
        "INSERT INTO task_executions (id, task_id, execution_type) VALUES (?1, 1, 'ai')" + UPSERT,
    ],
)
def test_an_open_execution_with_a_reservation_is_not_replaced(sql: Sql, statement: str) -> None:
    """REPLACE would delete the row, and its reservation would stay for ever."""
    period = budget(sql, 100)
    sql.new_task(id=1)
    execution = sql.new_execution(1, budgets=json.dumps([period]), reserved_micro=10)
    assert "not replaced" in sql.refused(statement, execution)
    assert books(sql, period) == (0, 10)


def test_the_id_of_a_deleted_budget_is_not_reused(sql: Sql) -> None:
    """An execution of the old one would be settled on the new one."""
    old = budget(sql, 100)
    execution = sql.new_execution(sql.new_task(), budgets=json.dumps([old]), reserved_micro=60)
    sql.run("DELETE FROM budgets")

    new = budget(sql, 100)
    sql.run("UPDATE task_executions SET cost_micro = 50 WHERE id = ?1", execution)

    assert new != old
    assert books(sql, new) == (0, 0)


def test_amounts_near_the_largest_integer_are_exact(sql: Sql) -> None:
    period = budget(sql, MAX_INTEGER)
    assert begin(sql, MAX_INTEGER - 1, 2, 1, 1, budgets=[period]) == [0, 2]
    assert books(sql, period) == (0, MAX_INTEGER)
    sql.run("UPDATE task_executions SET cost_micro = ?1 WHERE reserved_micro > 1", MAX_INTEGER)
    assert books(sql, period) == (MAX_INTEGER, 1)
    assert begin(sql, MAX_INTEGER, 0, budgets=[period]) == []


# --- any sequence of changes --------------------------------------------------------------------------------

AMOUNTS = st.integers(0, 60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), AMOUNTS, st.sets(st.integers(0, 2))),
        st.tuples(st.just("charge"), st.integers(0, 9), st.none() | AMOUNTS),
        st.tuples(st.just("reserve"), st.integers(0, 9), AMOUNTS),
        st.tuples(st.just("delete"), st.integers(0, 9), st.none()),
    ),
    max_size=30,
)


@given(steps=STEPS)
def test_counters_are_always_the_sum_over_the_executions(steps: list[tuple[Any, ...]]) -> None:
    """At every moment, the admitted reservations are within the cap."""
    database = SqliteDatabase(":memory:")
    sql = on_sqlite(database)
    sql.migrate()
    sql.run("INSERT INTO organizations (id, name) VALUES (1, 'one')")
    periods = [budget(sql, cap, scope_id=cap) for cap in (50, 100, 150)]
    made: list[int] = []
    deleted = dict.fromkeys(periods, 0)
    for kind, first, second in steps:
        if kind == "begin":
            chosen = [periods[place] for place in sorted(second)]
            task = sql.new_task(status="running", version=1, template_id=None)
            before = {period: sum(books(sql, period)) for period in chosen}
            row = {"execution": execution_id(task, 1), "task": task, "version": 1, "reserved_micro": first}
            row |= {
                "execution_type": "ai",
                "profile": "p",
                "provider": "echo",
                "budgets": json.dumps(chosen) if chosen else None,
            }
            sql.send(begin_sql.BEGIN(rows=json.dumps([row]), now=NOW, at="now"))
            there = bool(sql.run("SELECT 1 FROM task_executions WHERE id = ?1", row["execution"]))
            caps = dict(zip(periods, (50, 100, 150), strict=True))
            assert there == all(taken + first <= caps[period] for period, taken in before.items())
            made.append(row["execution"])
        elif first < len(made):
            statement = {
                "charge": "UPDATE task_executions SET cost_micro = ?1 WHERE id = ?2",
                "reserve": "UPDATE task_executions SET reserved_micro = ?1 WHERE id = ?2",
                "delete": "DELETE FROM task_executions WHERE id = ?2 AND ?1 IS NULL",
            }[kind]
            if kind == "delete":
                charge_deleted(sql, made[first], deleted)
            sql.run(statement, second, made[first])
        for period in periods:
            assert books(sql, period) == sums(sql, period, deleted[period])
    database.close()


def charge_deleted(sql: Sql, execution: int, deleted: dict[str, int]) -> None:
    """Add what an execution has cost, or its reservation if that is unknown, to the charge of each of its periods."""
    for row in sql.run(
        "SELECT held.value AS period, COALESCE(cost_micro, reserved_micro) AS charge"
        " FROM task_executions, json_each(budgets) AS held WHERE task_executions.id = ?1",
        execution,
    ):
        deleted[row["period"]] += row["charge"]


def sums(sql: Sql, period: str, deleted: int) -> tuple[int, int]:
    """The expected counters of a period.  `deleted`: the charge of its deleted executions."""
    (row,) = sql.run(
        "SELECT COALESCE(sum(cost_micro), 0) AS spent,"
        " COALESCE(sum(CASE WHEN cost_micro IS NULL THEN reserved_micro END), 0) AS reserved FROM task_executions"
        " WHERE EXISTS (SELECT 1 FROM json_each(budgets) WHERE value = ?1)",
        period,
    )
    return deleted + row["spent"], row["reserved"]
