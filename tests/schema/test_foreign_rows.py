"""Other applications in the same database: their tasks, their edits, their executions."""

from __future__ import annotations

import time
from itertools import product

import pytest

from consumer.core.lifecycle import TASK_FINAL, ExecutionState, TaskState
from consumer.core.policy import NEVER, raise_at
from consumer.core.times import iso
from consumer.ports import Value
from consumer.store.sql import FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION, execution_id
from tests.schema import databases
from tests.schema.databases import Sql

empty, sql = databases.empty, databases.sql

TASK_STATES = [state.value for state in TaskState]
EXECUTION_STATES = [state.value for state in ExecutionState]
FINISHED = sorted(state.value for state in TASK_FINAL)
OPEN_STATES = [state for state in TASK_STATES if state not in FINISHED]
NEAR_MS = 10_000
"""The largest difference between the clock of this test and the database's clock, in milliseconds."""
HOUR = 3_600_000


def now_ms() -> int:
    return int(time.time() * 1000)


# --- tasks of other applications ----------------------------------------------------------------------------

PUBLIC = frozenset(
    "id template_id title description status priority assigned_to created_by due_date created_at updated_at".split()
)


def foreign(sql: Sql, **columns: Value) -> int:
    """Insert a task as another application does: with public columns only; return its id."""
    assert columns.keys() <= PUBLIC
    return sql.insert("tasks", **{"title": "theirs", **columns})


@pytest.mark.parametrize(
    ("columns", "organization"),
    [
        ({"template_id": 1}, 1),
        ({"template_id": 1, "created_by": 2}, 1),
        ({"template_id": 2, "created_by": 2}, 2),
    ],
    ids=["of its template", "of its template before its creator", "of its creator"],
)
def test_a_foreign_task_gets_an_organization_and_a_rank(
    sql: Sql, columns: dict[str, Value], organization: int
) -> None:
    task = sql.task(foreign(sql, **columns))

    assert task["organization_id"] == organization
    assert task["blocked_by"] is None
    assert abs(task["run_at_ms"] - now_ms()) < NEAR_MS
    assert (task["status"], task["priority"], task["rank"], task["version"]) == ("pending", "medium", 2, 0)


@pytest.mark.parametrize(
    ("columns", "blocked_by"),
    [
        ({}, "no_organization"),
        ({"template_id": 2}, "no_organization"),
        ({"template_id": 2, "created_by": 3}, "no_organization"),
        ({"template_id": 3}, "no_route:3"),
        ({"created_by": 1}, "no_route:"),
    ],
)
def test_a_foreign_task_names_what_it_lacks(sql: Sql, columns: dict[str, Value], blocked_by: str) -> None:
    task = sql.task(foreign(sql, **columns))

    assert (task["blocked_by"], task["run_at_ms"]) == (blocked_by, NEVER)


@pytest.mark.parametrize(
    ("given", "organization", "blocked_by"),
    [
        ("template_id = 1", 1, None),
        ("template_id = 2, created_by = 2", 2, None),
        ("created_by = 1", 1, "no_route:"),
        ("template_id = 3", 1, "no_route:3"),
        ("organization_id = 2", 2, "no_route:"),
        ("title = 'x', description = 'y'", None, "no_organization"),
    ],
)
def test_missing_parts_of_a_task_may_be_added_later(
    sql: Sql, given: str, organization: int | None, blocked_by: str | None
) -> None:
    number = foreign(sql)
    sql.run(f"UPDATE tasks SET {given} WHERE id = ?1", number)
    task = sql.task(number)
    assert (task["organization_id"], task["blocked_by"], task["version"]) == (organization, blocked_by, 0)
    assert (task["run_at_ms"] == NEVER) == (blocked_by is not None)


def test_a_task_written_again_gets_its_templates_new_parts(sql: Sql) -> None:
    number = foreign(sql, template_id=2)
    sql.run("UPDATE task_templates SET organization_id = 2 WHERE id = 2")
    sql.run("UPDATE tasks SET template_id = template_id WHERE blocked_by = 'no_organization'")
    assert (sql.task(number)["organization_id"], sql.task(number)["blocked_by"]) == (2, None)


@pytest.mark.parametrize(
    ("blocked_by", "then"), [("adopt", "adopt"), ("budget:1", None), ("budget:operator:1", None)]
)
def test_another_template_adopts_no_task_and_may_have_other_budgets(
    sql: Sql, blocked_by: str, then: str | None
) -> None:
    number = sql.new_task(blocked_by=blocked_by, run_at_ms=NEVER)
    sql.run("UPDATE tasks SET template_id = 3, created_by = 1 WHERE id = ?1", number)
    task = sql.task(number)
    assert (task["blocked_by"], task["run_at_ms"] == NEVER) == (then, then is not None)


