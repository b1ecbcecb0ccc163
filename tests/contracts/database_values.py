"""What a `Database` takes and gives back: text, numbers, nulls, rows.  Fixture: `database`, with no tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumer.ports import (
    MAX_INTEGER,
    MAX_VALUE_BYTES,
)

if TYPE_CHECKING:
    from consumer.ports import Database
from tests.support.database import ITEMS, column, refuses, rows, run, script

TEXTS = {
    "empty": "",
    "plain": "text",
    "quotes": 'it\'s a "test" `of` [quotes]',
    "injection": "'); DROP TABLE items; --",
    "pattern": "100%_\\",
    "placeholder": "?1 :a @b $c",
    "lines": "a\nb\r\nc\td",
    "emoji": "🧠👩‍👩‍👧 naïve Ünïcödé 中文 \u202eright to left",
    "byte order mark": "\ufeffa",
    "number": "007",
    "json": '{"a": [1, null]}',
    "long": "x" * 100_000,
}


NUMBERS = [0, 1, -1, 2**31, -(2**31) - 1, MAX_INTEGER, -MAX_INTEGER, 0.5, -0.1, 1e300, -1e-300, 1 / 3]


class ValueContract:
    """Values come back as they were bound."""

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    async def test_text_comes_back_as_it_was(self, database: Database, text: str) -> None:
        await script(database, "CREATE TABLE texts(t TEXT, untyped)")
        await run(database, "INSERT INTO texts VALUES (?1, ?1)", text)

        assert await rows(database, "SELECT t, untyped, ?1 AS bound FROM texts WHERE t = ?1", text) == [
            {"t": text, "untyped": text, "bound": text}
        ]

    async def test_nul_in_text_is_kept_but_sql_stops_counting_there(self, database: Database) -> None:
        """SQLite keeps the whole text; only some of its functions stop at a NUL."""
        await script(database, "CREATE TABLE texts(t TEXT)")
        await run(database, "INSERT INTO texts VALUES (?1)", "a\0b")

        assert await rows(
            database, "SELECT t, length(t) AS n, hex(t) AS h, t = ?1 AS same FROM texts", "a\0b"
        ) == [{"t": "a\0b", "n": 1, "h": "610062", "same": 1}]

    async def test_bytes_of_another_application_come_back_as_a_list(self, database: Database) -> None:
        await script(database, "CREATE TABLE texts(t TEXT)", "INSERT INTO texts VALUES (X'6869'), (X'')")

        assert await rows(database, "SELECT t FROM texts") == [{"t": [104, 105]}, {"t": []}]

    @pytest.mark.parametrize("stored", ["EDA080", "FF", "6AFF6B"])
    async def test_text_that_is_not_utf_8_comes_back_with_replacement_characters(
        self, database: Database, stored: str
    ) -> None:
        """Another application may write such a text.  It must not keep any statement from reading its row."""
        await script(database, "CREATE TABLE texts(t TEXT)")
        await run(database, f"INSERT INTO texts VALUES (CAST(X'{stored}' AS TEXT)), ('plain')")

        broken, plain = await column(database, "SELECT t FROM texts")
        assert "\ufffd" in str(broken)
        assert plain == "plain"

    @pytest.mark.parametrize("number", NUMBERS)
    async def test_numbers_come_back_as_they_were(self, database: Database, number: float) -> None:
        await script(database, "CREATE TABLE numbers(i INTEGER, r REAL, n NUMERIC, untyped)")
        await run(database, "INSERT INTO numbers VALUES (?1, ?1, ?1, ?1)", number)

        found = await rows(database, "SELECT i, r, n, untyped, ?1 AS bound FROM numbers WHERE i = ?1", number)

        assert found == [dict.fromkeys(("i", "r", "n", "untyped", "bound"), number)]
        assert {type(value) for value in found[0].values()} == {type(number)}

    async def test_a_whole_number_is_an_integer_whatever_it_was(self, database: Database) -> None:
        found = await column(
            database, "SELECT ?1 UNION ALL SELECT 2.0 UNION ALL SELECT 1e15 UNION ALL SELECT 3", 1.0
        )

        assert [(value, type(value)) for value in found] == [(1, int), (2, int), (10**15, int), (3, int)]

    async def test_none_is_null(self, database: Database) -> None:
        found = await rows(database, "SELECT ?1 AS value, ?1 IS NULL AS it_is, typeof(?1) AS type", None)

        assert found == [{"value": None, "it_is": 1, "type": "null"}]

    async def test_a_bound_integer_arrives_as_real(self, database: Database) -> None:
        """D1 binds JavaScript numbers, which are doubles: SQL must not assume that a parameter is an integer."""
        found = await rows(
            database,
            "SELECT typeof(?1) AS type, ?1 / 2 AS half, ?1 || '' AS text, json_array(?1) AS json, "
            "CAST(?1 AS INTEGER) / 2 AS cast_half, CAST(?1 AS INTEGER) || '' AS cast_text",
            7,
        )

        assert found == [
            {"type": "real", "half": 3.5, "text": "7.0", "json": "[7.0]", "cast_half": 3, "cast_text": "7"}
        ]

    async def test_a_column_gives_a_bound_integer_its_type(self, database: Database) -> None:
        await script(database, "CREATE TABLE typed(id INTEGER PRIMARY KEY, i INTEGER, t TEXT, untyped)")
        await run(database, "INSERT INTO typed VALUES (?1, ?1, ?1, ?1)", 7)

        assert await rows(
            database, "SELECT typeof(id) AS id, typeof(i) AS i, t, typeof(untyped) AS untyped FROM typed"
        ) == [{"id": "integer", "i": "integer", "t": "7.0", "untyped": "real"}]

    async def test_a_bound_integer_serves_as_key_limit_and_comparison(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(id, n) VALUES (1, 10), (2, 20), (3, 30)")

        assert await column(database, "SELECT id FROM items WHERE id = ?1", 2) == [2]
        assert await column(database, "SELECT id FROM items WHERE n >= ?1 ORDER BY id LIMIT ?2", 20, 1) == [2]
        assert await column(database, "SELECT id FROM items WHERE id IN (?1, ?2) ORDER BY id", 1, 3) == [1, 3]
        assert await column(database, "UPDATE items SET n = n + ?1 WHERE id = 1 RETURNING n", 5) == [15]

    async def test_infinity_comes_back_as_none(self, database: Database) -> None:
        """JSON has no value for infinity."""
        assert await column(database, "SELECT 9e999 UNION ALL SELECT -9e999") == [None, None]

    @pytest.mark.parametrize(
        "value",
        [
            True,
            False,
            b"bytes",
            bytearray(b"bytes"),
            MAX_INTEGER + 1,
            -MAX_INTEGER - 1,
            2**63,
            2**200,
            float("nan"),
            float("inf"),
            float("-inf"),
            (1,),
            [1],
            {"a": 1},
            1j,
            object(),
            "\ud800",
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_a_value_of_another_type_is_refused(self, database: Database, value: Any) -> None:
        await script(database, "CREATE TABLE anything(v)")

        await refuses(database, "INSERT INTO anything VALUES (?1)", value)

        assert await rows(database, "SELECT * FROM anything") == []

    async def test_a_large_value_is_stored(self, database: Database) -> None:
        text = "x" * (MAX_VALUE_BYTES - 1_000)
        await script(database, "CREATE TABLE texts(t TEXT)")
        await run(database, "INSERT INTO texts VALUES (?1)", text)

        assert await rows(database, "SELECT t FROM texts") == [{"t": text}]

    @pytest.mark.parametrize(
        "text", ["x" * (MAX_VALUE_BYTES + 1), "é" * (MAX_VALUE_BYTES // 2 + 1)], ids=["x", "é"]
    )
    async def test_a_value_too_large_is_refused(self, database: Database, text: str) -> None:
        await script(database, "CREATE TABLE texts(t TEXT)")

        await refuses(database, "INSERT INTO texts VALUES (?1)", text)

        assert await rows(database, "SELECT * FROM texts") == []

    async def test_rows_are_mappings_in_the_order_of_the_columns(self, database: Database) -> None:
        result = await run(database, "SELECT 1 AS z, 'two' AS a, NULL AS \"m n\"")

        (row,) = result.rows
        assert [*row.items()] == [("z", 1), ("a", "two"), ("m n", None)]
        assert row["a"] == "two"
        assert row.get("missing") is None

    async def test_a_statement_without_rows_has_none(self, database: Database) -> None:
        assert list((await run(database, ITEMS)).rows) == []
        assert list((await run(database, "INSERT INTO items(id) VALUES (1)")).rows) == []
        assert list((await run(database, "SELECT * FROM items WHERE id = 2")).rows) == []

    async def test_changes_are_counted_with_those_of_triggers(self, database: Database) -> None:
        await script(
            database,
            ITEMS,
            "CREATE TABLE log(n)",
            "CREATE TRIGGER logged AFTER UPDATE ON items BEGIN INSERT INTO log VALUES (new.n); END",
        )
        changes = [
            (await run(database, sql)).changes
            for sql in (
                "INSERT INTO items(id) VALUES (1), (2), (3)",
                "INSERT INTO items(id) VALUES (3) ON CONFLICT DO NOTHING",
                "UPDATE items SET n = 1 WHERE id < 3",
                "UPDATE items SET n = 1 WHERE id = 3 RETURNING id",
                "UPDATE items SET n = 1 WHERE id = 99",
                "SELECT * FROM items",
                "DELETE FROM items",
            )
        ]

        assert changes == [3, 0, 4, 2, 0, 0, 3]
