"""Short ways to ask a `Database`, and the tables that its contracts use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumer.ports import (
    Refused,
    Result,
    Row,
    Statement,
    Value,
)

if TYPE_CHECKING:
    from consumer.ports import Database


ITEMS = "CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER NOT NULL DEFAULT 0)"


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
    """Assert that a statement is refused; return the message."""
    with pytest.raises(Refused) as refusal:
        await run(database, sql, *parameters)
    assert str(refusal.value)
    return str(refusal.value)


async def script(database: Database, *statements: str) -> list[Result]:
    """Send statements without parameters as one batch."""
    return await database.batch([Statement(sql) for sql in statements])


FAMILY = (
    "CREATE TABLE parents(id INTEGER PRIMARY KEY)",
    "CREATE TABLE children(id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents(id) ON DELETE CASCADE)",
)
