"""Waking blocked tasks costs the same for few and for many of them, and finished tasks cost a sweep nothing."""

from __future__ import annotations

import json
from typing import Final

import pytest

from consumer.core.policy import NEVER
from consumer.local.database import SqliteDatabase
from consumer.local.migrate import apply
from consumer.run import sweep
from consumer.service import doctor
from consumer.store import room
from consumer.store.sql import execution_id
from tests.schema.databases import MIGRATIONS, Sql, on_sqlite
from tests.store.test_claim_cost import same, steps

NOW: Final = 1_800_000_000_000
MANY: Final = 20_000


@pytest.fixture
def made() -> SqliteDatabase:
    return fresh()


def fresh() -> SqliteDatabase:
    database = SqliteDatabase(":memory:")
    apply(database, MIGRATIONS)
    sql = on_sqlite(database)
    sql.run("INSERT INTO organizations (id, name) VALUES (1, 'one')")
    sql.run("INSERT INTO task_templates (id, organization_id, name, route) VALUES (1, 1, 'template', '{}')")
    return database


def budget(sql: Sql, cap: int, scope: str = "organization", scope_id: int = 1) -> int:
    return sql.insert(
        "budgets", organization_id=1, scope=scope, scope_id=scope_id, period="total", cap_micro=cap
    )


def blocked(sql: Sql, count: int, by: int, needs: int) -> None:
    sql.run(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)"
        " INSERT INTO tasks (title, organization_id, run_at_ms, blocked_by, needs_micro)"
        " SELECT 't', 1, ?2, 'budget:' || CAST(?3 AS INTEGER), ?4 FROM numbers",
        count, NEVER, by, needs,
    )  # fmt: skip


@pytest.mark.parametrize(("cap", "woken"), [(5, 0), (60, 10)], ids=["nothing fits", "ten fit"])
def test_a_sweep_reads_no_more_blocked_tasks_than_it_may_wake(cap: int, woken: int) -> None:
    found = []
    for count in (2_000, MANY):
        made = fresh()
        blocked(on_sqlite(made), count, budget(on_sqlite(made), cap), needs=6)
        found.append(steps(made, sweep.unblock(NOW)))
        assert on_sqlite(made).value("SELECT count(*) FROM tasks WHERE run_at_ms = ?1", NOW) == woken
    same(*found)


def test_a_settle_reads_no_execution_if_no_task_is_blocked(made: SqliteDatabase) -> None:
    sql = on_sqlite(made)
    number = budget(sql, 100)
    sql.run(
        "INSERT INTO budget_periods (id, budget_id, starts_ms, ends_ms) SELECT id || ':total', id, 0, ?1 FROM budgets",
        NEVER,
    )
    rows = []
    for _ in range(100):
        task = sql.new_task()
        sql.new_execution(task, budgets=json.dumps([f"{number}:total"]), profile=None)
        rows.append({"execution": execution_id(task, 1)})
    few, many = (
        steps(made, [room.WAKE_SETTLED(rows=json.dumps(part), now=NOW, since=0, most=50)])
        for part in (rows[:1], rows)
    )
    assert few == many


def test_the_budgets_of_finished_tasks_cost_no_sweep_anything() -> None:
    found = []
    for count in (20, 3_000):
        made = fresh()
        sql = on_sqlite(made)
        for _ in range(count):
            task = sql.new_task(status="running", version=1)
            period = f"{budget(sql, 100, 'task', task)}:total"
            sql.run(
                "INSERT INTO budget_periods (id, budget_id, starts_ms, ends_ms, spent_micro)"
                " SELECT ?1, max(id), 0, ?2, 90 FROM budgets",
                period, NEVER,
            )  # fmt: skip
            sql.run("UPDATE tasks SET status = 'completed', version = 2 WHERE id = ?1", task)
        tight = next(
            statement for statement, _ in doctor.questions(NOW, []) if "cap_micro *" in statement.sql
        )
        found.append(steps(made, [*sweep.unblock(NOW), *sweep.alert(NOW), tight]))
        assert sql.run("SELECT id FROM budget_periods WHERE alerted_ms IS NOT NULL") == []
    same(*found)


def test_room_is_filled_in_order_of_rank_and_age_by_what_fits(made: SqliteDatabase) -> None:
    sql = on_sqlite(made)
    name = f"budget:{budget(sql, 10)}"
    needs = {"low": 3, "medium": 4, "high": 11, "urgent": 5}
    tasks = {
        priority: sql.new_task(priority=priority, run_at_ms=NEVER, blocked_by=name, needs_micro=amount)
        for priority, amount in needs.items()
    }

    made.run(sweep.unblock(NOW))

    due = {row["id"] for row in sql.run("SELECT id FROM tasks WHERE run_at_ms = ?1", NOW)}
    assert due == {tasks["urgent"], tasks["medium"]}


def test_tasks_of_unknown_need_are_tried_ten_at_a_time(made: SqliteDatabase) -> None:
    sql = on_sqlite(made)
    name = f"budget:{budget(sql, 1_000)}"
    for _ in range(40):
        sql.new_task(run_at_ms=NEVER, blocked_by=name, needs_micro=None)

    made.run(sweep.unblock(NOW))

    assert sql.value("SELECT count(*) FROM tasks WHERE run_at_ms = ?1", NOW) == 10
