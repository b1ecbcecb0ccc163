"""The doctor's findings and advice."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from consumer.core.policy import HOUR, MINUTE, NEVER
from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply
from consumer.ports import Statement, Unavailable
from consumer.service import doctor
from consumer.service.doctor import examine
from consumer.service.findings import Finding
from consumer.store.schema.check import broken
from consumer.store.schema.expected import COLUMNS, MIGRATIONS, OBJECTS
from consumer.store.sql import execution_id
from consumer.world import World
from tests.schema.databases import MIGRATIONS as DIRECTORY
from tests.schema.databases import Sql, on_sqlite
from tests.support.fakes import Network
from tests.support.ports import FakeClock, FakeEntropy, Faulty
from tests.support.scene import ai, make_world, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FINE: Final = [
    "the schema is complete",
    f"all {len(MIGRATIONS)} migrations are applied",
    "spending is not stopped",
    *("no task gets the id of a deleted task", "no tick is missing yet", "no task is overdue for a worker"),
    *("no call failed in the last hour", "no profile rests"),
    "no task is blocked",
    "another application has set no task to running",
    "no expired leases",
    "the outbox is empty",
    "no dead letters",
    "the outcome of every call is known",
    "every ended execution has a cost",
    "every profile that a template names exists",
    "every webhook was handled",
    "no budget is more than 80% full",
]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("migrated") / "tasks.sqlite3"
    apply(file, DIRECTORY)
    return file


@pytest.fixture
def database(tmp_path: Path, migrated: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(shutil.copy(migrated, tmp_path))
    made.run([Statement("INSERT INTO organizations (id, name) VALUES (1, 'one')")])
    made.run([Statement("INSERT INTO task_templates (id, organization_id, name) VALUES (1, 1, 'template')")])
    yield made
    made.close()


@pytest.fixture
def sql(database: SqliteDatabase) -> Sql:
    return on_sqlite(database)


@pytest.fixture
async def world(tmp_path: Path, database: SqliteDatabase) -> AsyncIterator[World]:
    kv, network = SqliteKeyValue(tmp_path / "kv.sqlite3", FakeClock()), Network()
    yield make_world(Faulty(database), kv, FileBlobs(tmp_path / "blobs"), network)
    await network.client.aclose()
    kv.close()


async def wrong(world: World) -> list[Finding]:
    """The findings that report a fault."""
    return [finding for finding in await examine(world) if finding.level != "ok"]


async def only(world: World) -> Finding:
    """The only finding that reports a fault; it has an advice."""
    (finding,) = await wrong(world)
    assert finding.advice
    return finding


async def test_a_healthy_deployment_has_no_faults(world: World) -> None:
    assert await examine(world) == [Finding("ok", what) for what in FINE]


async def test_the_doctor_changes_nothing(world: World, database: SqliteDatabase) -> None:
    before = list(database._connection.iterdump())
    await examine(world)
    assert list(database._connection.iterdump()) == before


async def test_an_unreachable_database_is_reported(world: World) -> None:
    """The doctor raises, because it could check nothing; the caller reports that."""
    assert isinstance(world.database, Faulty)
    for batch in range(1, 6):
        world.database.fail(batch)
    with pytest.raises(Unavailable):
        await examine(world)


# --- schema -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (kind, _) in OBJECTS.items()])
async def test_every_missing_index_and_trigger_is_reported(
    database: SqliteDatabase, sql: Sql, name: str, kind: str
) -> None:
    sql.run(f"DROP {kind} {name}")
    (problem,) = await broken(database, FakeEntropy())
    assert problem.startswith(f"{kind} {name} is missing")


async def test_a_changed_trigger_is_reported_and_white_space_is_not(world: World, sql: Sql) -> None:
    text = sql.value("SELECT sql FROM sqlite_master WHERE name = 'executions_admission'")
    sql.run("DROP TRIGGER executions_admission")
    sql.run(text.replace("\n", "\n\n   "))
    assert await wrong(world) == []
    sql.run("DROP TRIGGER executions_admission")
    sql.run(text.replace("cap_micro", "cap_micro + 1"))
    assert "trigger executions_admission was changed" in (await only(world)).what


async def test_a_table_rebuilt_by_an_orm_is_reported(world: World, sql: Sql) -> None:
    """An ORM copies the columns that it knows, and drops the old table with its indexes and triggers."""
    sql.send(
        Statement("PRAGMA defer_foreign_keys = on"),
        Statement("CREATE TABLE __new_tasks (id INTEGER PRIMARY KEY, title TEXT, status, priority TEXT)"),
        Statement("INSERT INTO __new_tasks SELECT id, title, status, priority FROM tasks"),
        Statement("DROP TABLE tasks"),
        Statement("ALTER TABLE __new_tasks RENAME TO tasks"),
    )
    findings = await wrong(world)

    kept = {"id", "title", "status", "priority"}
    lost = {name.partition("(")[0] for name in COLUMNS["tasks"].split()} - kept
    reported = {finding.what.split()[1] for finding in findings if finding.what.startswith("column")}
    assert {name.partition("(")[0] for name in reported} == {f"tasks.{name}" for name in lost}
    assert {f"trigger {name}" for name in OBJECTS if name.startswith("tasks_foreign")} <= {
        " ".join(finding.what.split()[:2]) for finding in findings
    }
    assert {finding.level for finding in findings} == {"error"}
    assert findings[-1].what.startswith("the other checks were skipped: no such column")


async def test_a_rank_that_is_an_ordinary_column_is_reported(database: SqliteDatabase, sql: Sql) -> None:
    """An ORM that rebuilds the table makes an ordinary column of the generated one."""
    for name in ("tasks_due", "tasks_organization_due", "tasks_blocked", "tasks_organization_waiting"):
        sql.run(f"DROP INDEX {name}")
    sql.run("ALTER TABLE tasks DROP COLUMN rank")
    sql.run("ALTER TABLE tasks ADD COLUMN rank INTEGER")
    problems = await broken(database, FakeEntropy())
    assert problems[0].startswith("column tasks.rank(generated) is missing")


async def test_a_missing_table(world: World, sql: Sql) -> None:
    sql.run("DROP TABLE leases")
    findings = await wrong(world)
    assert findings[0].what.startswith("table leases is missing")


async def test_an_empty_database_is_reported(tmp_path: Path, world: World) -> None:
    empty = SqliteDatabase(tmp_path / "empty.sqlite3")
    assert isinstance(world.database, Faulty)
    world.database.inner = empty
    findings = await examine(world)
    assert [finding.what.split(":")[0] for finding in findings] == [
        "the database has none of the worker's tables",
        "table d1_migrations, the record of applied migrations, is missing",
        "the other checks were skipped",
    ]
    empty.close()


# --- migrations ---------------------------------------------------------------------------------------------


async def test_a_pending_migration_is_reported(world: World, sql: Sql) -> None:
    sql.run("DELETE FROM d1_migrations WHERE name = '0003_rules.sql'")
    finding = await only(world)
    assert (finding.level, finding.what) == ("error", "migrations have not been applied: 0003_rules.sql")


async def test_a_database_ahead_of_the_code_is_reported(world: World, sql: Sql) -> None:
    sql.run("INSERT INTO d1_migrations (name) VALUES ('9999_later.sql'), ('0000_of_the_application.sql')")
    finding = await only(world)
    assert (finding.level, finding.what) == (
        "warning",
        "the database has migrations that this code does not have: 9999_later.sql",
    )


# --- waiting rows -------------------------------------------------------------------------------------------


async def test_blocked_tasks_are_counted_by_kind(world: World, sql: Sql) -> None:
    blockers = {
        "adopt": ["adopt"] * 3,
        "no_route": ["no_route:1", "no_route:12", "no_route:", "no_route:1:route.stages: x"],
        "no_organization": ["no_organization"],
        "no_candidate": ["no_candidate:no profile 'x'"],
        "bad_settings": ["bad_settings:temperature"],
        "unpriced": ["unpriced:chat"],
        "budget": ["budget:1", "budget:operator:2"],
        "storage": ["storage:timeout"],
        "stopped": ["stopped"],
        "weather": ["weather"],
    }
    for blocker in (blocker for group in blockers.values() for blocker in group):
        sql.new_task(blocked_by=blocker, run_at_ms=NEVER)
    sql.new_task(blocked_by="adopt", status="running")
    sql.new_task(run_at_ms=NEVER)

    found = {finding.what: finding for finding in await wrong(world)}

    assert set(found) == {
        "3 pending tasks older than the installation",
        "4 pending tasks without a valid route",
        "1 pending task without an organization",
        "1 pending task whose profile is missing in this deployment",
        "1 pending task whose route has settings that the provider does not accept",
        "1 pending task under a budget, and the most that they can cost is unknown",
        "2 pending tasks for which a budget has no room",
        "1 pending task whose previous result cannot be read at the moment",
        "1 pending task held by hand",
        "1 pending task blocked by 'weather'",
    }
    assert "bizq adopt" in found["3 pending tasks older than the installation"].advice


async def test_nothing_is_counted_without_end(
    world: World, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "MAX_COUNTED", 5)
    for _ in range(7):
        sql.new_task(blocked_by="adopt", run_at_ms=NEVER)
    assert (await only(world)).what == "5 pending tasks or more older than the installation"


async def test_a_lease_that_no_sweep_handles(world: World, sql: Sql) -> None:
    now = world.clock.now_ms()
    sql.run("INSERT INTO leases VALUES ('fresh', ?1, '[]')", now - MINUTE)
    assert await wrong(world) == []
    sql.run("INSERT INTO leases VALUES ('old', ?1, '[]')", now - HOUR)
    finding = await only(world)
    assert finding.level == "error"
    assert finding.what == "1 expired lease not swept, the first since 2033-05-18T02:33:20.000Z"
    assert "cron" in finding.advice


async def test_an_outbox_that_no_worker_empties(world: World, sql: Sql) -> None:
    now = world.clock.now_ms()
    sql.run("INSERT INTO outbox (kind, task_id, due_ms) VALUES ('publish', 1, ?1)", now - MINUTE)
    assert await wrong(world) == []
    sql.run("INSERT INTO outbox (kind, task_id, due_ms) VALUES ('publish', 2, ?1)", now - HOUR)
    finding = await only(world)
    assert finding.what == "1 outbox row not handled, the first due since 2033-05-18T02:33:20.000Z"


async def test_dead_letters_are_reported(world: World, sql: Sql) -> None:
    sql.run("INSERT INTO dead_letters VALUES ('a', 1, 'no JSON', 'x'), ('b', 1, 'no JSON', 'x')")
    assert (await only(world)).what == "2 dead letters"


async def test_webhooks_without_an_execution_are_reported(world: World, sql: Sql) -> None:
    now = world.clock.now_ms()
    columns = "(profile, event_id, execution_id, external_id, received_ms, handled_ms, body)"
    for event, first, other, received, handled in [
        ("young", 1, None, now - MINUTE, None),
        ("handled", 1, None, now - 3 * HOUR, 5),
    ]:
        sql.run(
            f"INSERT INTO webhooks {columns} VALUES ('job', ?1, ?2, ?3, ?4, ?5, '')",
            *(event, first, other, received, handled),
        )
    assert await wrong(world) == []
    events: list[tuple[str, int | None, str | None]] = [("a", 1, None), ("b", None, "x"), ("c", 1, "x")]
    for event, execution, external in events:
        sql.run(
            f"INSERT INTO webhooks {columns} VALUES ('job', ?1, ?2, ?3, ?4, NULL, '')",
            *(event, execution, external, now - 2 * HOUR),
        )
    finding = await only(world)
    assert (
        finding.what
        == "3 webhooks not handled within an hour, the first received at 2033-05-18T01:33:20.000Z"
    )


# --- calls and money ----------------------------------------------------------------------------------------


async def test_unknown_calls_are_reported(world: World, sql: Sql) -> None:
    now = world.clock.now_ms()
    task = sql.new_task(run_at_ms=NEVER)
    sql.new_execution(task, 1, status="waiting", wake_at_ms=1, reserved_micro=9)
    for number, until in ((2, now + HOUR), (3, None), (4, now + MINUTE)):
        sql.new_execution(
            task, number, status="unknown", wake_at_ms=5, resolve_by_ms=until, reserved_micro=10_000
        )
    finding = await only(world)
    assert finding.level == "warning"
    assert finding.what == (
        "3 executions of unknown outcome, with $0.030000 reserved; "
        "the first must be resolved by 2033-05-18T03:34:20.000Z"
    )
    sql.run("UPDATE task_executions SET resolve_by_ms = ?1 WHERE id = ?2", now - HOUR, execution_id(task, 4))
    assert [(finding.level, finding.what) for finding in await wrong(world)][1] == (
        "error",
        "1 execution of unknown outcome should have been resolved by now",
    )


async def test_executions_that_ended_without_a_cost_are_reported(world: World, sql: Sql) -> None:
    """Only the worker's: executions of other applications have no cost in micro-dollars."""
    task = sql.new_task(run_at_ms=NEVER)
    sql.insert("task_executions", task_id=task, execution_type="ai", status="succeeded")
    sql.new_execution(task, 1, status="succeeded", cost_micro=0)
    sql.new_execution(task, 2, status="running", reserved_micro=5)
    assert await wrong(world) == []
    sql.new_execution(task, 3, status="failed", reserved_micro=70_000)
    finding = await only(world)
    assert finding.what == "1 ended execution of unknown cost, with $0.070000 still reserved"


