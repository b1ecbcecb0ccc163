"""The migrations end in one schema from every initial database, and leave existing rows unchanged."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.local.blobs import FileBlobs
from consumer.local.clock import SystemEntropy
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply, pending, split
from consumer.ports import Refused, Statement
from consumer.run.run import Run
from consumer.service import commands
from consumer.store import installation
from consumer.store.schema.check import broken
from consumer.store.schema.expected import COLUMNS, MIGRATIONS, OBJECTS
from consumer.store.schema.fingerprint import GENERATED
from scripts import bundle, expected_schema
from scripts.uv import BIN
from tests.schema.databases import MIGRATIONS as DIRECTORY
from tests.support.fakes import SCHEMA, Network
from tests.support.ports import FakeClock
from tests.support.scene import ai, make_world, route

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DATA: Final = Path(__file__).parent
PUBLIC: Final = ("organizations", "users", "task_templates", "tasks", "task_executions")
NEVER: Final = 2**53 - 2
SPELLINGS: Final = ("nothing", "plain", "drizzle")


def existing(file: Path, spelling: str) -> Path:
    """A database as it was before the worker was installed."""
    with closing(sqlite3.connect(file)) as database:
        for script in () if spelling == "nothing" else (f"existing_{spelling}.sql", "existing_rows.sql"):
            database.executescript((DATA / script).read_text())
    return file


def install(file: Path) -> list[str]:
    """Apply the migrations, and mark old tasks as cron does."""
    applied = apply(file, DIRECTORY)
    mark(file)
    return applied


def mark(file: Path) -> None:
    with closing(SqliteDatabase(file)) as database:
        while database.run([installation.LEFT()])[0].rows:
            database.run(installation.part())


def contents(file: Path, columns: dict[str, list[str]] | None = None) -> dict[str, list[Any]]:
    """All rows of the public tables, in these columns."""
    with closing(sqlite3.connect(file)) as database:
        return {
            table: database.execute(
                f"SELECT {', '.join((columns or public_columns(file))[table])} FROM {table} ORDER BY id"
            ).fetchall()
            for table in PUBLIC
        }


def public_columns(file: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(file)) as database:
        query = "SELECT name FROM pragma_table_xinfo(?) WHERE name <> 'identity' ORDER BY cid"  # it is random
        return {table: [name for (name,) in database.execute(query, (table,))] for table in PUBLIC}


def schema(file: Path) -> dict[str, Any]:
    """The worker's whole schema: objects by their text, columns by SQLite's description of them."""
    columns = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) ORDER BY name'
    with closing(sqlite3.connect(file)) as database:
        made = dict(database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        tables = {table: database.execute(columns, (table,)).fetchall() for table in COLUMNS}
    first = set(public_tables())
    ours = {table: {name.removesuffix(GENERATED) for name in text.split()} for table, text in COLUMNS.items()}
    return {
        "objects": {name: " ".join(made[name].split()) for name in OBJECTS},
        "columns": {
            table: [row for row in found if row[0] in ours[table] and (table, row[0]) not in first]
            for table, found in tables.items()
        },
        "names": {table: {row[0] for row in found} for table, found in tables.items()},
    }


def public_tables() -> Iterator[tuple[str, str]]:
    """The columns of the first migration, which an existing database may spell in another way."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript((DIRECTORY / "0001_public_tables.sql").read_text())
        for table in PUBLIC:
            yield from (
                (table, name)
                for (name,) in database.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))
            )


@pytest.fixture(params=SPELLINGS)
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return existing(tmp_path / f"{request.param}.sqlite3", request.param)


# --- one schema ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS[1:])
def test_every_initial_database_ends_in_the_same_schema(tmp_path: Path, spelling: str) -> None:
    fresh, old = tmp_path / "fresh.sqlite3", existing(tmp_path / "old.sqlite3", spelling)
    assert apply(fresh, DIRECTORY) == apply(old, DIRECTORY) == list(MIGRATIONS)

    wanted, found = schema(fresh), schema(old)
    assert found["objects"] == wanted["objects"]
    assert found["columns"] == wanted["columns"]
    assert all(names >= wanted["names"][table] for table, names in found["names"].items())


async def test_the_result_is_what_the_worker_expects(before: Path) -> None:
    apply(before, DIRECTORY)
    database = SqliteDatabase(before)
    assert await broken(database, SystemEntropy()) == []
    assert [row["integrity_check"] for row in _sqlite(before, "PRAGMA integrity_check")] == ["ok"]
    assert _sqlite(before, "PRAGMA foreign_key_check") == []
    database.close()


