"""The SQL that the worker relies on, on every `Database`.  Fixture: `database`, with no tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumer.ports import Database
from tests.support.database import FAMILY, ITEMS, column, refuses, rows, run, script


class SqlContract:
    """The SQL that the worker relies on."""

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

    async def test_an_update_can_read_from_another_table(self, database: Database) -> None:
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

    async def test_an_insert_from_a_select_can_update_on_conflict(self, database: Database) -> None:
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

    async def test_an_insert_can_depend_on_conditions(self, database: Database) -> None:
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
        """Recursive triggers are off, so a rule against deletes needs a second rule against REPLACE."""
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
        """Each row is judged after the triggers of the earlier rows: admission works within one statement."""
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

    async def test_triggers_can_replace_writes_to_views(self, database: Database) -> None:
        await script(
            database,
            ITEMS,
            "CREATE VIEW names AS SELECT name FROM items",
            "CREATE TRIGGER named INSTEAD OF INSERT ON names BEGIN INSERT INTO items(name) VALUES (new.name); END",
            "INSERT INTO names VALUES ('a')",
        )

        assert await column(database, "SELECT name FROM items") == ["a"]

    async def test_unique_indexes_can_be_partial(self, database: Database) -> None:
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

    async def test_generated_columns_can_be_indexed(self, database: Database) -> None:
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

    async def test_json_can_be_indexed_and_checked(self, database: Database) -> None:
        await script(
            database,
            "CREATE TABLE documents(body TEXT NOT NULL CHECK (json_valid(body)))",
            "CREATE UNIQUE INDEX by_key ON documents(body ->> 'key')",
            """INSERT INTO documents VALUES ('{"key":1}')""",
        )

        await refuses(database, """INSERT INTO documents VALUES ('{"key": 1}')""")
        await refuses(database, "INSERT INTO documents VALUES ('{')")

    async def test_tables_can_be_altered(self, database: Database) -> None:
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

    async def test_autoincrement_does_not_reuse_ids(self, database: Database) -> None:
        await script(
            database,
            "CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT)",
            "INSERT INTO counted DEFAULT VALUES",
            "DELETE FROM counted",
        )

        assert await column(database, "INSERT INTO counted DEFAULT VALUES RETURNING id") == [2]

    async def test_tables_can_be_without_rowid(self, database: Database) -> None:
        await script(database, "CREATE TABLE pairs(a TEXT, b TEXT, PRIMARY KEY(a, b)) WITHOUT ROWID")

        await run(database, "INSERT INTO pairs VALUES ('x', 'y')")

        assert "UNIQUE" in await refuses(database, "INSERT INTO pairs VALUES ('x', 'y')")

    async def test_common_table_expressions_can_feed_writes(self, database: Database) -> None:
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

    async def test_a_limited_subquery_can_run_for_each_rank(self, database: Database) -> None:
        """The claim has this form."""
        await script(database, ITEMS, "CREATE INDEX due ON items(n, id)")
        await run(database, "INSERT INTO items(n) SELECT value FROM json_each(?1)", "[3, 0, 2, 0, 1, 3]")
        ranks = " UNION ALL ".join(
            f"SELECT * FROM (SELECT id, n FROM items WHERE n = {rank} ORDER BY id LIMIT ?1)"
            for rank in range(4)
        )

        assert await column(database, f"SELECT id FROM ({ranks}) LIMIT ?1", 4) == [2, 4, 5, 3]

    async def test_time_and_text_functions_work(self, database: Database) -> None:
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
