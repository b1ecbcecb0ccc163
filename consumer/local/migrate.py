"""Bring a database file up to date with `migrations/`, keeping the books that `wrangler d1 migrations` keeps.

A database that one of the two has migrated can be taken over by the other.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Final

from consumer.local.database import SqliteDatabase, first_word
from consumer.ports import Refused, Statement

_CREATE_TABLE: Final = """CREATE TABLE IF NOT EXISTS "d1_migrations"(
\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,
\t\tname       TEXT UNIQUE,
\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
)"""
_NUMBER: Final = re.compile(r"\d+")


def apply(database: SqliteDatabase | str | Path, directory: str | Path) -> list[str]:
    """Apply what is pending, in order, and give the names of what was applied.

    Each migration and its row in `d1_migrations` are one transaction.  The first that fails raises `Refused`
    with its name; those before it stay.
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
    """The names of the migrations that are not applied yet, in the order in which they will be."""
    applied = _applied(database)
    names = [file.name for file in Path(directory).glob("*.sql") if not file.name.startswith(".")]
    return sorted((name for name in names if name not in applied), key=_order)


def split(script: str) -> list[str]:
    """The statements of a script; the semicolons inside a trigger, a string or a comment do not divide it."""
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
    """Whether it was applied here: another process may have been faster.

    Its row is appended to the script before that is split, as wrangler does it: a last statement without its
    semicolon fails here as it fails there.
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
    there = "SELECT 1 AS there FROM sqlite_master WHERE type = 'table' AND name = 'd1_migrations'"
    if not database.run([Statement(there)])[0].rows:
        return set()
    return {row["name"] for row in database.run([Statement("SELECT name FROM d1_migrations")])[0].rows}


def _order(name: str) -> tuple[float, str]:
    """By leading number as wrangler does, then by name; names without a number come last."""
    number = _NUMBER.match(name)
    return (int(number[0]) if number else float("inf"), name)
