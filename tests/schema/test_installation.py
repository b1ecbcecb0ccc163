"""Installing the worker into a database with many tasks: in parts, which a crash may interrupt."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.app import App
from consumer.core.errors import Conflict
from consumer.core.policy import NEVER
from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import split
from consumer.ports import Refused, Statement
from consumer.run import install
from consumer.run.run import Run
from consumer.service import stops
from consumer.store import installation
from tests.schema.databases import MIGRATIONS
from tests.support.fakes import SCHEMA, Network
from tests.support.ports import FakeClock
from tests.support.scene import ai, make_world, route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from consumer.world import World

PART_STEPS: Final = 1_000_000
"""Steps of SQLite's virtual machine in a part: a fraction of a second, where D1 allows 30 seconds."""
SCHEMA_STEPS: Final = 20_000_000
"""Steps of a statement of the migrations with a million tasks: the creation of an index, about a second."""

TASKS: Final = """
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
    INSERT INTO tasks (id, template_id, title, status)
    SELECT 3 * n, 1, 'old', CASE n % 4 WHEN 0 THEN 'pending' WHEN 1 THEN 'failed' ELSE 'completed' END FROM numbers
"""


def installed(path: Path, count: int) -> SqliteDatabase:
    """A database with old tasks, after the migrations and before the first part."""
    database = SqliteDatabase(path)
    database.run([Statement(sql) for sql in split((MIGRATIONS / "0001_public_tables.sql").read_text())])
    database.run(
        [
            Statement("INSERT INTO organizations (id, name) VALUES (1, 'one')"),
            Statement("INSERT INTO task_templates (id, organization_id, name) VALUES (1, 1, 't')"),
            *([Statement(TASKS, (count,))] if count else []),
        ]
    )
    return database


def later_migrations() -> Iterator[str]:
    for file in sorted(MIGRATIONS.glob("*.sql"))[1:]:
        yield from split(file.read_text())


def rows(database: SqliteDatabase, sql: str) -> list[Any]:
    return list(database.run([Statement(sql)])[0].rows)


def steps(database: SqliteDatabase, statements: Iterable[Statement]) -> list[int]:
    """The steps of each statement, in thousands rounded down, times 1,000."""
    found = []
    for statement in statements:
        count = [0]

        def step(count: list[int] = count) -> int:
            count[0] += 1_000
            return 0

        database._connection.set_progress_handler(step, 1_000)
        database.run([statement])
        database._connection.set_progress_handler(None, 0)
        found.append(count[0])
    return found


class Installed:
    """An installation in progress, whose process may end after each part."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        with closing(installed(path, count)) as database:
            database.run([Statement(sql) for sql in later_migrations()])
        self.network = Network()
        self.open()

    def open(self) -> None:
        """A new process."""
        self.database = SqliteDatabase(self.path)
        kv = SqliteKeyValue(self.path.with_suffix(".kv"), FakeClock())
        blobs = FileBlobs(self.path.with_suffix(".blobs"))
        self.world: World = make_world(self.database, kv, blobs, self.network)

    def route(self) -> None:
        """Give the template what the worker needs."""
        sql = "UPDATE task_templates SET route = ?1, output_schema = ?2"
        self.database.run([Statement(sql, (json.dumps(route(ai("blind"))), json.dumps(SCHEMA)))])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "tasks.sqlite3"


async def test_nothing_old_begins_during_an_installation_and_other_applications_go_on(place: Path) -> None:
    made = Installed(place, 40)
    made.route()
    new = []
    for number in range(1, 100):
        if not rows(made.database, "SELECT 1 FROM installation"):
            break
        new += [
            r["id"]
            for r in rows(
                made.database, "INSERT INTO tasks (template_id, title) VALUES (1, 'new') RETURNING id"
            )
        ]
        rows(
            made.database,
            f"UPDATE tasks SET status = 'running' WHERE id = {12 * number} AND status = 'pending'",
        )
        rows(
            made.database,
            f"UPDATE tasks SET status = 'pending' WHERE id = {12 * number} AND status = 'running'",
        )
        rows(made.database, f"DELETE FROM tasks WHERE id = {12 * number + 3}")
        assert (await Run(made.world).drain()).claimed == 0
        with pytest.raises(Conflict, match="the installation is not finished"):
            await stops.resume(made.world, "operator")
        with pytest.raises(Refused, match="the installation is not finished"):
            rows(made.database, "DELETE FROM stops")
        made.database.run(installation.part(7))
        made.database.close()
        made.open()

    assert len(new) > 4
    assert rows(made.database, "SELECT * FROM stops") == []
    await Run(made.world).drain()
    done = "SELECT id FROM tasks WHERE last_execution IS NOT NULL ORDER BY id"
    assert [row["id"] for row in rows(made.database, done)] == new
    assert made.network.count() == len(new)
    wrong = f"""SELECT id FROM tasks WHERE title = 'old' AND (identity IS NULL OR organization_id IS NOT 1
      OR (status = 'pending') <> (blocked_by IS 'adopt') OR (status = 'pending') <> (run_at_ms = {NEVER}))"""
    assert rows(made.database, wrong) == []
    assert rows(made.database, "SELECT count(DISTINCT identity) = count(*) AS ok FROM tasks") == [{"ok": 1}]
    made.database.close()


async def test_cron_marks_the_tasks_and_ends_the_stop(place: Path) -> None:
    made = Installed(place, installation.PART + 10)
    app = App(made.world)

    await app.on_tick()

    assert (
        rows(made.database, "SELECT * FROM installation") == rows(made.database, "SELECT * FROM stops") == []
    )
    assert await install.install(made.world) == 0
    made.database.close()


def test_an_empty_database_needs_no_parts(place: Path) -> None:
    made = Installed(place, 0)
    assert (
        rows(made.database, "SELECT * FROM installation") == rows(made.database, "SELECT * FROM stops") == []
    )
    made.database.close()


@pytest.mark.parametrize(
    "count", [20_000, pytest.param(1_000_000, marks=[pytest.mark.heavy, pytest.mark.xdist_group("large")])]
)
def test_each_statement_stays_far_below_the_time_that_d1_allows(place: Path, count: int) -> None:
    database = installed(place, count)

    migrations = steps(database, (Statement(sql) for sql in later_migrations()))
    parts, changes = [], []
    for _ in range(3):
        before = database._connection.total_changes
        parts += steps(database, installation.part())
        changes.append(database._connection.total_changes - before)
    database.close()

    assert max(migrations) <= SCHEMA_STEPS, sorted(migrations)[-15:]
    assert max(parts) <= PART_STEPS, parts
    assert max(changes) <= installation.PART + 10
