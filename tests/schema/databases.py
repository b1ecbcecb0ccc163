"""Databases for the tests of the schema: SQLite on this machine, and the D1 that workerd has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest

import tests.contracts  # noqa: F401  # pytest must import it before the modules that it registers for rewriting
from consumer.local.database import SqliteDatabase
from consumer.local.migrate import split
from consumer.ports import Refused, Statement, Value
from consumer.store.sql import execution_id
from tests.workerd import pytest_inside
from tests.workerd.archives import HERE, ROOT, below, packages
from tests.workerd.configuration import Configuration
from tests.workerd.harness import Workerd, WorkerdError
from tests.workerd.toolchain import MissingToolError, Toolchain

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workerd.tables import Tables

MIGRATIONS: Final = ROOT / "migrations"
Rows = list[dict[str, Any]]

OURS: Final = """
    SELECT type, name FROM sqlite_master WHERE type IN ('table', 'trigger')
      AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*' ORDER BY type DESC
"""

SEED: Final = """
    INSERT INTO organizations (id, name) VALUES (1, 'one'), (2, 'two');
    INSERT INTO users (id, organization_id, email) VALUES (1, 1, 'a@b.c'), (2, 2, 'd@e.f'), (3, NULL, 'g@h.i');
    INSERT INTO task_templates (id, organization_id, name, route)
    VALUES (1, 1, 'ready', '{}'), (2, NULL, 'without an organization', '{}'), (3, 1, 'without a route', NULL);
"""


class Sql:
    """A database, statement by statement; each `send` is one transaction."""

    def __init__(self, batch: Callable[[Sequence[Statement]], list[Rows]]) -> None:
        self._batch = batch

    def send(self, *statements: Statement) -> list[Rows]:
        """The rows of each statement.  Raises `Refused`."""
        return self._batch(statements)

    def run(self, sql: str, *parameters: Value) -> Rows:
        return self.send(Statement(sql, parameters))[0]

    def value(self, sql: str, *parameters: Value) -> Any:
        """The only value of the only row."""
        ((value,),) = (row.values() for row in self.run(sql, *parameters))
        return value

    def refused(self, sql: str, *parameters: Value) -> str:
        """Assert that a statement is refused; return the message."""
        with pytest.raises(Refused) as refusal:
            self.run(sql, *parameters)
        return str(refusal.value)

    def migrate(self, directory: Path = MIGRATIONS) -> None:
        for path in sorted(directory.glob("*.sql")):
            self.send(*(Statement(one) for one in split(path.read_text())))

    # --- rows, as the worker and as another application would write them ------------------------------

    def insert(self, table: str, **columns: Value) -> int:
        """Insert a row with these columns and no others; return its id."""
        slots = ", ".join(f"?{number + 1}" for number in range(len(columns)))
        return int(
            self.value(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({slots}) RETURNING id", *columns.values()
            )
        )

    def task(self, number: int) -> dict[str, Any]:
        return self.run("SELECT * FROM tasks WHERE id = ?1", number)[0]

    def new_task(self, **columns: Value) -> int:
        """Insert a task with every column that the worker needs; return its id."""
        return self.insert("tasks", **{"template_id": 1, "organization_id": 1, "title": "t", **columns})

    def execution(self, number: int) -> dict[str, Any]:
        return self.run("SELECT * FROM task_executions WHERE id = ?1", number)[0]

    def new_execution(self, task: int, number: int = 1, **columns: Value) -> int:
        """Insert an execution of the worker; return its id."""
        fixed: dict[str, Value] = {"id": execution_id(task, number), "task_id": task, "execution_type": "ai"}
        return self.insert("task_executions", **{**fixed, "profile": "p", **columns})


def on_sqlite(database: SqliteDatabase) -> Sql:
    return Sql(lambda statements: [[dict(row) for row in one.rows] for one in database.run(statements)])


def on_d1(tables: Tables) -> Sql:
    def batch(statements: Sequence[Statement]) -> list[Rows]:
        try:
            answers = tables.batch([(one.sql, one.parameters) for one in statements])
        except WorkerdError as error:
            raise Refused(error.message) from error
        return [answer["results"] for answer in answers]

    return Sql(batch)


# Fixtures: a test module takes them by assignment (`sql = databases.sql`).

D1 = pytest.param("d1", marks=[pytest.mark.workerd, pytest.mark.xdist_group("workerd")])


@cache
def d1_tables() -> Tables:
    """One D1 for all tests of the schema; it ends with this process.

    Without Node: skipped on a laptop, failed in CI."""
    try:
        toolchain = Toolchain.find()
    except MissingToolError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run workerd: {error}", pytrace=False)
        pytest.skip(str(error))
    configuration = Configuration.read(ROOT / "wrangler.toml")
    site = packages(pytest_inside.WORKER_LOCK)
    return Workerd(below(HERE / "sample"), site, configuration, toolchain=toolchain).start().database("DB")


@pytest.fixture(params=["sqlite", D1])
def empty(request: pytest.FixtureRequest) -> Iterator[Sql]:
    """A database without tables, on each of the two engines."""
    if request.param == "sqlite":
        database = SqliteDatabase(":memory:")
        yield on_sqlite(database)
        database.close()
        return
    sql = on_d1(d1_tables())
    drops = [f'DROP {row["type"]} IF EXISTS "{row["name"]}"' for row in sql.run(OURS)]
    sql.send(*(Statement(text) for text in ["PRAGMA defer_foreign_keys = on", *drops]))
    yield sql


@pytest.fixture
def sql(empty: Sql) -> Sql:
    """A migrated database: two organizations with a user each, a user without one, templates of all kinds."""
    empty.migrate()
    empty.send(*(Statement(one) for one in split(SEED)))
    return empty
