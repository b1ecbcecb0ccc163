"""Named parameters, chunks of rows, and ids of executions."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core.template import MAX_EXECUTIONS
from consumer.local.database import SqliteDatabase
from consumer.ports import MAX_INTEGER, MAX_VALUE_BYTES, Row, Statement
from consumer.store.sql import (
    CHUNK_BYTES,
    FIRST_EXECUTION,
    PER_TASK,
    Query,
    chunks,
    execution_id,
    integer,
    number_of,
    one,
    optional_integer,
    optional_text,
    task_of,
    text,
)

# ---------------------------------------------------------------------------------------------- Query


def test_names_are_numbered_in_the_order_in_which_they_come() -> None:
    query = Query("SELECT :b, :a, :b WHERE x = :a AND y = :c_d")
    assert query.sql == "SELECT ?1, ?2, ?1 WHERE x = ?2 AND y = ?3"
    assert query(a=1, b="two", c_d=None) == Statement(query.sql, ("two", 1, None))


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError, match="b"):
        Query("SELECT :a, :b")(a=1)


def test_a_query_without_names_has_no_parameters() -> None:
    assert Query("SELECT 1")() == Statement("SELECT 1")


@pytest.mark.parametrize(
    "sql", ["SELECT 'no_route:' || id", "SELECT '%H:%M:%f'", "SELECT '12:34'", "SELECT a::b", "SELECT x:y"]
)
def test_text_that_only_looks_like_a_parameter_is_unchanged(sql: str) -> None:
    assert Query(sql)() == Statement(sql)


def test_sql_is_sent_without_its_indentation() -> None:
    assert (
        Query("""
        SELECT 1
          FROM tasks

        WHERE id = :id
    """).sql
        == "SELECT 1\nFROM tasks\nWHERE id = ?1"
    )


def test_comments_are_not_sent() -> None:
    query = Query("""
        -- The worker's choice: {OPEN} is no list and :b no parameter here.
        SELECT :a  -- the first value
        -- Only one row.
        FROM tasks LIMIT 1
        -- The end.
    """)
    assert query.sql == "SELECT ?1\nFROM tasks LIMIT 1"
    assert query(a=1) == Statement(query.sql, (1,))


@pytest.mark.parametrize(
    "quoted",
    ["'a -- b'", "'it''s -- b'", "'' || '-- b'", '"a -- b"', '"a "" -- b"', "'\" -- b'", '"\' -- b"'],
)
def test_two_dashes_inside_quotes_are_no_comment(quoted: str) -> None:
    assert Query(f"SELECT {quoted} AS x -- a comment").sql == f"SELECT {quoted} AS x"


def test_an_arrow_and_a_minus_are_no_comment() -> None:
    assert Query("SELECT value ->> 'a', 3 - -1, -id").sql == "SELECT value ->> 'a', 3 - -1, -id"


def test_names_of_states_become_their_sql_text() -> None:
    query = Query("SELECT 1 WHERE a IN {OPEN} AND b NOT IN {FINISHED}")
    assert query.sql == (
        "SELECT 1 WHERE a IN ('running', 'waiting', 'unknown') AND b NOT IN ('completed', 'failed', 'cancelled')"
    )


@given(st.integers(1, 2**31), st.integers(1, PER_TASK - 1))
def test_the_ids_of_a_task_are_a_range_that_holds_its_executions_and_no_others(
    task: int, number: int
) -> None:
    query = Query("SELECT :id BETWEEN {ids of :task} AS found")
    database = SqliteDatabase(":memory:")
    asked = [
        (execution_id(task, number), task),
        (execution_id(task, number), task + 1),
        (execution_id(task - 1, PER_TASK - 1), task),
    ]
    found = [database.run([query(id=id_, task=of)])[0].rows[0]["found"] for id_, of in asked]
    database.close()
    assert found == [1, 0, 0]


def test_a_range_may_be_of_an_expression() -> None:
    sql = Query("SELECT 1 WHERE id BETWEEN {ids of (value ->> 't')}").sql
    low = f"({FIRST_EXECUTION} + (value ->> 't') * {PER_TASK})"
    high = f"({FIRST_EXECUTION} + (value ->> 't') * {PER_TASK} + {PER_TASK - 1})"
    assert sql == f"SELECT 1 WHERE id BETWEEN {low} AND {high}"


# ---------------------------------------------------------------------------------------------- ids


@given(st.integers(1, 2**40), st.integers(1, PER_TASK - 1))
def test_an_execution_id_contains_its_task_and_number(task: int, number: int) -> None:
    execution = execution_id(task, number)
    assert (task_of(execution), number_of(execution)) == (task, number)
    assert execution_id(task, number + 1) == execution + 1


def test_execution_ids_avoid_other_applications_and_fit_into_d1() -> None:
    assert execution_id(1, 1) > 2**40
    assert execution_id(2**42, MAX_EXECUTIONS) <= MAX_INTEGER


# ---------------------------------------------------------------------------------------------- chunks


def parts(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """The chunks of rows; assert that each fits into one parameter."""
    found = list(chunks(rows))
    for part in found:
        assert len(part.encode()) <= MAX_VALUE_BYTES
    return [json.loads(part) for part in found]


def test_no_rows_are_no_chunks() -> None:
    assert list(chunks([])) == []


def test_few_rows_are_one_chunk() -> None:
    rows: list[dict[str, Any]] = [{"e": 1, "why": "é"}, {"e": 2, "why": None}]
    assert list(chunks(iter(rows))) == ['[{"e":1,"why":"é"},{"e":2,"why":null}]']


@pytest.mark.parametrize("letter", ["x", "é", "漢", "😀", "\0", "\ud83d"])
def test_a_chunk_is_measured_in_bytes(letter: str) -> None:
    """Characters of one, two, three and four bytes, and characters that are written as escapes."""
    rows = [{"n": n, "why": letter * 100_000} for n in range(8)]
    found = parts(rows)
    assert [row for part in found for row in part] == rows
    written = [len(part.encode()) for part in chunks(rows)]
    one_row = max(len(part.encode()) for part in chunks(rows[:1]))
    assert max(written) <= CHUNK_BYTES + 2
    # No chunk could have been avoided: two neighbours do not fit into one.
    assert all(a + b > CHUNK_BYTES - one_row for a, b in pairwise(written))


def test_a_row_that_is_larger_than_a_chunk_goes_alone() -> None:
    """The database may refuse that row; its neighbours are not affected."""
    rows: list[dict[str, Any]] = [{"n": 1}, {"n": 2, "why": "x" * CHUNK_BYTES}, {"n": 3}]
    assert [[row["n"] for row in part] for part in parts(rows)] == [[1], [2], [3]]


@given(st.lists(st.integers(0, 400_000), max_size=8), st.sampled_from("xé😀"))
@settings(max_examples=25)
def test_every_row_is_in_one_chunk_in_its_order(lengths: list[int], letter: str) -> None:
    rows = [{"n": n, "why": letter * length} for n, length in enumerate(lengths)]
    assert [row for part in parts(rows) for row in part] == rows


# ---------------------------------------------------------------------------------------------- columns

ROW: Row = {"n": 7, "text": "x", "none": None, "real": 1.5}


def test_columns_are_read_as_what_they_are() -> None:
    assert (integer(ROW, "n"), optional_integer(ROW, "n"), optional_integer(ROW, "none")) == (7, 7, None)
    assert (text(ROW, "text"), text(ROW, "none"), text(ROW, "n")) == ("x", "", "7")
    assert (optional_text(ROW, "text"), optional_text(ROW, "none")) == ("x", None)
    assert (one([ROW, {}]), one([])) == (ROW, None)


@pytest.mark.parametrize("name", ["text", "none", "real"])
def test_a_value_that_is_no_integer_is_an_error(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} is not an integer$"):
        integer(ROW, name)


def test_a_column_that_was_not_asked_for_is_an_error() -> None:
    with pytest.raises(KeyError):
        optional_integer(ROW, "other")
