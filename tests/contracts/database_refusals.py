"""What a `Database` must refuse, and the limits that it must keep.  Fixture: `database`, with no tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumer.ports import (
    MAX_PARAMETERS,
    MAX_SQL_BYTES,
    Value,
)

if TYPE_CHECKING:
    from consumer.ports import Database
from tests.support.database import FAMILY, ITEMS, column, refuses, run, script


class RefusalContract:
    """A wrong statement is refused with a reason, and the next batch works."""

    @pytest.mark.parametrize(
        ("sql", "reason"),
        [
            ("SELEC 1", "syntax error"),
            ("SELECT * FROM missing", "missing"),
            ("SELECT wrong FROM items", "wrong"),
            ("INSERT INTO items(name) VALUES ('taken')", "UNIQUE constraint failed: items.name"),
            ("INSERT INTO items(n) VALUES (NULL)", "NOT NULL constraint failed: items.n"),
            ("INSERT INTO checked VALUES (-1)", "CHECK constraint failed"),
            ("INSERT INTO children VALUES (1, 99)", "FOREIGN KEY constraint failed"),
            ("INSERT INTO items(id) VALUES ('x')", "datatype mismatch"),
            ("INSERT INTO strict_items VALUES ('x')", "cannot store TEXT value in INTEGER column"),
            ("CREATE TABLE items(a)", "already exists"),
            ("SELECT no_such_function(1)", "no_such_function"),
            ("SELECT json('{')", "malformed JSON"),
            ("INSERT INTO guarded VALUES (1)", "the guard says no"),
        ],
    )
    async def test_a_refusal_names_its_reason(self, database: Database, sql: str, reason: str) -> None:
        await script(
            database,
            ITEMS,
            "INSERT INTO items(name) VALUES ('taken')",
            "CREATE TABLE checked(a CHECK (a > 0))",
            *FAMILY,
            "CREATE TABLE strict_items(a INTEGER) STRICT",
            "CREATE TABLE guarded(a)",
            "CREATE TRIGGER guard BEFORE INSERT ON guarded BEGIN SELECT RAISE(ABORT, 'the guard says no'); END",
        )

        assert reason in await refuses(database, sql)
        assert await column(database, "SELECT name FROM items") == ["taken"]

    @pytest.mark.parametrize(
        "sql",
        [
            "BEGIN",
            "BEGIN IMMEDIATE",
            "/* a */ -- b\n begin",
            "COMMIT",
            "END",
            "ROLLBACK",
            "SAVEPOINT a",
            "RELEASE a",
            "ATTACH ':memory:' AS other",
            "DETACH main",
            "VACUUM",
            "VACUUM INTO 'file'",
            "PRAGMA journal_mode",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA synchronous = OFF",
            "PRAGMA user_version",
            "PRAGMA writable_schema = ON",
            "CREATE TEMP TABLE items(a)",
            "CREATE TABLE _cf_own(a)",
            "SELECT sqlite_version()",
            "SELECT load_extension('x')",
            "UPDATE sqlite_master SET sql = ''",
        ],
    )
    async def test_statements_that_d1_does_not_allow_are_refused(self, database: Database, sql: str) -> None:
        await refuses(database, sql)

        assert await column(database, "SELECT 1") == [1]

    @pytest.mark.parametrize("sql", ["", "  \n", "-- only a comment"])
    async def test_a_statement_without_sql_is_refused(self, database: Database, sql: str) -> None:
        await refuses(database, sql)

    @pytest.mark.parametrize(
        ("sql", "parameters"),
        [
            ("SELECT ?1", ()),
            ("SELECT ?1, ?2", (1,)),
            ("SELECT ?2", (1,)),
            ("SELECT 1", (1,)),
            ("SELECT ?1", (1, 2)),
        ],
    )
    async def test_every_parameter_is_bound_once(
        self, database: Database, sql: str, parameters: tuple[Value, ...]
    ) -> None:
        await refuses(database, sql, *parameters)

    async def test_the_number_of_parameters_is_limited(self, database: Database) -> None:
        sql = "SELECT " + " + ".join(f"?{number}" for number in range(1, MAX_PARAMETERS + 1))

        assert await column(database, sql, *range(MAX_PARAMETERS)) == [sum(range(MAX_PARAMETERS))]
        await refuses(database, f"SELECT ?{MAX_PARAMETERS + 1}", *range(MAX_PARAMETERS + 1))

    @pytest.mark.parametrize("filling", ["x", "é"])
    async def test_the_length_of_a_statement_is_limited_in_bytes(
        self, database: Database, filling: str
    ) -> None:
        size = len(filling.encode())
        fits = f"SELECT 1 -- {filling * ((MAX_SQL_BYTES - 12) // size)}"

        assert await column(database, fits) == [1]
        await refuses(database, fits + filling)

    async def test_the_length_of_a_pattern_is_limited_in_bytes(self, database: Database) -> None:
        assert await column(database, "SELECT ?1 LIKE ?1", "x" * 50) == [1]
        await refuses(database, "SELECT ?1 LIKE ?1", "x" * 51)
        await refuses(database, "SELECT ?1 GLOB ?1", "é" * 26)

    async def test_the_terms_of_a_compound_select_are_limited(self, database: Database) -> None:
        assert await column(database, " UNION ALL ".join(["SELECT 1"] * 5)) == [1] * 5
        await refuses(database, " UNION ALL ".join(["SELECT 1"] * 6))

    async def test_the_number_of_rows_in_values_is_not_limited(self, database: Database) -> None:
        await script(database, ITEMS)

        many = ", ".join(["(1)"] * 300)

        assert (await run(database, f"INSERT INTO items(n) VALUES {many}")).changes == 300

    async def test_the_columns_are_limited(self, database: Database) -> None:
        await refuses(database, "SELECT " + ", ".join(["1"] * 101))
        await refuses(database, f"CREATE TABLE wide({', '.join(f'c{number}' for number in range(101))})")

    async def test_the_depth_of_an_expression_is_limited(self, database: Database) -> None:
        assert await column(database, "SELECT " + "+".join(["1"] * 100)) == [100]
        await refuses(database, "SELECT " + "+".join(["1"] * 102))

    async def test_a_function_may_have_32_arguments(self, database: Database) -> None:
        assert await column(database, f"SELECT max({', '.join(map(str, range(32)))})") == [31]

    async def test_the_depth_of_triggers_is_limited(self, database: Database) -> None:
        for level in range(13):
            await script(database, f"CREATE TABLE t{level}(a)")
        for level in range(12):
            await script(
                database,
                f"CREATE TRIGGER next{level} AFTER INSERT ON t{level} BEGIN "
                f"INSERT INTO t{level + 1} VALUES (new.a); END",
            )

        await run(database, "INSERT INTO t4 VALUES (1)")
        await refuses(database, "INSERT INTO t0 VALUES (2)")

        assert await column(database, "SELECT a FROM t12") == [1]
        assert await column(database, "SELECT a FROM t0") == []
