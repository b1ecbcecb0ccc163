"""What every `Database` must do, so that SQL which is right on one host is right on all.

Fixture: `database`, with no tables.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from consumer.ports import (
    MAX_INTEGER,
    MAX_PARAMETERS,
    MAX_SQL_BYTES,
    MAX_VALUE_BYTES,
    PortError,
    Refused,
    Result,
    Row,
    Statement,
    Value,
)

if TYPE_CHECKING:
    from consumer.ports import Database

ITEMS = "CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER NOT NULL DEFAULT 0)"

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


async def run(database: Database, sql: str, *parameters: Value) -> Result:
    """One statement's result."""
    return (await database.batch([Statement(sql, parameters)]))[0]


async def rows(database: Database, sql: str, *parameters: Value) -> list[Row]:
    """One statement's rows, as plain dictionaries."""
    return [dict(row) for row in (await run(database, sql, *parameters)).rows]


async def column(database: Database, sql: str, *parameters: Value) -> list[Value]:
    """The first column of one statement's rows."""
    return [next(iter(row.values())) for row in await rows(database, sql, *parameters)]


async def refuses(database: Database, sql: str, *parameters: Any) -> str:
    """The message of the refusal."""
    with pytest.raises(Refused) as refusal:
        await run(database, sql, *parameters)
    assert str(refusal.value)
    return str(refusal.value)


async def script(database: Database, *statements: str) -> list[Result]:
    """Statements without parameters, as one batch."""
    return await database.batch([Statement(sql) for sql in statements])


class ValueContract:
    """What goes in, and what comes out."""

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    async def test_text_comes_back_as_it_was(self, database: Database, text: str) -> None:
        await script(database, "CREATE TABLE texts(t TEXT, untyped)")
        await run(database, "INSERT INTO texts VALUES (?1, ?1)", text)

        assert await rows(database, "SELECT t, untyped, ?1 AS bound FROM texts WHERE t = ?1", text) == [
            {"t": text, "untyped": text, "bound": text}
        ]

    async def test_nul_in_text_is_kept_but_sql_stops_counting_there(self, database: Database) -> None:
        """SQLite keeps the whole; only some of its functions end at a NUL."""
        await script(database, "CREATE TABLE texts(t TEXT)")
        await run(database, "INSERT INTO texts VALUES (?1)", "a\0b")

        assert await rows(
            database, "SELECT t, length(t) AS n, hex(t) AS h, t = ?1 AS same FROM texts", "a\0b"
        ) == [{"t": "a\0b", "n": 1, "h": "610062", "same": 1}]

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
        """D1 binds JavaScript numbers, which are doubles: SQL must not rely on a parameter being an integer."""
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
        """JSON has no word for it."""
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
    async def test_another_value_is_refused(self, database: Database, value: Any) -> None:
        await script(database, "CREATE TABLE anything(v)")

        await refuses(database, "INSERT INTO anything VALUES (?1)", value)

        assert await rows(database, "SELECT * FROM anything") == []

    async def test_a_value_may_be_large(self, database: Database) -> None:
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