def test_unset_columns_may_come_as_null(sql: Sql) -> None:
    """Drizzle sends NULL for columns without a default."""
    unset: dict[str, Value] = dict.fromkeys(
        ("id", "description", "priority", "assigned_to", "created_by", "due_date")
    )
    task = sql.task(foreign(sql, template_id=1, status="pending", **unset))

    assert (task["rank"], task["raise_at_ms"], task["blocked_by"], task["organization_id"]) == (
        2,
        None,
        None,
        1,
    )


@pytest.mark.parametrize(
    ("priority", "rank"),
    [("urgent", 0), ("high", 1), ("medium", 2), ("low", 3), ("Urgent", 2), ("", 2), (None, 2), ("💥", 2)],
)
def test_rank_follows_priority_at_any_time(sql: Sql, priority: str | None, rank: int) -> None:
    number = foreign(sql, template_id=1, priority=priority)
    assert sql.task(number)["rank"] == rank
    sql.run("UPDATE tasks SET priority = 'urgent', boost = 1 WHERE id = ?1", number)
    assert sql.task(number)["rank"] == 0


def test_an_imported_finished_task_is_not_blocked(sql: Sql) -> None:
    task = sql.task(foreign(sql, status="completed"))
    assert (task["status"], task["blocked_by"]) == ("completed", None)


@pytest.mark.parametrize(("hours", "exact"), [(8, True), (-8, True), (0, False)])
def test_a_due_date_sets_when_a_foreign_task_is_raised(sql: Sql, hours: int, *, exact: bool) -> None:
    """A task is raised in the last quarter of the time from now to its due date; if that has passed, immediately."""
    now = now_ms()
    due = now + hours * HOUR
    inserted = sql.task(foreign(sql, template_id=1, due_date=iso(due)))
    edited = foreign(sql, template_id=1)
    sql.run("UPDATE tasks SET due_date = ?1 WHERE id = ?2", iso(due), edited)

    wanted = raise_at(now, due)
    assert wanted is not None
    assert abs(inserted["raise_at_ms"] - wanted) < NEAR_MS
    assert abs(sql.task(edited)["raise_at_ms"] - wanted) < NEAR_MS
    assert not exact or abs(inserted["raise_at_ms"] - now) > NEAR_MS


@pytest.mark.parametrize("due_date", [None, "", "tomorrow", "2026-13-45", 1_800_000_000])
def test_a_due_date_that_cannot_be_read_raises_nothing(sql: Sql, due_date: Value) -> None:
    number = foreign(sql, template_id=1, due_date=due_date)
    assert (sql.task(number)["raise_at_ms"], sql.task(number)["blocked_by"]) == (None, None)
    sql.run("UPDATE tasks SET due_date = '2040-01-01' WHERE id = ?1", number)
    sql.run("UPDATE tasks SET due_date = ?1 WHERE id = ?2", due_date, number)
    assert sql.task(number)["raise_at_ms"] is None


# --- edits by other applications ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"), [pair for pair in product(OPEN_STATES, TASK_STATES) if len(set(pair)) == 2]
)
def test_a_foreign_edit_moves_the_fence(sql: Sql, old: str, new: str) -> None:
    """The worker loses the task and publishes its status; if the task ended, open calls are followed up."""
    number = sql.new_task(status=old, version=7, lease="held", run_at_ms=5, blocked_by="budget:1")
    executions = {
        state: sql.new_execution(number, place, status=state, wake_at_ms=9)
        for place, state in enumerate(EXECUTION_STATES, 1)
    }
    other = sql.new_execution(sql.new_task(), status="waiting", wake_at_ms=9)

    sql.run("UPDATE tasks SET status = ?1 WHERE id = ?2", new, number)

    task = sql.task(number)
    assert (task["status"], task["version"], task["lease"], task["blocked_by"]) == (new, 8, None, None)
    assert abs(task["run_at_ms"] - now_ms()) < NEAR_MS
    assert sql.run("SELECT kind, task_id, due_ms FROM outbox") == [
        {"kind": "publish", "task_id": number, "due_ms": 0}
    ]
    assert sql.run("SELECT task_id, organization_id, actor, event, detail FROM audit_log") == [
        {
            "task_id": number,
            "organization_id": 1,
            "actor": "another application",
            "event": "edited",
            "detail": f"{old} -> {new}",
        }
    ]
    woken = {state for state, one in executions.items() if sql.execution(one)["wake_at_ms"] == 0}
    assert woken == ({"waiting", "unknown"} if new in FINISHED else set())
    assert sql.execution(other)["wake_at_ms"] == 9


