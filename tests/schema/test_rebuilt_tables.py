"""Another tool rebuilds one of our tables: the lost parts are named and can be restored; nothing is claimed."""

from __future__ import annotations

import re
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply
from consumer.run.schema import BrokenSchema
from consumer.service import queries
from scripts import repair_schema
from tests.support.ports import FakeClock
from tests.support.scene import Suite, ai

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scene import Scene

MIGRATIONS = Path(__file__).parents[2] / "migrations"
PUBLIC = (MIGRATIONS / "0001_public_tables.sql").read_text()
TABLES = dict(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) (\(.*?\n\));", PUBLIC, re.DOTALL))
"""The public tables: the columns of each, as SQL."""

OF_TASKS = "SELECT name FROM sqlite_master WHERE tbl_name = 'tasks' AND type <> 'table' AND sql IS NOT NULL"


def rebuild(table: str, definition: str | None = None, names: str | None = None) -> list[str]:
    """The statements of drizzle-kit 0.31 for a changed column: it rebuilds the table from the columns that it knows."""
    known = names or ", ".join(f'"{name}"' for name in re.findall(r"^  (\w+) ", TABLES[table], re.MULTILINE))
    return [
        "PRAGMA foreign_keys=OFF",
        f"CREATE TABLE `__new_{table}` {definition or TABLES[table]}",
        f"INSERT INTO `__new_{table}`({known}) SELECT {known} FROM `{table}`",
        f"DROP TABLE `{table}`",
        f"ALTER TABLE `__new_{table}` RENAME TO `{table}`",
        "PRAGMA foreign_keys=ON",
    ]


