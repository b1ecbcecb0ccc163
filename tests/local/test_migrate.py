"""Migrations are applied in order, once, and as wrangler does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from consumer.local.database import SqliteDatabase
from consumer.local.migrate import apply, pending, split
from consumer.ports import Refused
from tests.support.database import ITEMS, column, refuses, rows, script

if TYPE_CHECKING:
    from pathlib import Path


class TestMigrations:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        made = tmp_path / "migrations"
        made.mkdir()
        (made / "0001_items.sql").write_text(
            f"-- the first; of many\n{ITEMS};\n\nINSERT INTO items(id) VALUES (1);"
        )
        (made / "0002_trigger.sql").write_text(
            "CREATE TABLE log(n);\r\n"
            "CREATE TRIGGER t AFTER UPDATE ON items BEGIN\r\n"
            "  INSERT INTO log VALUES (CASE WHEN new.n > 1 THEN 'a;b' ELSE new.n END); -- ; END;\r\n"
            "  DELETE FROM log WHERE n = ';';\r\n"
            "end;\r\n"
            "UPDATE items SET n = 5; -- the end"
        )
        (made / "notes.txt").write_text("no migration")
        (made / ".hidden.sql").write_text("no migration")
        return made

    def test_they_are_applied_in_order_and_once(self, database: SqliteDatabase, directory: Path) -> None:
        (directory / "10_last.sql").write_text("DROP TABLE log;")
        names = ["0001_items.sql", "0002_trigger.sql", "10_last.sql"]

        assert pending(database, directory) == names
        assert apply(database, directory) == names
        assert apply(database, directory) == []
        assert pending(database, directory) == []

    def test_migrations_can_be_applied_to_a_path(self, tmp_path: Path, directory: Path) -> None:
        assert len(apply(tmp_path / "new.sqlite3", str(directory))) == 2
        assert apply(str(tmp_path / "new.sqlite3"), directory) == []

    async def test_triggers_are_not_split(self, database: SqliteDatabase, directory: Path) -> None:
        apply(database, directory)

        assert await column(database, "SELECT n FROM log") == ["a;b"]

    async def test_applied_migrations_are_noted_as_wrangler_notes_them(
        self, database: SqliteDatabase, directory: Path
    ) -> None:
        apply(database, directory)

        assert [
            dict(row) for row in await rows(database, "SELECT id, name FROM d1_migrations ORDER BY id")
        ] == [
            {"id": 1, "name": "0001_items.sql"},
            {"id": 2, "name": "0002_trigger.sql"},
        ]
        assert await rows(
            database, "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('d1_migrations')"
        ) == [
            {"name": "id", "type": "INTEGER", "notnull": 0, "dflt_value": None, "pk": 1},
            {"name": "name", "type": "TEXT", "notnull": 0, "dflt_value": None, "pk": 0},
            {
                "name": "applied_at",
                "type": "TIMESTAMP",
                "notnull": 1,
                "dflt_value": "CURRENT_TIMESTAMP",
                "pk": 0,
            },
        ]
        (applied,) = await column(database, "SELECT applied_at FROM d1_migrations WHERE id = 1")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", str(applied))

    async def test_a_noted_migration_is_not_applied_again(
        self, database: SqliteDatabase, directory: Path
    ) -> None:
        await script(
            database,
            'CREATE TABLE "d1_migrations"(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, '
            "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)",
            "INSERT INTO d1_migrations(name) VALUES ('0001_items.sql')",
            ITEMS,
            "INSERT INTO items(id) VALUES (1)",
        )

        assert apply(database, directory) == ["0002_trigger.sql"]

    @pytest.mark.parametrize(
        "failing",
        [
            "INSERT INTO items(id) VALUES (1)",
            "not SQL",
            "COMMIT",
            "PRAGMA journal_mode = DELETE",
            "CREATE TABLE x(",
            "CREATE TABLE unended(a) --",
        ],
    )
    async def test_one_that_fails_is_undone_and_those_before_it_stay(
        self, database: SqliteDatabase, directory: Path, failing: str
    ) -> None:
        (directory / "0003_fails.sql").write_text(f"CREATE TABLE lost(a); {failing};")
        (directory / "0004_never.sql").write_text("CREATE TABLE never(a);")

        with pytest.raises(Refused, match=r"0003_fails\.sql: "):
            apply(database, directory)

        assert pending(database, directory) == ["0003_fails.sql", "0004_never.sql"]
        await refuses(database, "SELECT * FROM lost")
        assert await column(database, "SELECT id FROM items") == [1]

    def test_two_processes_may_migrate_at_once(
        self, database: SqliteDatabase, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "consumer.local.migrate.pending", lambda *_: ["0001_items.sql", "0002_trigger.sql"]
        )
        other = SqliteDatabase(tmp_path / "tasks.sqlite3")
        apply(other, directory)
        other.close()

        assert apply(database, directory) == []

    def test_an_empty_migration_is_noted(self, database: SqliteDatabase, tmp_path: Path) -> None:
        (tmp_path / "0001_nothing.sql").write_text("-- nothing yet\n")

        assert apply(database, tmp_path) == ["0001_nothing.sql"]
        assert apply(database, tmp_path) == []

    def test_names_without_a_number_come_last(self, database: SqliteDatabase, tmp_path: Path) -> None:
        for name in ("b.sql", "a.sql", "2_b.sql", "2_a.sql", "10_a.sql", "001_z.sql"):
            (tmp_path / name).write_text("")

        assert pending(database, tmp_path) == [
            "001_z.sql",
            "2_a.sql",
            "2_b.sql",
            "10_a.sql",
            "a.sql",
            "b.sql",
        ]

    @pytest.mark.parametrize(
        ("text", "statements"),
        [
            ("", []),
            (" ; ;\n-- a\n;/* b; */", []),
            ("SELECT 1", ["SELECT 1"]),
            ("SELECT ';'; SELECT \";\";", ["SELECT ';'", 'SELECT ";"']),
            ("-- a;\nSELECT 1; -- b;\nSELECT 2", ["-- a;\nSELECT 1", "-- b;\nSELECT 2"]),
            ("SELECT 'it''s'; SELECT [a;b];", ["SELECT 'it''s'", "SELECT [a;b]"]),
            (
                "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END; SELECT 3",
                ["CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END", "SELECT 3"],
            ),
        ],
    )
    def test_scripts_are_split_into_statements(self, text: str, statements: list[str]) -> None:
        assert split(text) == statements
