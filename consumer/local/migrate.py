"""Apply the files of `migrations/` to a database file, and record them as `wrangler d1 migrations` does.

So a database that one of the two has migrated can be continued by the other.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Final

from consumer.local.database import SqliteDatabase, first_word
from consumer.ports import Refused, Statement

# The table of applied migrations, with the text that wrangler creates it with.
_CREATE_TABLE: Final = """CREATE TABLE IF NOT EXISTS "d1_migrations"(
\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,
\t\tname       TEXT UNIQUE,
\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
)"""
# Whether the table of applied migrations exists.
_TABLE_EXISTS: Final = "SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = 'd1_migrations'"
# The names of the applied migrations.
_APPLIED: Final = "SELECT name FROM d1_migrations"
_NUMBER: Final = re.compile(r"\d+")


def apply(database: SqliteDatabase | str | Path, directory: str | Path) -> list[str]:
    """Apply the pending migrations in order, and return their names.

    Each migration and its row in `d1_migrations` are one transaction.  A migration that fails raises `Refused` with its
    name; those before it stay applied.
    """
    if not isinstance(database, SqliteDatabase):
        opened = SqliteDatabase(database)
        try:
            return apply(opened, directory)
        finally:
            opened.close()
    database.run([Statement(_CREATE_TABLE)])
    return [name for name in pending(database, directory) if _apply_one(database, Path(directory) / name)]


def pending(database: SqliteDatabase, directory: str | Path) -> list[str]:
    """The names of the migrations that are not applied yet, in their order."""
    applied = _applied(database)
    names = [file.name for file in Path(directory).glob("*.sql") if not file.name.startswith(".")]
    return sorted((name for name in names if name not in applied), key=_order)


def split(script: str) -> list[str]:
    """The statements of a script.  A semicolon inside a trigger, a string or a comment does not end a statement."""
    statements = []
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            statements.append(statement.removesuffix(";").strip())
            statement = ""
    statements.append(statement.removesuffix(";").strip())
    return [statement for statement in statements if first_word(statement)]


def _apply_one(database: SqliteDatabase, file: Path) -> bool:
    """Apply one migration.  False if another process has applied it in the meantime.

    As wrangler does, this appends the migration's row to the script before it splits the script, so that a last
    statement without a semicolon fails here too.
    """
    name = file.name.replace("'", "''")
    text = file.read_text(encoding="utf-8-sig")
    script = f"""{text}\nINSERT INTO "d1_migrations" (name)\nvalues ('{name}');"""
    try:
        database.run([Statement(sql) for sql in split(script)])
    except Refused as error:
        if file.name in _applied(database):
            return False
        raise Refused(f"{file.name}: {error}") from error
    return True


def _applied(database: SqliteDatabase) -> set[object]:
    """The names of the applied migrations."""
    if not database.run([Statement(_TABLE_EXISTS)])[0].rows:
        return set()
    return {row["name"] for row in database.run([Statement(_APPLIED)])[0].rows}


def _order(name: str) -> tuple[float, str]:
    """The sort key: the leading number, as wrangler sorts, then the name.  Names without a number come last."""
    number = _NUMBER.match(name)
    return (int(number[0]) if number else float("inf"), name)
