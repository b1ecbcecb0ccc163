"""`Database` on D1."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pyodide.ffi import JsException

from consumer.limits import check_batch
from consumer.ports import PortError, Refused, Result, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Statement

_CODE: Final = re.compile(r": SQLITE_([A-Z]+)(?: \(extended: \w+\))?$")
"""The end of a message that D1 passes on from SQLite."""

_UNAVAILABLE: Final = frozenset(
    "BUSY CANTOPEN CORRUPT FULL INTERRUPT IOERR LOCKED NOMEM NOTADB PROTOCOL READONLY".split()
)
"""SQLite's codes for errors of the file or the machine.  All other codes are errors of the request."""

_REFUSED: Final = (
    "D1_TYPE_ERROR: ",
    "D1_ERROR: Wrong number of parameter bindings",
    "D1_ERROR: No SQL statements detected",
    "D1_ERROR: A prepared SQL statement must contain only one statement",
    "D1_ERROR: To execute a transaction, please use",
)
"""Beginnings of D1's own messages about errors of the request.

Every other message is `Unavailable`.  After a lost connection, a reset or an internal error a write may have been
committed (`Network connection lost`, `storage caused object to be reset`, `reset because its code was updated`, `Cannot
resolve D1 DB due to transient issue`, `Internal error while starting up D1 DB storage`).  An overload is temporary (`D1
DB is overloaded`, `Too many requests queued`, `exceeded timeout`).
developers.cloudflare.com/d1/observability/debug-d1
"""


class D1Database:
    """`Database` on the binding of a D1 database.  A batch is one round trip to it."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        """Run all statements in order, atomically.

        Raises `Refused` (nothing was written) or `Unavailable` (it may have been committed).
        """
        check_batch(statements)
        try:
            answers = await self._binding.batch([self._prepare(statement) for statement in statements])
        except JsException as error:
            raise port_error(str(error.message)) from error
        return [_result(answer) for answer in answers]

    def _prepare(self, statement: Statement) -> Any:
        prepared = self._binding.prepare(statement.sql)
        return prepared.bind(*statement.parameters) if statement.parameters else prepared


def port_error(message: str) -> PortError:
    """The error of the port for an error of D1, with D1's own text."""
    code = _CODE.search(message)
    refused = code[1] not in _UNAVAILABLE if code else message.startswith(_REFUSED)
    return Refused(message) if refused else Unavailable(message)


def _result(answer: Any) -> Result:
    meta = answer["meta"]
    rows = [dict(row) for row in answer["results"] or ()]
    return Result(rows, meta.get("changes") or 0, meta.get("rows_read"), meta.get("rows_written"))
