"""SQLite as the `Database` of one machine: files, locks, limits that D1 has."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from consumer.local.database import SqliteDatabase
from consumer.ports import MAX_VALUE_BYTES, Statement, Unavailable, Value
from tests.support.database import ITEMS, column, refuses, rows, run, script

if TYPE_CHECKING:
    from pathlib import Path


class TestDatabaseFile:
    def test_a_batch_never_suspends(self, database: SqliteDatabase) -> None:
        with pytest.raises(StopIteration) as end:
            database.batch([Statement("SELECT 1 AS one")]).send(None)

        assert [result.rows for result in end.value.value] == [[{"one": 1}]]

    async def test_written_rows_outlive_the_process(self, tmp_path: Path) -> None:
        first = SqliteDatabase(tmp_path / "a.sqlite3")
        await script(first, ITEMS, "INSERT INTO items(name) VALUES ('a')")
        first.close()
        second = SqliteDatabase(tmp_path / "a.sqlite3")

        assert await column(second, "SELECT name FROM items") == ["a"]
        second.close()

    @pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
    def test_how_a_commit_reaches_the_disk(self, tmp_path: Path, synchronous: Any, level: int) -> None:
        database = SqliteDatabase(tmp_path / "a.sqlite3", synchronous=synchronous)
        database._connection.set_authorizer(None)

        assert database._connection.execute("PRAGMA synchronous").fetchall() == [(level,)]
        assert database._connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        database.close()

    async def test_others_read_while_a_batch_is_written(
        self, database: SqliteDatabase, tmp_path: Path
    ) -> None:
        await script(database, ITEMS)
        database._connection.execute("BEGIN IMMEDIATE")
        database._connection.execute("INSERT INTO items(name) VALUES ('unseen')")
        other = SqliteDatabase(tmp_path / "tasks.sqlite3", busy_timeout_ms=0)

        assert await rows(other, "SELECT * FROM items") == []
        assert len(await script(other, "SELECT 1", "SELECT 2")) == 2
        other.close()

    async def test_a_locked_file_is_unavailable_and_nothing_is_written(
        self, database: SqliteDatabase, tmp_path: Path
    ) -> None:
        await script(database, ITEMS)
        other = sqlite3.connect(tmp_path / "tasks.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(Unavailable, match="locked"):
            await run(database, "INSERT INTO items(name) VALUES ('a')")
        other.execute("ROLLBACK")
        other.close()

        assert await rows(database, "SELECT * FROM items") == []

    async def test_a_full_disk_is_unavailable_and_nothing_is_written(self, database: SqliteDatabase) -> None:
        await script(database, ITEMS)
        database._connection.set_authorizer(None)
        database._connection.execute("PRAGMA max_page_count = 5")

        with pytest.raises(Unavailable, match="full"):
            await run(database, "INSERT INTO items(name) VALUES (?1)", "x" * 100_000)

        assert await rows(database, "SELECT * FROM items") == []

    def test_a_directory_that_is_missing_is_unavailable(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="unable to open"):
            SqliteDatabase(tmp_path / "missing" / "a.sqlite3")

    def test_a_file_that_is_no_database_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("not a database at all, but long enough to be taken for one " * 20)

        with pytest.raises(Unavailable, match="not a database"):
            SqliteDatabase(tmp_path / "text")

    async def test_a_closed_database_is_unavailable(self, database: SqliteDatabase) -> None:
        database.close()
        database.close()

        with pytest.raises(Unavailable):
            await run(database, "SELECT 1")
        with pytest.raises(Unavailable):
            await script(database, "SELECT 1", "SELECT 2")

    async def test_an_interruption_undoes_the_batch(
        self, database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await script(database, ITEMS)
        really_run = database._run

        def interrupted(sql: str, parameters: list[Value]) -> Any:
            if "second" in sql:
                raise KeyboardInterrupt
            return really_run(sql, parameters)

        monkeypatch.setattr(database, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await script(
                database, "INSERT INTO items(name) VALUES ('a')", "INSERT INTO items(name) VALUES ('second')"
            )

        assert await rows(database, "SELECT * FROM items") == []

    async def test_a_whole_number_that_javascript_cannot_hold_exactly_stays_a_float(
        self, database: SqliteDatabase
    ) -> None:
        assert await column(database, "SELECT 9007199254740993.0") == [9007199254740992.0]

    @pytest.mark.parametrize(
        ("sql", "reason"),
        [
            ("SELECT 1; SELECT 2", "one statement at a time"),
            (f"SELECT max({', '.join(map(str, range(33)))})", "too many arguments"),
            ("PRAGMA recursive_triggers = ON", "not authorized"),
            ("SELECT soundex('a')", "not authorized"),
            ("CREATE VIRTUAL TABLE t USING fts4(a)", "not authorized"),
        ],
    )
    async def test_statements_that_d1_may_let_through_are_refused(
        self, database: SqliteDatabase, sql: str, reason: str
    ) -> None:
        assert reason in await refuses(database, sql)

    async def test_a_program_too_large_is_refused(self, database: SqliteDatabase) -> None:
        await script(database, ITEMS)
        terms = "+".join(["n"] * 90)

        await refuses(database, f"SELECT {', '.join([f'max({terms}, {terms})'] * 90)} FROM items")

        assert await column(database, "SELECT 1") == [1]

    async def test_a_row_too_large_is_refused(self, database: SqliteDatabase) -> None:
        half = "x" * (MAX_VALUE_BYTES // 2)
        await script(database, "CREATE TABLE pairs(a, b)")

        assert "too big" in await refuses(database, "INSERT INTO pairs VALUES (?1, ?1)", half)

    async def test_full_text_search(self, database: SqliteDatabase) -> None:
        await script(
            database,
            "CREATE VIRTUAL TABLE notes USING fts5(body)",
            "INSERT INTO notes VALUES ('a quick fox'), ('a lazy dog')",
        )

        assert await column(database, "SELECT body FROM notes WHERE notes MATCH 'quick'") == ["a quick fox"]

    async def test_a_plan_can_be_asked_for(self, database: SqliteDatabase) -> None:
        await script(database, ITEMS)

        assert "items" in str((await rows(database, "EXPLAIN QUERY PLAN SELECT * FROM items"))[0]["detail"])

    async def test_the_steps_of_the_virtual_machine_are_counted(self, database: SqliteDatabase) -> None:
        await script(database, ITEMS)
        await run(
            database, "INSERT INTO items(id) SELECT value FROM json_each(?1)", json.dumps(list(range(500)))
        )
        counts = []
        for sql in (
            "SELECT * FROM items WHERE id = 7",
            "SELECT * FROM items WHERE id = 7",
            "SELECT * FROM items",
        ):
            with database.vm_steps() as steps:
                await run(database, sql)
            counts.append(steps[0])

        assert counts[0] == counts[1] < 20
        assert counts[2] > 500

    async def test_many_different_statements_do_not_pile_up(self, database: SqliteDatabase) -> None:
        for number in range(2_100):
            await run(database, f"SELECT {number}")

        assert len(database._reads) <= 2_000
