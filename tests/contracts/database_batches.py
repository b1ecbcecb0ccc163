"""A batch of a `Database` happens whole or not at all.  Fixture: `database`, with no tables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumer.ports import (
    PortError,
    Refused,
    Statement,
)

if TYPE_CHECKING:
    from consumer.ports import Database
from tests.support.database import FAMILY, ITEMS, column, refuses, rows, run, script


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

    async def test_one_of_many_concurrent_writers_wins(self, database: Database) -> None:
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