def test_what_the_worker_expects_is_generated_from_the_migrations() -> None:
    assert (ROOT / "consumer" / "store" / "schema" / "expected.py").read_text() == expected_schema.module()


# --- existing rows ------------------------------------------------------------------------------------------


def test_existing_rows_only_get_the_new_columns(before: Path) -> None:
    columns = public_columns(before) if "nothing" not in before.name else None
    rows = contents(before, columns) if columns else {}
    install(before)
    assert not columns or contents(before, columns) == rows
    assert [len(rows.get(table, [])) for table in ("tasks", "task_executions")] in ([1_000, 600], [0, 0])


@pytest.mark.parametrize("spelling", SPELLINGS[1:])
def test_old_tasks_know_their_organization_and_wait(tmp_path: Path, spelling: str) -> None:
    file = existing(tmp_path / "old.sqlite3", spelling)
    install(file)
    wrong = _sqlite(
        file,
        """SELECT id FROM tasks WHERE organization_id IS NOT COALESCE(
            (SELECT organization_id FROM task_templates t WHERE t.id = tasks.template_id),
            (SELECT organization_id FROM users u WHERE u.id = tasks.created_by))
          OR (blocked_by IS 'adopt') = (status IN ('completed', 'failed', 'cancelled'))
          OR (run_at_ms = 9007199254740990) <> (blocked_by IS 'adopt') OR version <> 0 OR lease IS NOT NULL""",
    )
    assert wrong == []
    assert _sqlite(file, "SELECT count(*) AS n FROM tasks WHERE organization_id IS NULL")[0]["n"] > 0


def test_a_status_is_never_null_although_the_column_allowed_it(tmp_path: Path) -> None:
    file = existing(tmp_path / "old.sqlite3", "plain")
    install(file)
    with closing(sqlite3.connect(file)) as database:
        for statement in (
            "INSERT INTO tasks (title, status) VALUES ('t', NULL)",
            "UPDATE tasks SET status = NULL WHERE id = 6",
            "INSERT INTO task_executions (task_id, execution_type, status) VALUES (6, 'ai', NULL)",
            "UPDATE task_executions SET status = NULL WHERE id = 6",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="status must be "):
                database.execute(statement)


@pytest.mark.parametrize("spelling", SPELLINGS[1:])
async def test_old_tasks_are_executed_only_after_they_are_adopted(tmp_path: Path, spelling: str) -> None:
    file = existing(tmp_path / "old.sqlite3", spelling)
    install(file)
    database, network = SqliteDatabase(file), Network()
    kv = SqliteKeyValue(tmp_path / "kv.sqlite3", FakeClock())
    world = make_world(database, kv, FileBlobs(tmp_path / "blobs"), network)
    # Template 1 gets a route; template 2 has none; template 8 has no organization.
    database.run(
        [
            Statement(
                "UPDATE task_templates SET route = ?1, output_schema = ?2 WHERE id IN (1, 8)",
                (json.dumps(route(ai("blind"))), json.dumps(SCHEMA)),
            ),
            # Neither an edit by another application nor a second change adopts a task.
            Statement("UPDATE tasks SET status = 'pending' WHERE status IN ('running', 'waiting')"),
        ]
    )
    waiting = _sqlite(file, "SELECT count(*) AS n FROM tasks WHERE status = 'pending'")[0]["n"]

    assert (await Run(world).drain()).claimed == 0
    adopted = await commands.adopt(world, None)

    mine = """SELECT id, status, blocked_by, organization_id, template_id, organization_id IS NOT NULL AND EXISTS (
          SELECT 1 FROM task_templates t WHERE t.id = tasks.template_id AND route IS NOT NULL) AS ready
        FROM tasks WHERE status = 'pending' ORDER BY id"""
    rows = _sqlite(file, mine)
    due = [row["id"] for row in rows if row["ready"]]
    assert adopted == commands.Adopted(len(due), len(rows) - len(due), more=False)
    assert len(rows) == waiting
    for row in rows:
        lacks = (
            "no_organization" if row["organization_id"] is None else f"no_route:{row['template_id'] or ''}"
        )
        assert row["blocked_by"] == (None if row["ready"] else lacks)
    await Run(world).drain()
    done = f"SELECT id FROM tasks WHERE last_execution >= {2**40} AND status = 'completed' ORDER BY id"
    assert [row["id"] for row in _sqlite(file, done)] == due
    assert network.count() == len(due) > 0
    database.close()
    kv.close()
    await network.client.aclose()