async def test_missing_profiles(world: World, sql: Sql) -> None:
    stages = [ai("blind", "gone"), ai("lost", "gone"), ai("gone")]
    for number, wanted in enumerate((route(*stages), route(stages[0]), route(ai("blind"))), 10):
        sql.insert("task_templates", id=number, organization_id=1, name="t", route=json.dumps(wanted))
    for text in ("not JSON", "[]", '"x"', '{"stages": 5}', '{"stages": [{"candidates": "x"}]}'):
        sql.insert("task_templates", organization_id=1, name="t", route=text)
    assert [(finding.level, finding.what) for finding in await wrong(world)] == [
        ("error", "profile 'gone' is missing: 2 templates name it, the first is template 10"),
        ("error", "profile 'lost' is missing: 1 template names it, the first is template 10"),
    ]


async def test_nearly_full_and_overdrawn_budgets_are_reported(world: World, sql: Sql) -> None:
    now = world.clock.now_ms()
    for number, (spent, reserved, starts, ends) in enumerate(
        [
            (40, 40, 0, NEVER),
            (41, 40, 0, NEVER),
            (90, 20, 0, NEVER),
            (100, 0, 0, now),
            (0, 100, now + 1, NEVER),
        ],
        1,
    ):
        sql.insert(
            "budgets",
            id=number,
            organization_id=1,
            scope="task",
            scope_id=number,
            period="day",
            cap_micro=100,
        )
        sql.run(
            "INSERT INTO budget_periods (id, budget_id, starts_ms, ends_ms, spent_micro, reserved_micro)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            *(str(number), number, starts, ends, spent, reserved),
        )
    assert [(finding.level, finding.what) for finding in await wrong(world)] == [
        (
            "error",
            "budget 3 (task 3, day) is over its cap: $0.000090 spent and $0.000020 reserved of $0.000100",
        ),
        (
            "warning",
            "budget 2 (task 2, day) is nearly full: $0.000041 spent and $0.000040 reserved of $0.000100",
        ),
    ]


async def test_a_table_that_gives_ids_again_is_reported(world: World, tmp_path: Path) -> None:
    """As another application made it, without AUTOINCREMENT."""
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite3", isolation_level=None)) as other:
        other.execute("PRAGMA writable_schema = ON")
        other.execute("UPDATE sqlite_master SET sql = replace(sql, 'AUTOINCREMENT', '') WHERE name = 'tasks'")
    found = await only(world)
    assert found.what.startswith("table tasks has no AUTOINCREMENT")
    assert "identity" in found.advice