def test_a_second_foreign_edit_is_published_again(sql: Sql) -> None:
    number = sql.new_task(status="running")
    sql.run("UPDATE tasks SET status = 'pending' WHERE id = ?1", number)
    sql.run("UPDATE outbox SET due_ms = 5, attempts = 3")
    sql.run("UPDATE tasks SET status = 'cancelled' WHERE id = ?1", number)
    assert (sql.task(number)["version"], sql.value("SELECT due_ms FROM outbox")) == (2, 0)


def test_the_workers_moves_and_edits_of_other_columns_are_no_foreign_edits(sql: Sql) -> None:
    number = sql.new_task(status="running", lease="held")
    sql.run("UPDATE tasks SET status = 'waiting', version = version + 1 WHERE id = ?1", number)
    sql.run("UPDATE tasks SET title = 'x', priority = 'low', assigned_to = 1 WHERE id = ?1", number)
    task = sql.task(number)
    assert (task["version"], task["lease"]) == (1, "held")
    assert sql.run("SELECT * FROM outbox") == sql.run("SELECT * FROM audit_log") == []


@pytest.mark.parametrize(
    ("columns", "blocked_by"),
    [
        ({"organization_id": None, "template_id": 2}, "no_organization"),
        ({"template_id": 3}, "no_route:3"),
        ({"template_id": None}, "no_route:"),
        ({"blocked_by": "adopt"}, "adopt"),
    ],
)
def test_a_task_set_back_to_pending_is_due_only_if_nothing_is_lacking(
    sql: Sql, columns: dict[str, Value], blocked_by: str
) -> None:
    number = sql.new_task(**columns)
    sql.run("UPDATE tasks SET status = 'running' WHERE id = ?1", number)
    assert sql.task(number)["blocked_by"] == ("adopt" if blocked_by == "adopt" else None)
    sql.run("UPDATE tasks SET status = 'pending' WHERE id = ?1", number)
    assert (sql.task(number)["blocked_by"], sql.task(number)["run_at_ms"]) == (blocked_by, NEVER)


# --- executions of other applications -----------------------------------------------------------------------


def foreign_execution(sql: Sql, task: int, **columns: Value) -> int:
    return sql.insert("task_executions", **{"task_id": task, "execution_type": "human", **columns})


def test_executions_of_other_applications_never_fall_among_ours(sql: Sql) -> None:
    """SQLite counts up from the highest id, which is one of the worker's as soon as there is one."""
    first, second = sql.new_task(id=1), sql.new_task(id=2)
    assert [foreign_execution(sql, first), foreign_execution(sql, second)] == [1, 2]
    ours = sql.new_execution(second)

    beside = [foreign_execution(sql, first), foreign_execution(sql, second)]
    assert beside == [FIRST_FOREIGN_EXECUTION + 1, FIRST_FOREIGN_EXECUTION + 2]
    assert sql.new_execution(second, 2) == ours + 1
    sql.run(f"DELETE FROM task_executions WHERE id >= {FIRST_FOREIGN_EXECUTION}")
    several = sql.run(
        "INSERT INTO task_executions (task_id, execution_type) VALUES (1, 'ai'), (2, 'ai') RETURNING id"
    )
    assert min(row["id"] for row in several) > FIRST_FOREIGN_EXECUTION
    assert sql.run(
        f"SELECT id FROM task_executions WHERE id BETWEEN {FIRST_EXECUTION} AND {FIRST_FOREIGN_EXECUTION} ORDER BY id"
    ) == [{"id": ours}, {"id": ours + 1}]


def test_a_foreign_execution_keeps_its_own_id_and_a_refused_one_leaves_nothing(
    sql: Sql,
) -> None:
    ours = sql.new_execution(sql.new_task(id=1))
    assert foreign_execution(sql, 1, id=77) == 77
    assert sql.refused("INSERT INTO task_executions (task_id, execution_type) VALUES (999, 'ai')")
    sql.run("INSERT OR IGNORE INTO task_executions (id, task_id, execution_type) VALUES (77, 1, 'ai')")
    assert [row["id"] for row in sql.run("SELECT id FROM task_executions ORDER BY id")] == [77, ours]
    assert ours == execution_id(1, 1)