def _sqlite(file: Path, sql: str) -> list[dict[str, Any]]:
    """Straight from the file."""
    with closing(sqlite3.connect(file)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(sql)]


# --- applying -----------------------------------------------------------------------------------------------


def test_applying_migrations_twice_changes_nothing(before: Path) -> None:
    apply(before, DIRECTORY)
    (dump,) = _dumps(before)
    assert apply(before, DIRECTORY) == []
    assert _dumps(before) == [dump]
    assert [row["name"] for row in _sqlite(before, "SELECT name FROM d1_migrations ORDER BY id")] == [
        *MIGRATIONS
    ]


def _dumps(*files: Path) -> list[list[str]]:
    found = []
    for file in files:
        with closing(sqlite3.connect(file)) as database:
            found.append(list(database.iterdump()))
    return found


def test_a_failing_migration_is_rolled_back_alone(before: Path, tmp_path: Path) -> None:
    """Earlier migrations stay, later ones wait, and the failed one can be repaired."""
    directory = tmp_path / "migrations"
    shutil.copytree(DIRECTORY, directory)
    bad = directory / "0098_bad.sql"
    bad.write_text(
        "CREATE TABLE half (a); INSERT INTO tasks (title) VALUES ('x'); INSERT INTO nowhere VALUES (1);"
    )
    (directory / "0099_later.sql").write_text("CREATE TABLE later (a);")

    with pytest.raises(Refused, match=r"0098_bad\.sql: no such table: nowhere"):
        apply(before, directory)

    assert _sqlite(before, "SELECT name FROM sqlite_master WHERE name IN ('half', 'later')") == []
    assert _sqlite(before, "SELECT id FROM tasks WHERE title = 'x'") == []
    database = SqliteDatabase(before)
    assert pending(database, directory) == ["0098_bad.sql", "0099_later.sql"]
    bad.write_text("CREATE TABLE half (a);")
    assert apply(database, directory) == ["0098_bad.sql", "0099_later.sql"]
    database.close()


def test_every_migration_is_one_transaction_of_statements_that_d1_takes() -> None:
    """D1 takes 100 KB a statement; wrangler sends each file as one batch."""
    for path in sorted(DIRECTORY.glob("*.sql")):
        statements = split(path.read_text())
        assert statements
        assert max(len(one.encode()) for one in statements) < 100_000
        assert "PRAGMA" not in path.read_text().upper()


# --- wrangler -----------------------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_wrangler_applies_the_same_files_with_the_same_result(tmp_path: Path, spelling: str) -> None:
    """Each tool continues where the other stopped: both note applied migrations in the same table."""
    if not bundle.WRANGLER.exists():
        if os.environ.get("CI"):
            pytest.fail("CI must run wrangler", pytrace=False)
        pytest.skip("wrangler is not installed: run `make setup`")
    (tmp_path / "wrangler.toml").write_text(
        f"""name = "test"
        compatibility_date = "2026-10-01"
        [[d1_databases]]
        binding = "DB"
        database_name = "bizq"
        database_id = "bizq"
        migrations_dir = "{DIRECTORY.as_posix()}"
        """
    )
    if spelling != "nothing":
        for script in (f"existing_{spelling}.sql", "existing_rows.sql"):
            wrangler(tmp_path, "execute", "bizq", "--yes", "--file", str(DATA / script))
    wrangler(tmp_path, "migrations", "apply", "bizq")

    (file,) = (path for path in tmp_path.rglob("*D1DatabaseObject/*.sqlite") if path.stem != "metadata")
    local = existing(tmp_path / "local.sqlite3", spelling)
    install(local)
    assert schema(file) == schema(local)
    mark(file)
    assert contents(file, public_columns(local)) == contents(local)
    database = SqliteDatabase(file)
    assert pending(database, DIRECTORY) == []
    database.close()
    assert "No migrations to apply" in wrangler(tmp_path, "migrations", "apply", "bizq")


def wrangler(directory: Path, *arguments: str) -> str:
    """Run `wrangler d1`; return its output."""
    command = [str(BIN / "node"), str(bundle.WRANGLER), "d1", *arguments, "--local"]
    command += ["--config", str(directory / "wrangler.toml"), "--persist-to", str(directory / "state")]
    quiet = {"CI": "1", "NO_COLOR": "1", "WRANGLER_WRITE_LOGS": "false", "WRANGLER_SEND_METRICS": "false"}
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | quiet | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
