"""Named parameters on top of numbered ones, which are all that D1 knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from consumer.core.strictjson import dump_json
from consumer.ports import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from consumer.ports import Row, Value

_NAME: Final = re.compile(r"(?<![:\w]):([a-z_]+)")

FIRST_EXECUTION: Final = 2**40
PER_TASK: Final = 1024
FIRST_FOREIGN_EXECUTION: Final = 2**52
"""Ids of our executions: FIRST_EXECUTION + task * PER_TASK + n.  Other applications count up from 1 and, once there
are ours, from FIRST_FOREIGN_EXECUTION (by trigger), so that theirs never fall among ours.
The id itself makes a begin repeatable, orders the attempts and is the idempotency key, without another index."""

OPEN: Final = "('running', 'waiting', 'unknown')"
FINISHED: Final = "('completed', 'failed', 'cancelled')"
APPLIES: Final = """(budgets.scope = 'organization' AND budgets.scope_id = tasks.organization_id
        OR budgets.scope = 'template' AND budgets.scope_id = tasks.template_id
        OR budgets.scope = 'task' AND budgets.scope_id = tasks.id)"""
"""Whether a budget applies to a task."""

CHUNK_BYTES: Final = 1_000_000
"""How much JSON one parameter carries: half of what D1 takes."""


_IDS: Final = re.compile(r"\{ids of ([^}]+)\}")
_ID_RANGE: Final = (
    rf"({FIRST_EXECUTION} + \1 * {PER_TASK}) AND ({FIRST_EXECUTION} + \1 * {PER_TASK} + {PER_TASK - 1})"
)


class Query:
    """SQL with `:names`; calling it with their values makes a Statement.

    `{ids of x}` stands for the range of the executions of task x, `{OPEN}` and `{FINISHED}` for states."""

    def __init__(self, sql: str) -> None:
        self._names: list[str] = []
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
    """The id of a task's `number`-th execution, counted from 1."""
    return FIRST_EXECUTION + task_id * PER_TASK + number


def task_of(execution: int) -> int:
    """The task that one of our execution ids belongs to."""
    return (execution - FIRST_EXECUTION) // PER_TASK


def number_of(execution: int) -> int:
    """Which of its task's executions it is, counted from 1."""
    return (execution - FIRST_EXECUTION) % PER_TASK


def chunks(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """JSON arrays of all rows, each small enough for one parameter."""
    part: list[str] = []
    size = 0
    for row in rows:
        text = dump_json(row)
        length = len(text) if text.isascii() else len(text.encode())
        if part and size + length > CHUNK_BYTES:
            yield f"[{','.join(part)}]"
            part, size = [], 0
        part.append(text)
        size += length + 1
    if part:
        yield f"[{','.join(part)}]"


def integer(row: Row, name: str) -> int:
    """A column that is never NULL."""
    value = row[name]
    if not isinstance(value, int):
        msg = f"{name} is not an integer"
        raise TypeError(msg)
    return value


def optional_integer(row: Row, name: str) -> int | None:
    """An integer column that may be NULL."""
    value = row[name]
    return None if value is None else integer(row, name)


def text(row: Row, name: str) -> str:
    """A text column; NULL is the empty text."""
    value = row[name]
    return "" if value is None else str(value)


def optional_text(row: Row, name: str) -> str | None:
    """A text column that may be NULL."""
    value = row[name]
    return None if value is None else str(value)


def one(rows: Sequence[Row]) -> Row | None:
    """The first row, if there is one."""
    return rows[0] if rows else None
