"""How the statements of the store are written: named parameters, comments, ranges of ids, rows as JSON.

D1 knows numbered parameters only, so `Query` numbers the names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from consumer.core.strictjson import dump_flat
from consumer.ports import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from consumer.ports import Row, Value

_NAME: Final = re.compile(r"(?<![:\w]):([a-z_]+)")
_QUOTED_OR_COMMENT: Final = re.compile(
    r"""(?P<quoted> '(?:[^']|'')*+' | "(?:[^"]|"")*+" ) | (?<![ \t])[ \t]*+ --[^\n]*""", re.VERBOSE
)

FIRST_EXECUTION: Final = 2**40
PER_TASK: Final = 1024
FIRST_FOREIGN_EXECUTION: Final = 2**52
"""The id of our n-th execution of a task is FIRST_EXECUTION + task * PER_TASK + n.

SQLite numbers the executions of other applications from 1.  Once there are executions of ours, the trigger
`executions_foreign_id` makes it count from FIRST_FOREIGN_EXECUTION, so that their ids never lie among ours.
The id makes a begin repeatable, orders the attempts and is the idempotency key, without another index."""

MARK_LENGTH: Final = 16
"""Characters of a lease in links and callback addresses: 64 random bits."""

OPEN: Final = "('running', 'waiting', 'unknown')"
FINISHED: Final = "('completed', 'failed', 'cancelled')"
APPLIES: Final = """(budgets.scope = 'organization' AND budgets.scope_id = tasks.organization_id
        OR budgets.scope = 'template' AND budgets.scope_id = tasks.template_id
        OR budgets.scope = 'task' AND budgets.scope_id = tasks.id)"""
"""The condition under which a row of `budgets` applies to a row of `tasks`."""

CHUNK_BYTES: Final = 1_000_000
"""The size of the JSON in one parameter, in bytes: half of the 2 MB that D1 accepts as one value."""

MAX_SHOWN_BYTES: Final = 1_000
"""Bytes of a value that is no text, of which a reader is shown so many."""
_IDS: Final = re.compile(r"\{ids of ([^{}]+)\}")
_ID_RANGE: Final = (
    rf"({FIRST_EXECUTION} + \1 * {PER_TASK}) AND ({FIRST_EXECUTION} + \1 * {PER_TASK} + {PER_TASK - 1})"
)


class Query:
    """SQL with parameters like `:name`.  Call it with a value for each name to get a Statement.

    A missing value raises KeyError.  In the SQL, `{ids of x}` stands for the two ends of the range of ids that the
    executions of task x have (after BETWEEN), `{OPEN}` and `{FINISHED}` for lists of states, and `{APPLIES}` for the
    condition of that name.  Comments (from `--` to the end of the line) and indentation are not sent to the database."""

    def __init__(self, sql: str) -> None:
        self._names: list[str] = []
        sql = _QUOTED_OR_COMMENT.sub(lambda found: found["quoted"] or "", sql)
        sql = sql.replace("{OPEN}", OPEN).replace("{FINISHED}", FINISHED).replace("{APPLIES}", APPLIES)
        sql = _IDS.sub(_ID_RANGE, sql)
        self.sql: Final = re.sub(r"\n\s*", "\n", _NAME.sub(self._number, sql)).strip()

    def _number(self, found: re.Match[str]) -> str:
        name = found[1]
        if name not in self._names:
            self._names.append(name)
        return f"?{self._names.index(name) + 1}"

    def __call__(self, **values: Value) -> Statement:
        return Statement(self.sql, tuple([values[name] for name in self._names]))


def execution_id(task_id: int, number: int) -> int:
    """The id of a task's execution with this number, counted from 1."""
    return FIRST_EXECUTION + task_id * PER_TASK + number


def task_of(execution: int) -> int:
    """The id of the task of one of our executions."""
    return (execution - FIRST_EXECUTION) // PER_TASK


def number_of(execution: int) -> int:
    """The position of an execution among those of its task, counted from 1."""
    return (execution - FIRST_EXECUTION) % PER_TASK


def mark_of(lease: str) -> str:
    """The part of the lease of an execution that tells it from an earlier execution with the same id.

    After a restore or a deletion, an execution can get an id that one had before; no two have the same lease."""
    return lease[:MARK_LENGTH]


def chunks(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """All rows, in order, as JSON arrays of at most CHUNK_BYTES.  A larger row gets an array of its own."""
    rows = list(rows)
    if not rows:
        return
    whole = dump_flat(rows)  # one call of the encoder is faster than one for each row
    if _size(whole) <= CHUNK_BYTES:
        yield whole
        return
    part: list[str] = []
    size = 0
    for row in rows:
        text = dump_flat(row)
        length = _size(text)
        if part and size + length > CHUNK_BYTES:
            yield f"[{','.join(part)}]"
            part, size = [], 0
        part.append(text)
        size += length + 1
    if part:
        yield f"[{','.join(part)}]"


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def known_integer(row: Row, name: str) -> int | None:
    """An integer column that may be NULL, or hold another value that another application wrote; None for these."""
    value = row[name]
    return value if isinstance(value, int) else None


class BadRow(TypeError):
    """A column holds a value of another type than the worker needs.  Another application wrote it."""


def integer(row: Row, name: str) -> int:
    """An integer column that is never NULL.  Raises BadRow for any other value."""
    value = row[name]
    if not isinstance(value, int):
        raise BadRow(f"{name} is not an integer")
    return value


def optional_integer(row: Row, name: str) -> int | None:
    """An integer column that may be NULL.  Raises BadRow for any other value."""
    value = row[name]
    return None if value is None else integer(row, name)


def text(row: Row, name: str) -> str:
    """A text column; NULL is the empty text."""
    return optional_text(row, name) or ""


def optional_text(row: Row, name: str) -> str | None:
    """A text column that may be NULL.  A number is read as its text, bytes as SQL writes them."""
    value = row[name]
    return value if value is None or type(value) is str else str(readable(value))


def readable(value: object) -> object:
    """A value of a column, as a reader can be shown it: bytes become text like X'68656C6C6F', as SQL writes them."""
    if not isinstance(value, list):
        return value
    more = "..." if len(value) > MAX_SHOWN_BYTES else ""
    return f"X'{bytes(value[:MAX_SHOWN_BYTES]).hex().upper()}{more}'"


def bad_column(
    row: Row, texts: Iterable[str], integers: Iterable[str], counts: Iterable[str] = ()
) -> str | None:
    """The fault of the first of these columns that holds bytes, a value that is no integer, or a count below 0."""
    for name in texts:
        if isinstance(cast("object", row[name]), list):
            return f"{name} is not text"
    for name in integers:
        if not isinstance(row[name], int | None):
            return f"{name} is not an integer"
    for name in counts:
        if (known_integer(row, name) or 0) < 0:
            return f"{name} is below 0"
    return None


def one(rows: Sequence[Row]) -> Row | None:
    """The first row; None if there is none."""
    return rows[0] if rows else None