class AtomicityContract:
    """A batch happens whole or not at all."""

    async def test_statements_see_what_came_before_them(self, database: Database) -> None:
        results = await database.batch(
            [
                Statement(ITEMS),
                Statement("INSERT INTO items(name) VALUES (?1)", ("a",)),
                Statement("SELECT name FROM items"),
                Statement("UPDATE items SET name = ?1 RETURNING name", ("b",)),
                Statement("DELETE FROM items"),
                Statement("SELECT count(*) AS n FROM items"),
            ]
        )

        assert [[dict(row) for row in result.rows] for result in results] == [
            [],
            [],
            [{"name": "a"}],
            [{"name": "b"}],
            [],
            [{"n": 0}],
        ]

    @pytest.mark.parametrize(
        "failing",
        [
            "INSERT INTO items(name) VALUES ('taken')",
            "INSERT INTO items(id, n) VALUES (9, NULL)",
            "INSERT INTO missing VALUES (1)",
            "INSERT INTO items(wrong) VALUES (1)",
            "not SQL at all",
            "COMMIT",
            "SELECT abs(-9223372036854775807 - 1)",
        ],
    )
    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_one_failure_undoes_the_batch(self, database: Database, failing: str, place: int) -> None:
        await script(database, ITEMS, "INSERT INTO items(name) VALUES ('taken')")
        statements = ["INSERT INTO items(name) VALUES ('x')", "UPDATE items SET n = n + 1"]
        statements.insert(place, failing)

        with pytest.raises(Refused):
            await script(database, *statements)

        assert await rows(database, "SELECT name, n FROM items") == [{"name": "taken", "n": 0}]

    async def test_a_value_that_cannot_be_bound_undoes_the_batch(self, database: Database) -> None:
        await script(database, ITEMS)

        with pytest.raises(Refused):
            await database.batch(
                [
                    Statement("INSERT INTO items(name) VALUES (?1)", ("a",)),
                    Statement("INSERT INTO items(name) VALUES (?1)", ("\ud800",)),
                ]
            )

        assert await rows(database, "SELECT * FROM items") == []

    async def test_a_failure_undoes_changes_of_the_schema(self, database: Database) -> None:
        await script(database, ITEMS)

        with pytest.raises(Refused):
            await script(
                database,
                "CREATE TABLE more(a)",
                "ALTER TABLE items ADD COLUMN extra TEXT",
                "INSERT INTO missing VALUES (1)",
            )

        await refuses(database, "SELECT * FROM more")
        await refuses(database, "SELECT extra FROM items")

    async def test_one_statement_is_atomic_even_if_it_asks_not_to_be(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(name) VALUES ('taken')")

        await refuses(database, "INSERT OR FAIL INTO items(name) VALUES ('new'), ('taken')")

        assert await column(database, "SELECT name FROM items") == ["taken"]

    async def test_a_rollback_asked_for_by_a_statement_undoes_the_batch(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(name) VALUES ('taken')")

        with pytest.raises(PortError):
            await script(
                database,
                "INSERT INTO items(name) VALUES ('new')",
                "INSERT OR ROLLBACK INTO items(name) VALUES ('taken')",
            )

        assert await column(database, "SELECT name FROM items") == ["taken"]

    async def test_batches_do_not_interleave(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(id) VALUES (1)", "CREATE TABLE seen(n)")
        increment = [
            Statement("INSERT INTO seen SELECT n FROM items"),
            Statement("UPDATE items SET n = 1 + (SELECT max(n) FROM seen)"),
        ]

        await asyncio.gather(*(database.batch(increment) for _ in range(20)))

        assert await column(database, "SELECT n FROM items") == [20]

    async def test_of_many_that_want_the_same_one_gets_it(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(id) VALUES (1)")
        claim = "UPDATE items SET n = n + 1, name = ?1 WHERE id = 1 AND n = 0 RETURNING name"

        claims = await asyncio.gather(*(run(database, claim, f"worker {number}") for number in range(10)))

        winners = [row["name"] for result in claims for row in result.rows]
        assert winners == await column(database, "SELECT name FROM items")
        assert len(winners) == 1

    async def test_a_batch_may_be_long(self, database: Database) -> None:
        await script(database, ITEMS)

        results = await database.batch(
            [Statement("INSERT INTO items(n) VALUES (?1) RETURNING n", (number,)) for number in range(200)]
        )

        assert [result.rows[0]["n"] for result in results] == list(range(200))

    async def test_an_empty_batch_is_refused(self, database: Database) -> None:
        with pytest.raises(Refused):
            await database.batch([])

    async def test_a_deferred_foreign_key_is_checked_at_the_end(self, database: Database) -> None:
        await script(database, *FAMILY)

        await script(
            database,
            "PRAGMA defer_foreign_keys = ON",
            "INSERT INTO children VALUES (1, 7)",
            "INSERT INTO parents VALUES (7)",
        )
        with pytest.raises(PortError):
            await script(database, "PRAGMA defer_foreign_keys = ON", "INSERT INTO children VALUES (2, 8)")

        assert await rows(database, "SELECT * FROM children") == [{"id": 1, "parent": 7}]


FAMILY = (
    "CREATE TABLE parents(id INTEGER PRIMARY KEY)",
    "CREATE TABLE children(id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents(id) ON DELETE CASCADE)",
)


class RefusalContract:
    """What is wrong is refused with a reason, and the next batch works."""

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
    async def test_the_reason_is_named(self, database: Database, sql: str, reason: str) -> None:
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
    async def test_what_only_a_file_of_ones_own_can_do_is_refused(self, database: Database, sql: str) -> None:
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

    async def test_the_rows_of_values_are_not(self, database: Database) -> None:
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


class SqlContract:
    """The SQL that the worker leans on."""

    async def test_foreign_keys_are_enforced(self, database: Database) -> None:
        await script(
            database, *FAMILY, "INSERT INTO parents VALUES (1)", "INSERT INTO children VALUES (1, 1)"
        )

        await script(database, "DELETE FROM parents")

        assert await rows(database, "SELECT * FROM children") == []

    async def test_foreign_keys_cannot_be_switched_off(self, database: Database) -> None:
        await script(database, *FAMILY)
        await script(database, "PRAGMA foreign_keys = OFF")

        assert await column(database, "PRAGMA foreign_keys") == [1]
        await refuses(database, "INSERT INTO children VALUES (1, 99)")

    async def test_the_schema_can_be_read(self, database: Database) -> None:
        await script(database, ITEMS, "CREATE INDEX by_n ON items(n) WHERE n > 0")

        assert await column(database, "SELECT name FROM pragma_table_info('items')") == ["id", "name", "n"]
        assert await rows(database, "SELECT type, name FROM sqlite_master WHERE sql LIKE '%WHERE n > 0'") == [
            {"type": "index", "name": "by_n"}
        ]

    async def test_returning_gives_rows_of_writes(self, database: Database) -> None:
        await script(database, ITEMS)

        assert await rows(
            database, "INSERT INTO items(name, n) VALUES ('a', 1), ('b', 2) RETURNING id, upper(name) AS name"
        ) == [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}]
        assert await rows(database, "UPDATE items SET n = n * 10 WHERE name = 'b' RETURNING *") == [
            {"id": 2, "name": "b", "n": 20}
        ]
        assert await rows(database, "DELETE FROM items WHERE n = 1 RETURNING name") == [{"name": "a"}]

    async def test_update_from(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(id) VALUES (1), (2), (3)")
        changes = json.dumps([{"id": 1, "n": 10}, {"id": 3, "n": 30}])

        await run(
            database,
            "UPDATE items SET n = change.value ->> 'n' FROM json_each(?1) AS change "
            "WHERE items.id = change.value ->> 'id'",
            changes,
        )

        assert await column(database, "SELECT n FROM items ORDER BY id") == [10, 0, 30]

    async def test_one_parameter_carries_many_rows(self, database: Database) -> None:
        await script(database, ITEMS)
        many = [{"name": f"naïve 🧠 {number}", "n": number} for number in range(10_000)]

        result = await run(
            database,
            "INSERT INTO items(name, n) SELECT value ->> 'name', value ->> 'n' FROM json_each(?1)",
            json.dumps(many, ensure_ascii=False),
        )

        assert result.changes == 10_000
        assert await rows(
            database, "SELECT count(*) AS n, sum(n) AS total, max(typeof(n)) AS type FROM items"
        ) == [{"n": 10_000, "total": sum(range(10_000)), "type": "integer"}]
        assert len(await rows(database, "SELECT * FROM items")) == 10_000

    async def test_json_keeps_the_type_of_its_values(self, database: Database) -> None:
        document = json.dumps([None, True, False, 1, 1.5, "1", [1, {"a": "b"}], {}])

        assert await rows(database, "SELECT type, value FROM json_each(?1)", document) == [
            {"type": "null", "value": None},
            {"type": "true", "value": 1},
            {"type": "false", "value": 0},
            {"type": "integer", "value": 1},
            {"type": "real", "value": 1.5},
            {"type": "text", "value": "1"},
            {"type": "array", "value": '[1,{"a":"b"}]'},
            {"type": "object", "value": "{}"},
        ]

    async def test_rows_become_json(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(name, n) VALUES ('a', 1), ('b', 2)")

        (text,) = await column(
            database, "SELECT json_group_array(json_object('name', name, 'n', n)) FROM items"
        )

        assert json.loads(str(text)) == [{"name": "a", "n": 1}, {"name": "b", "n": 2}]

    async def test_insert_select_on_conflict(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(name, n) VALUES ('b', 1)")
        names = json.dumps(["a", "b", "c"])

        ignored = await run(
            database,
            "INSERT INTO items(name, n) SELECT value, 5 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
            json.dumps(["b"]),
        )
        merged = await rows(
            database,
            "INSERT INTO items(name, n) SELECT value, 5 FROM json_each(?1) WHERE true "
            "ON CONFLICT(name) DO UPDATE SET n = n + excluded.n WHERE n < 100 RETURNING name, n",
            names,
        )

        assert ignored.changes == 0
        assert sorted((row["name"], row["n"]) for row in merged) == [("a", 5), ("b", 6), ("c", 5)]

    async def test_insert_guarded_by_conditions(self, database: Database) -> None:
        await script(database, ITEMS, "INSERT INTO items(id, n) VALUES (1, 5)")
        guarded = (
            "INSERT INTO items(id, n) SELECT ?1, 0 WHERE EXISTS (SELECT 1 FROM items WHERE id = 1 AND n = ?2) "
            "AND NOT EXISTS (SELECT 1 FROM items WHERE id = ?1) ON CONFLICT(id) DO NOTHING"
        )

        changes = [
            (await run(database, guarded, *parameters)).changes for parameters in ((2, 4), (2, 5), (2, 5))
        ]

        assert changes == [0, 1, 0]

    async def test_replace_does_not_fire_delete_triggers(self, database: Database) -> None:
        """Recursive triggers are off: a rule against deleting must also be one against replacing."""
        await script(
            database,
            ITEMS,
            "CREATE TABLE log(id)",
            "CREATE TRIGGER gone AFTER DELETE ON items BEGIN INSERT INTO log VALUES (old.id); END",
            "INSERT INTO items(id, name) VALUES (1, 'a')",
        )

        await run(database, "INSERT OR REPLACE INTO items(id, name) VALUES (1, 'b')")

        assert await rows(database, "SELECT * FROM log") == []

    async def test_a_trigger_does_not_fire_itself(self, database: Database) -> None:
        await script(
            database,
            ITEMS,
            "CREATE TRIGGER once AFTER UPDATE ON items BEGIN UPDATE items SET n = n + 1 WHERE id = new.id; END",
            "INSERT INTO items(id) VALUES (1)",
            "UPDATE items SET n = 10",
        )

        assert await column(database, "SELECT n FROM items") == [11]

    async def test_triggers_keep_sums(self, database: Database) -> None:
        await script(
            database,
            "CREATE TABLE sums(id INTEGER PRIMARY KEY, total INTEGER NOT NULL)",
            "CREATE TABLE parts(id INTEGER PRIMARY KEY, sum INTEGER, n INTEGER)",
            "CREATE TRIGGER added AFTER INSERT ON parts "
            "BEGIN UPDATE sums SET total = total + new.n WHERE id = new.sum; END",
            "CREATE TRIGGER changed AFTER UPDATE OF n ON parts WHEN old.n IS NOT new.n "
            "BEGIN UPDATE sums SET total = total + new.n - old.n WHERE id = new.sum; END",
            "CREATE TRIGGER removed AFTER DELETE ON parts "
            "BEGIN UPDATE sums SET total = total - old.n WHERE id = old.sum; END",
            "INSERT INTO sums VALUES (1, 0)",
            "INSERT INTO parts VALUES (1, 1, 5), (2, 1, 7), (3, 1, 1)",
            "UPDATE parts SET n = 2 WHERE id = 1",
            "DELETE FROM parts WHERE id = 2",
        )

        assert await column(database, "SELECT total FROM sums") == [3]

    async def test_a_row_ignored_by_a_trigger_is_skipped_alone(self, database: Database) -> None:
        """And each row is judged after the triggers of the rows before it: admission within one statement."""
        await script(
            database,
            "CREATE TABLE budget(room INTEGER NOT NULL)",
            "INSERT INTO budget VALUES (7)",
            "CREATE TABLE spent(id INTEGER PRIMARY KEY, n INTEGER)",
            "CREATE TRIGGER wall BEFORE INSERT ON spent WHEN new.n > (SELECT room FROM budget) "
            "BEGIN SELECT RAISE(IGNORE); END",
            "CREATE TRIGGER charge AFTER INSERT ON spent BEGIN UPDATE budget SET room = room - new.n; END",
        )

        admitted = await rows(
            database,
            "INSERT INTO spent(id, n) SELECT key, value FROM json_each(?1) WHERE true RETURNING id, n",
            "[3, 3, 3, 1, 1]",
        )

        assert admitted == [{"id": 0, "n": 3}, {"id": 1, "n": 3}, {"id": 3, "n": 1}]
        assert await column(database, "SELECT id FROM spent ORDER BY id") == [0, 1, 3]
        assert await column(database, "SELECT room FROM budget") == [0]

    async def test_a_trigger_aborts_the_whole_statement(self, database: Database) -> None:
        await script(
            database,
            ITEMS,
            "CREATE TRIGGER wall BEFORE INSERT ON items WHEN new.n > 5 BEGIN SELECT RAISE(ABORT, 'too much'); END",
        )

        assert "too much" in await refuses(database, "INSERT INTO items(n) VALUES (1), (9)")

        assert await rows(database, "SELECT * FROM items") == []

    async def test_instead_of_triggers(self, database: Database) -> None:
        await script(
            database,
            ITEMS,
            "CREATE VIEW names AS SELECT name FROM items",
            "CREATE TRIGGER named INSTEAD OF INSERT ON names BEGIN INSERT INTO items(name) VALUES (new.name); END",
            "INSERT INTO names VALUES ('a')",
        )

        assert await column(database, "SELECT name FROM items") == ["a"]

    async def test_partial_unique_indexes(self, database: Database) -> None:
        await script(
            database,
            ITEMS,
            "CREATE UNIQUE INDEX one_open ON items(n) WHERE name IS NULL",
            "INSERT INTO items(name, n) VALUES ('a', 1), ('b', 1), (NULL, 1)",
        )

        await refuses(database, "INSERT INTO items(n) VALUES (1)")
        upserted = await column(
            database,
            "INSERT INTO items(n) VALUES (1) ON CONFLICT(n) WHERE name IS NULL DO UPDATE SET name = 'c' RETURNING name",
        )

        assert upserted == ["c"]

    async def test_generated_columns_and_their_indexes(self, database: Database) -> None:
        await script(
            database,
            "CREATE TABLE events(body TEXT, kind TEXT GENERATED ALWAYS AS (body ->> 'kind') VIRTUAL)",
            "CREATE INDEX by_kind ON events(kind)",
            "ALTER TABLE events ADD COLUMN size INTEGER GENERATED ALWAYS AS (length(body)) VIRTUAL",
        )
        await run(database, "INSERT INTO events(body) VALUES (?1)", '{"kind":"paid"}')

        assert await rows(database, "SELECT kind, size FROM events WHERE kind = 'paid'") == [
            {"kind": "paid", "size": 15}
        ]
        await refuses(database, "INSERT INTO events(kind) VALUES ('paid')")

    async def test_expression_indexes_and_checks_on_json(self, database: Database) -> None:
        await script(
            database,
            "CREATE TABLE documents(body TEXT NOT NULL CHECK (json_valid(body)))",
            "CREATE UNIQUE INDEX by_key ON documents(body ->> 'key')",
            """INSERT INTO documents VALUES ('{"key":1}')""",
        )

        await refuses(database, """INSERT INTO documents VALUES ('{"key": 1}')""")
        await refuses(database, "INSERT INTO documents VALUES ('{')")

    async def test_tables_are_altered(self, database: Database) -> None:
        await script(
            database,
            ITEMS,
            "INSERT INTO items(name) VALUES ('a')",
            "ALTER TABLE items ADD COLUMN extra TEXT NOT NULL DEFAULT 'x'",
            "ALTER TABLE items RENAME COLUMN n TO amount",
            "ALTER TABLE items RENAME TO things",
            "ALTER TABLE things ADD COLUMN gone",
            "ALTER TABLE things DROP COLUMN gone",
        )

        assert await rows(database, "SELECT * FROM things") == [
            {"id": 1, "name": "a", "amount": 0, "extra": "x"}
        ]

    async def test_autoincrement_does_not_reuse(self, database: Database) -> None:
        await script(
            database,
            "CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT)",
            "INSERT INTO counted DEFAULT VALUES",
            "DELETE FROM counted",
        )

        assert await column(database, "INSERT INTO counted DEFAULT VALUES RETURNING id") == [2]

    async def test_tables_without_rowid(self, database: Database) -> None:
        await script(database, "CREATE TABLE pairs(a TEXT, b TEXT, PRIMARY KEY(a, b)) WITHOUT ROWID")

        await run(database, "INSERT INTO pairs VALUES ('x', 'y')")

        assert "UNIQUE" in await refuses(database, "INSERT INTO pairs VALUES ('x', 'y')")

    async def test_common_table_expressions_write(self, database: Database) -> None:
        await script(database, ITEMS)

        await run(
            database,
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5) "
            "INSERT INTO items(n) SELECT n FROM numbers",
        )
        found = await rows(
            database,
            "WITH ranked AS (SELECT n, row_number() OVER (ORDER BY n DESC) AS place FROM items) "
            "SELECT n, place FROM ranked WHERE place <= 2 ORDER BY place",
        )

        assert found == [{"n": 5, "place": 1}, {"n": 4, "place": 2}]

    async def test_one_limited_subquery_per_rank(self, database: Database) -> None:
        """The form of the claim."""
        await script(database, ITEMS, "CREATE INDEX due ON items(n, id)")
        await run(database, "INSERT INTO items(n) SELECT value FROM json_each(?1)", "[3, 0, 2, 0, 1, 3]")
        ranks = " UNION ALL ".join(
            f"SELECT * FROM (SELECT id, n FROM items WHERE n = {rank} ORDER BY id LIMIT ?1)"
            for rank in range(4)
        )

        assert await column(database, f"SELECT id FROM ({ranks}) LIMIT ?1", 4) == [2, 4, 5, 3]

    async def test_time_and_text_functions(self, database: Database) -> None:
        found = await rows(
            database,
            "SELECT strftime('%Y-%m-%dT%H:%M:%SZ', 0, 'unixepoch') AS epoch, "
            "unixepoch('2026-11-21T00:00:00Z') AS seconds, typeof(unixepoch()) AS now, "
            "printf('%05.2f', 1.5) AS text, iif(1, 'yes', 'no') AS choice, instr('abc', 'c') AS place",
        )

        assert found == [
            {
                "epoch": "1970-01-01T00:00:00Z",
                "seconds": 1_795_219_200,
                "now": "integer",
                "text": "01.50",
                "choice": "yes",
                "place": 3,
            }
        ]

    async def test_text_is_compared_by_bytes_and_like_ignores_case(self, database: Database) -> None:
        assert await rows(
            database,
            "SELECT 'a' = 'A' AS same, 'a' LIKE 'A' AS alike, 'ä' LIKE 'Ä' AS umlauts, 'Z' < 'a' AS less",
        ) == [{"same": 0, "alike": 1, "umlauts": 0, "less": 1}]


class DatabaseContract(ValueContract, AtomicityContract, RefusalContract, SqlContract):
    """All of it."""
