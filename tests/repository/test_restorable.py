"""A backup whose statements are too long for D1 is printed with short ones, and fills the same rows."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.ports import MAX_SQL_BYTES, MAX_VALUE_BYTES
from scripts import restorable

SCHEMA = 'CREATE TABLE "t" ("id" INTEGER PRIMARY KEY, "a" TEXT, "b" TEXT);'
TRIGGER = "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT ';' || 'it''s'; END;"


def dump(*rows: tuple[int, str | None, str | None]) -> str:
    """What the export prints."""
    return "\n".join(
        [
            SCHEMA,
            *(
                f'INSERT INTO "t" ("id","a","b") VALUES({row[0]},{cell(row[1])},{cell(row[2])});'
                for row in rows
            ),
            TRIGGER,
        ]
    )


def cell(value: str | None) -> str:
    """A text as the export prints it: in one line."""
    if value is None:
        return "NULL"
    text = "'" + value.replace("'", "''").replace("\n", "\\n").replace("\r", "\\r") + "'"
    text = f"replace({text},'\\r',char(13))" if "\r" in value else text
    return f"replace({text},'\\n',char(10))" if "\n" in value else text


def loaded(script: str) -> list[tuple[int, str | None, str | None]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(script)
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert tables == [("t",)]
        return database.execute("SELECT id, a, b FROM t ORDER BY id").fetchall()


def longest(script: str) -> int:
    """The bytes of the longest statement."""
    return max(len("".join(tokens).encode()) for tokens in restorable.statements(script))


@pytest.mark.parametrize(
    "value",
    [
        "x" * MAX_VALUE_BYTES,
        "'" * 300_000,
        "line\n" * 60_000,
        "a;b--c\"d`e'f" * 20_000,
        "🧠" * 400_000,
        "\r\n" * 99_999,
    ],
    ids=["longest", "quotes", "lines", "punctuation", "emoji", "carriage"],
)
def test_the_largest_text_is_restored_in_statements_that_the_database_takes(value: str) -> None:
    rows = [(1, "short", None), (2, value, "b"), (3, "it's", value[:1_000])]

    printed = "".join(restorable.restorable(dump(*rows)))

    assert longest(dump(*rows)) > MAX_SQL_BYTES > longest(printed)
    assert loaded(printed) == rows


def test_what_is_short_is_printed_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backup = tmp_path / "backup.sql"
    backup.write_text(dump((1, "it's", "a;b")))

    restorable.main([str(backup)])

    assert capsys.readouterr().out == backup.read_text()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=30), st.integers(1, 5_000), st.text(max_size=30)), min_size=1, max_size=4
    )
)
def test_any_text_is_restored(parts: list[tuple[str, int, str]]) -> None:
    texts = [re.sub("[\0\\\\]", "", a * count + b) for a, count, b in parts]
    rows: list[tuple[int, str | None, str | None]] = [(n, text, None) for n, text in enumerate(texts)]

    assert loaded("".join(restorable.restorable(dump(*rows)))) == rows