def rebuild_whole(database: sqlite3.Connection) -> list[str]:
    """A rebuild by a tool that knows all columns of `tasks`: only indexes and triggers are lost."""
    (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'tasks'").fetchone()
    columns = database.execute("SELECT name FROM pragma_table_xinfo('tasks') WHERE hidden = 0")
    return rebuild("tasks", sql[sql.index("(") :], ", ".join(name for (name,) in columns))


class OtherTool:
    """A separate connection, with SQLite's defaults."""

    def __init__(self, file: Path) -> None:
        self.database = sqlite3.connect(file, isolation_level=None)
        self.database.execute("PRAGMA foreign_keys=ON")

    def one_by_one(self, statements: list[str]) -> None:
        """Send statements one by one, as `drizzle-kit push` does."""
        for statement in statements:
            self.database.execute(statement)

    def together(self, statements: list[str]) -> None:
        """Send statements in one transaction, as migrations do: `foreign_keys` cannot be switched off in it."""
        self.database.execute("BEGIN")
        try:
            self.one_by_one(statements)
            self.database.execute("COMMIT")
        except sqlite3.Error:
            self.database.execute("ROLLBACK")
            raise

    def names(self, query: str) -> set[str]:
        return {name for (name,) in self.database.execute(query)}


class Rebuilt(Suite):
    """A worker on this machine, and another tool on its database."""

    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[SqliteDatabase]:
        made = SqliteDatabase(tmp_path / "tasks.sqlite3")
        apply(made, MIGRATIONS)
        yield made
        made.close()

    @pytest.fixture
    def other(self, database: SqliteDatabase, tmp_path: Path) -> Iterator[OtherTool]:
        del database  # the fixture has migrated it
        tool = OtherTool(tmp_path / "tasks.sqlite3")
        yield tool
        tool.database.close()

    @pytest.fixture
    def kv(self, tmp_path: Path) -> Iterator[SqliteKeyValue]:
        made = SqliteKeyValue(tmp_path / "kv.sqlite3", FakeClock())
        yield made
        made.close()

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FileBlobs:
        return FileBlobs(tmp_path / "blobs", fsync=False)


async def refused(scene: Scene) -> list[str]:
    """The missing parts that the health check names; assert that neither a doorbell nor cron does anything."""
    before = await scene.statuses()
    (message,) = await scene.ring()
    assert message.verdicts == ["retry"]
    with pytest.raises(BrokenSchema):
        await scene.tick()
    assert await scene.statuses() == before
    return await queries.health(scene.world)


class TestWhatIsLost(Rebuilt):
    """A rebuild that succeeds."""

    async def test_every_rule_and_column_is_named_and_nothing_is_claimed(
        self, scene: Scene, other: OtherTool
    ) -> None:
        task = await scene.given(ai("echo"))
        rules = other.names(OF_TASKS)
        columns = other.names("SELECT name FROM pragma_table_xinfo('tasks')")
        other.together(rebuild("tasks"))  # no execution refers to a task yet: nothing prevents the rebuild
        said = "\n".join(await refused(scene))
        assert {name for name in rules if f" {name} is missing" not in said} == set()
        gone = columns - other.names("SELECT name FROM pragma_table_xinfo('tasks')")
        assert {"version", "lease", "rank"} <= gone
        assert {name for name in gone if f"column tasks.{name}" not in said} == set()
        assert (await scene.task(task))["status"] == "pending"

    async def test_a_table_that_a_rebuild_stopped_half_way_is_named(
        self, scene: Scene, other: OtherTool
    ) -> None:
        """Sent one by one, the old table is dropped before the rename of the new one fails."""
        with pytest.raises(sqlite3.OperationalError, match="tasks_foreign_insert"):
            other.one_by_one(rebuild("users"))
        assert any("table users is missing" in each for each in await refused(scene))


class TestWhatIsRefused(Rebuilt):
    """In one transaction, the foreign keys and the triggers themselves prevent a rebuild."""

    @pytest.mark.parametrize("table", ["tasks", "organizations"])
    async def test_a_rebuilt_table_that_rows_refer_to_is_repaired(
        self, scene: Scene, other: OtherTool, table: str
    ) -> None:
        await scene.given(ai("echo"))
        await scene.drain()
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            other.together(rebuild(table))
        assert await queries.health(scene.world) == []

    @pytest.mark.parametrize("table", ["users", "task_templates", "task_executions"])
    async def test_a_rebuilt_table_that_a_trigger_names_is_repaired(
        self, scene: Scene, other: OtherTool, table: str
    ) -> None:
        with pytest.raises(sqlite3.OperationalError, match="error in trigger"):
            other.together(rebuild(table))
        assert await queries.health(scene.world) == []


class TestRepairs(Rebuilt):
    """The repair script, which reads the output of `wrangler d1 export --no-data`."""

    def schema(self, other: OtherTool) -> sqlite3.Connection:
        rows = other.database.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        )
        return repair_schema.loaded(*(f"{sql};" for (sql,) in rows))

    async def test_lost_rules_are_restored_and_work_continues(self, scene: Scene, other: OtherTool) -> None:
        task = await scene.given(ai("echo"))
        other.together(rebuild_whole(other.database))
        other.database.execute(
            "INSERT INTO tasks (template_id, title) SELECT template_id, 'in between' FROM tasks WHERE id = ?",
            (task,),
        )
        assert len(await refused(scene)) > 10
        other.one_by_one(repair_schema.repairs(self.schema(other)))
        assert await queries.health(scene.world) == []
        await scene.ring()
        (ours, in_between) = await scene.sql(
            "SELECT status, organization_id, blocked_by FROM tasks ORDER BY id"
        )
        assert ours["status"] == "completed"
        assert in_between == {"status": "pending", "organization_id": 1, "blocked_by": "adopt"}

    async def test_counters_are_recomputed_after_their_triggers_were_lost(
        self, scene: Scene, other: OtherTool
    ) -> None:
        budget = await scene.budget(1_000_000)
        task = await scene.given(ai("echo", charge="0.03", asynchronous=True), count=2)
        await scene.finish()
        kept = await scene.books(budget)
        other.database.execute("DROP TRIGGER executions_charge")
        other.database.execute("UPDATE task_executions SET cost_micro = 50000 WHERE task_id = ?", (task,))
        assert await scene.books(budget) == kept
        other.one_by_one(repair_schema.repairs(self.schema(other)))
        rows: Any = await scene.sql("SELECT sum(cost_micro) AS spent FROM task_executions")
        assert (await scene.books(budget))[0] == rows[0]["spent"] != kept[0]
        assert await queries.health(scene.world) == []

    async def test_a_changed_rule_is_put_back(self, scene: Scene, other: OtherTool) -> None:
        other.one_by_one(["DROP INDEX tasks_due", "CREATE INDEX tasks_due ON tasks (id)"])
        assert [each for each in await refused(scene) if "tasks_due was changed" in each]
        other.one_by_one(repair_schema.repairs(self.schema(other)))
        assert await queries.health(scene.world) == []

    def test_a_complete_schema_needs_nothing(self, other: OtherTool) -> None:
        assert repair_schema.repairs(self.schema(other)) == []
        assert repair_schema.lost_columns(self.schema(other)) == []

    def test_lost_columns_are_named_and_not_invented(
        self, other: OtherTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other.together(rebuild("tasks"))
        dump = tmp_path / "schema.sql"
        dump.write_text("\n".join(other.database.iterdump()))
        monkeypatch.setattr(sys, "argv", ["repair_schema", str(dump)])
        with pytest.raises(SystemExit, match=r"gone with their values: tasks\.attempt, "):
            repair_schema.main()
