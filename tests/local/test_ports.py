"""The local host: the contracts that every host keeps, and what is particular to files."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from consumer.local.blobs import FileBlobs, file_name
from consumer.local.clock import SystemClock, SystemEntropy
from consumer.local.database import SqliteDatabase
from consumer.local.kv import KeyValueReader, SqliteKeyValue
from consumer.local.migrate import apply, pending, split
from consumer.local.queue import LocalConsumer, LocalQueue
from consumer.ports import MAX_VALUE_BYTES, MIN_TTL_S, Refused, Statement, Unavailable, Value
from tests.contracts.blobs import KEYS, BlobsContract
from tests.contracts.database import ITEMS, DatabaseContract, column, refuses, rows, run, script
from tests.contracts.kv import KeyValueContract
from tests.contracts.queue import DeliveryContract, Handler, QueueContract, Serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class SetClock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.ms = 1_000_000_000_000

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "tasks.sqlite3", busy_timeout_ms=0)
    yield made
    made.close()


@pytest.fixture
def kv(tmp_path: Path, clock: SetClock) -> Iterator[SqliteKeyValue]:
    made = SqliteKeyValue(tmp_path / "kv.sqlite3", clock)
    yield made
    made.close()


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs", fsync=False)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LocalQueue]:
    made = LocalQueue(tmp_path / "queue.sqlite3", "jobs", SystemClock())
    yield made
    made.close()


@pytest.fixture
async def serve(queue: LocalQueue, tmp_path: Path) -> AsyncIterator[Serve]:
    dead = LocalQueue(tmp_path / "queue.sqlite3", "dead", SystemClock())
    consumers: list[LocalConsumer] = []

    async def start(handler: Handler, dead_letters: Handler) -> None:
        consumers.append(LocalConsumer(queue, handler, batch_timeout_s=0, max_retries=2, dead_letter=dead))
        consumers.append(LocalConsumer(dead, dead_letters, batch_timeout_s=0))
        for consumer in consumers:
            consumer.start()

    yield start
    for consumer in consumers:
        await consumer.stop()
    dead.close()


class TestDatabase(DatabaseContract):
    """The contract."""


class TestKeyValue(KeyValueContract):
    """The contract."""


class TestBlobs(BlobsContract):
    """The contract."""


class TestQueue(QueueContract):
    """The contract."""


class TestDelivery(DeliveryContract):
    """The contract."""


class TestDatabaseFile:
    def test_a_batch_never_suspends(self, database: SqliteDatabase) -> None:
        with pytest.raises(StopIteration) as end:
            database.batch([Statement("SELECT 1 AS one")]).send(None)

        assert [result.rows for result in end.value.value] == [[{"one": 1}]]

    async def test_what_is_written_outlives_the_process(self, tmp_path: Path) -> None:
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

    async def test_bytes_in_a_column_are_refused(self, database: SqliteDatabase) -> None:
        """D1 would give a list of integers."""
        assert "bytes" in await refuses(database, "SELECT x'00' AS blob")

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
    async def test_what_d1_may_let_through_is_refused(
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

    def test_a_path_will_do(self, tmp_path: Path, directory: Path) -> None:
        assert len(apply(tmp_path / "new.sqlite3", str(directory))) == 2
        assert apply(str(tmp_path / "new.sqlite3"), directory) == []

    async def test_triggers_arrive_whole(self, database: SqliteDatabase, directory: Path) -> None:
        apply(database, directory)

        assert await column(database, "SELECT n FROM log") == ["a;b"]

    async def test_the_books_are_those_of_wrangler(self, database: SqliteDatabase, directory: Path) -> None:
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

    async def test_what_is_in_the_books_is_not_applied_again(
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

    def test_another_process_may_be_faster(
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


class TestKeyValueFile:
    async def test_a_value_is_gone_when_its_time_is_up(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        await kv.put("short", "value", ttl_s=MIN_TTL_S)
        await kv.put("for good", "value")

        clock.ms += MIN_TTL_S * 1_000 - 1
        assert await kv.get("short") == "value"
        clock.ms += 1
        assert await kv.get("short") is None
        assert await kv.get("for good") == "value"

    async def test_a_new_value_has_its_own_time(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        await kv.put("key", "first", ttl_s=MIN_TTL_S)
        clock.ms += 2_000
        await kv.put("key", "second")
        clock.ms += MIN_TTL_S * 1_000

        assert await kv.get("key") == "second"

    async def test_expired_rows_are_deleted(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        await asyncio.gather(*(kv.put(f"key:{number}", "value", ttl_s=MIN_TTL_S) for number in range(1_200)))
        clock.ms += MIN_TTL_S * 1_000
        counts = []
        for number in range(3):
            await kv.put(f"other:{number}", "value")
            counts.append(kv._connection.execute("SELECT count(*) FROM entries").fetchone()[0])

        assert counts == [701, 202, 3]

    async def test_a_second_write_within_a_second_is_unavailable(
        self, kv: SqliteKeyValue, clock: SetClock
    ) -> None:
        await kv.put("key", "first")
        clock.ms += 999

        with pytest.raises(Unavailable, match="429"):
            await kv.put("key", "second")
        assert await kv.get("key") == "first"
        await kv.put("other", "value")
        clock.ms += 1
        await kv.put("key", "third")
        assert await kv.get("key") == "third"
        clock.ms += 999
        with pytest.raises(Unavailable):
            await kv.put("key", "fourth")

    async def test_keys_written_long_ago_are_forgotten(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        for number in range(10):
            clock.ms += 600
            await kv.put(f"key:{number}", "value")

        assert len(kv._recent) + len(kv._earlier) <= 4

    async def test_a_clock_set_back_does_not_lock_a_key(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        await kv.put("key", "first")
        clock.ms -= 3_600_000
        await kv.put("key", "second")

        assert await kv.get("key") == "second"

    async def test_the_rate_can_be_left_unlimited(self, tmp_path: Path, clock: SetClock) -> None:
        kv = SqliteKeyValue(tmp_path / "a.sqlite3", clock, strict_rate=False)
        await kv.put("key", "first")
        await kv.put("key", "second")

        assert await kv.get("key") == "second"
        kv.close()

    async def test_puts_of_one_turn_share_a_commit(self, kv: SqliteKeyValue) -> None:
        statements: list[str] = []
        kv._connection.set_trace_callback(statements.append)

        await asyncio.gather(*(kv.put(f"key:{number}", "value") for number in range(50)))

        assert statements.count("COMMIT") == 1

    async def test_a_put_that_returned_is_seen_by_other_processes(
        self, kv: SqliteKeyValue, tmp_path: Path, clock: SetClock
    ) -> None:
        reader = KeyValueReader(tmp_path / "kv.sqlite3", clock)

        await kv.put("key", "value", ttl_s=MIN_TTL_S)

        assert reader.get("key") == "value"
        clock.ms += MIN_TTL_S * 1_000
        assert reader.get("key") is None
        with pytest.raises(Refused):
            reader.get("")
        reader.close()
        with pytest.raises(Unavailable):
            reader.get("key")

    def test_a_reader_finds_nothing_where_nothing_was_written(self, tmp_path: Path, clock: SetClock) -> None:
        reader = KeyValueReader(tmp_path / "new.sqlite3", clock)

        assert reader.get("key") is None
        reader.close()

    async def test_a_locked_file_fails_the_puts_that_waited_and_no_others(
        self, kv: SqliteKeyValue, tmp_path: Path, clock: SetClock
    ) -> None:
        kv._connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(tmp_path / "kv.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        outcomes = await asyncio.gather(kv.put("a", "1"), kv.put("b", "2"), return_exceptions=True)
        other.execute("ROLLBACK")
        other.close()
        clock.ms += 1_000
        await kv.put("a", "3")

        assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
        assert [await kv.get("a"), await kv.get("b")] == ["3", None]

    async def test_a_full_disk_fails_the_puts_and_stores_none_of_them(self, kv: SqliteKeyValue) -> None:
        kv._connection.execute("PRAGMA max_page_count = 6")

        outcomes = await asyncio.gather(
            kv.put("small", "1"), kv.put("large", "x" * 100_000), return_exceptions=True
        )

        assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
        assert await kv.get("small") is None
        await kv.put("other", "2")
        assert await kv.get("other") == "2"

    async def test_a_cancelled_put_does_not_touch_the_others(self, kv: SqliteKeyValue) -> None:
        cancelled = asyncio.create_task(kv.put("a", "1"))
        other = asyncio.create_task(kv.put("b", "2"))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled, other})

        assert cancelled.cancelled()
        assert await kv.get("b") == "2"

    async def test_closing_writes_what_waits(self, tmp_path: Path, clock: SetClock) -> None:
        kv = SqliteKeyValue(tmp_path / "a.sqlite3", clock)
        put = asyncio.create_task(kv.put("key", "value"))
        await asyncio.sleep(0)
        kv.close()
        await put

        reader = KeyValueReader(tmp_path / "a.sqlite3", clock)
        assert reader.get("key") == "value"
        reader.close()
        with pytest.raises(Unavailable):
            await kv.get("key")
        with pytest.raises(Unavailable):
            await kv.put("other", "value")


class TestBlobFiles:
    def test_no_name_leaves_the_directory_and_no_two_are_alike(self) -> None:
        names = [file_name(key) for key in KEYS]

        assert all(
            re.fullmatch(r"[a-z0-9_=-][a-zA-Z0-9_.%-]*|%[0-9A-F]{2}[a-zA-Z0-9_.%-]*", name) for name in names
        )
        assert all(len(name) <= 200 for name in names)
        assert len({name.casefold() for name in names}) == len(KEYS)

    def test_a_hash_is_no_key_of_its_own(self) -> None:
        assert file_name(file_name("k" * 500)) != file_name("k" * 500)

    @pytest.mark.parametrize("fsync", [True, False])
    async def test_one_file_for_a_key_and_nothing_else(self, tmp_path: Path, *, fsync: bool) -> None:
        blobs = FileBlobs(tmp_path / "deep" / "blobs", fsync=fsync)
        await blobs.put("results/1.json", b"first")
        await blobs.put("results/1.json", b"second")

        assert [file.name for file in (tmp_path / "deep" / "blobs").iterdir()] == ["results%2F1.json"]
        assert await blobs.get("results/1.json") == b"second"

    async def test_a_failed_put_leaves_what_was_there(
        self, blobs: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await blobs.put("key", b"first")

        def fail(path: Path, _value: bytes) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(blobs, "_write", fail)
        with pytest.raises(Unavailable, match="No space left"):
            await blobs.put("key", b"second")

        assert await blobs.get("key") == b"first"
        assert [file.name for file in (tmp_path / "blobs").iterdir()] == ["key"]

    async def test_what_cannot_be_read_or_deleted_is_unavailable(
        self, blobs: FileBlobs, tmp_path: Path
    ) -> None:
        (tmp_path / "blobs" / "key").mkdir()

        with pytest.raises(Unavailable):
            await blobs.get("key")
        with pytest.raises(Unavailable):
            await blobs.delete("key")
        with pytest.raises(Unavailable):
            await blobs.put("key", b"value")

    def test_a_directory_that_cannot_be_made_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")

        with pytest.raises(Unavailable):
            FileBlobs(tmp_path / "file")


class TestClock:
    def test_the_time_is_in_milliseconds(self) -> None:
        assert 1_700_000_000_000 < SystemClock().now_ms() < 10_000_000_000_000

    def test_draws_are_in_range_and_differ(self) -> None:
        draws = {SystemEntropy().draw() for _ in range(100)}

        assert all(0 <= draw < 1 for draw in draws)
        assert len(draws) == 100

    def test_tokens_are_hexadecimal_and_differ(self) -> None:
        tokens = {SystemEntropy().token() for _ in range(100)}

        assert all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)
        assert len(tokens) == 100
