"""`Database` on one SQLite file, with D1's limits and D1's treatment of numbers.

SQL that works here must work on D1.  So this host refuses the same statements as D1, and changes numbers as D1 does: a
bound integer arrives as REAL, because a number in JavaScript is a double, and a REAL without a fraction comes back as
an integer.

The PRAGMAs and transactions here are about the connection of the local host; the product's own statements are in
`consumer/store`.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

from consumer.ports import (
    MAX_INTEGER,
    MAX_PARAMETERS,
    MAX_SQL_BYTES,
    MAX_VALUE_BYTES,
    PortError,
    Refused,
    Result,
    Row,
    Statement,
    Unavailable,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Synchronous = Literal["NORMAL", "FULL"]
"""When a commit is on the disk: NORMAL keeps it after a crash of the process, FULL after a loss of power too."""

_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: MAX_SQL_BYTES,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: MAX_PARAMETERS,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 5,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PRAGMAS: Final = _words("""
    case_sensitive_like data_version defer_foreign_keys foreign_key_check foreign_key_list foreign_keys
    ignore_check_constraints index_info index_list index_xinfo legacy_alter_table optimize page_size
    quick_check recursive_triggers reverse_unordered_selects table_info table_list table_xinfo
""")
_SWITCHES: Final = _words("""
    case_sensitive_like ignore_check_constraints legacy_alter_table recursive_triggers reverse_unordered_selects
""")
"""Pragmas that may be read but not set, because setting one changes the connection for every later batch."""

_FUNCTIONS: Final = _words("""
    abs changes char coalesce format glob hex ifnull iif instr last_insert_rowid length like likelihood likely
    lower ltrim max min nullif printf quote random randomblob replace round rtrim sign substr substring
    total_changes trim typeof unicode unlikely upper zeroblob

    current_date current_time current_timestamp date datetime julianday strftime time unixepoch

    acos acosh asin asinh atan atan2 atanh ceil cos cosh degrees exp floor ln log log2 mod pi pow radians sin
    sinh sqrt tan tanh trunc

    avg count group_concat sum total
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number

    -> ->> json json_array json_array_length json_each json_extract json_group_array json_group_object
    json_insert json_object json_patch json_quote json_remove json_replace json_set json_tree json_type
    json_valid

    bm25 highlight match snippet

    sqlite_drop_column sqlite_rename_column sqlite_rename_quotefix sqlite_rename_table sqlite_rename_test
""")
"""Functions that both this SQLite (3.40 or newer) and D1 have.  SQLite alters tables with those of the last line."""

_FORBIDDEN: Final = frozenset(
    {
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_CREATE_TEMP_TABLE,
        sqlite3.SQLITE_CREATE_TEMP_INDEX,
        sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
        sqlite3.SQLITE_CREATE_TEMP_VIEW,
    }
)

_UNAVAILABLE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
"""Errors of the file or the machine.  All other codes are errors of the request."""

_FIRST_WORD: Final = re.compile(r"(?:[\s;\ufeff]|--[^\n]*|/\*.*?(?:\*/|\Z))*(\w*)", re.DOTALL)
_TRANSACTIONS: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"})
_READS: Final = frozenset({"SELECT", "VALUES", "EXPLAIN"})
_MAX_KNOWN: Final = 2_000
_CHECKPOINT_PAGES: Final = 4_000
"""Pages of the log (16 MB) after which SQLite copies them into the file.  Many commits change the same pages, and each
of these is copied once: with SQLite's default of 1,000 pages, a task wrote a fifth more blocks."""
_PLAIN: Final = frozenset({int, str, type(None)})
_SAFE_INTEGER: Final = 2**53 - 1
_INFINITY: Final = float("inf")


_UNDECODABLE: Final = "Could not decode to UTF-8"
"""What Python's module says of a text that is not UTF-8.  Such a batch is repeated with a slower reader."""


class UndecodableText(Exception):
    """A column holds a text that is not UTF-8."""


class SqliteDatabase:
    """`Database` on a file.  It works on the event loop's own thread and never suspends.

    It has no thread of its own on purpose: a batch takes tens of microseconds, which is less than handing it to a
    thread would cost, and without a thread a test can repeat a run exactly.  The price: a caller that awaits only
    batches does not let other tasks run.
    """

    def __init__(
        self, path: str | Path, *, synchronous: Synchronous = "NORMAL", busy_timeout_ms: int = 5_000
    ) -> None:
        """Open or create the file.  Raises `Unavailable` if that fails.

        `busy_timeout_ms`: milliseconds that a batch, and with it the whole process, waits while another process writes.
        """
        self._reads: dict[str, bool] = {}
        self._closed = False
        self._connection = connect(path, synchronous=synchronous, busy_timeout_ms=busy_timeout_ms)
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._connection.execute("PRAGMA recursive_triggers=OFF")
        for limit, value in _LIMITS.items():
            self._connection.setlimit(limit, value)
        self._connection.set_authorizer(self._authorize)
        self._cursor = self._connection.cursor()

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        """Run all statements in order, atomically.

        Raises `Refused` (a constraint, a type, a size, wrong SQL: nothing was written) or `Unavailable` (the file is
        locked, full or damaged).
        """
        return self.run(statements)

    def run(self, statements: Sequence[Statement]) -> list[Result]:
        """`batch` for callers without an event loop: migrations and the command line."""
        try:
            return self._transact(statements)
        except UndecodableText:
            self._connection.text_factory = _decode
            try:
                return self._transact(statements)
            finally:
                self._connection.text_factory = str

    def _transact(self, statements: Sequence[Statement]) -> list[Result]:
        if not statements:
            raise Refused("a batch needs at least one statement")
        reads = self._reads
        only_reads = True
        bound = []
        for statement in statements:
            sql = statement.sql
            known = reads.get(sql)
            only_reads &= self._learn(sql) if known is None else known
            bound.append((sql, _bind(statement.parameters)))
        try:
            if only_reads and len(bound) == 1:
                return [self._run(*bound[0])]
            self._cursor.execute("BEGIN" if only_reads else "BEGIN IMMEDIATE")
            results = [self._run(sql, parameters) for sql, parameters in bound]
            self._cursor.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, (sqlite3.Error, sqlite3.Warning, UnicodeError, MemoryError)):
                if _UNDECODABLE in str(error):
                    raise UndecodableText from error
                raise self._port_error(error) from error
            raise
        return results

    @contextmanager
    def vm_steps(self) -> Iterator[list[int]]:
        """Count the steps of SQLite's virtual machine, as the only element of a list.  For tests; it is slow."""
        steps = [0]

        def count() -> int:
            steps[0] += 1
            return 0

        self._connection.set_progress_handler(count, 1)
        try:
            yield steps
        finally:
            self._connection.set_progress_handler(None, 0)

    def close(self) -> None:
        """Close the file.  Later batches are `Unavailable`."""
        if not self._closed:
            self._closed = True
            self._connection.close()

    def _run(self, sql: str, parameters: list[Value]) -> Result:
        cursor = self._cursor
        before = self._connection.total_changes
        cursor.execute(sql, parameters)
        if cursor.description is None:
            return Result((), self._connection.total_changes - before)
        rows = _rows(cursor)
        return Result(rows, self._connection.total_changes - before)

    def _roll_back(self) -> None:
        """Leave no transaction and no half-read statement behind."""
        # After an error that makes ROLLBACK impossible, SQLite has rolled back by itself.
        with suppress(sqlite3.Error):
            self._cursor.close()
            self._cursor = self._connection.cursor()
            if self._connection.in_transaction:
                self._cursor.execute("ROLLBACK")

    def _learn(self, sql: str) -> bool:
        """Whether a new statement only reads.  Raises `Refused` for a text that is not a statement of a batch."""
        word = first_word(sql)
        if not word:
            raise Refused("a statement without SQL")
        if word in _TRANSACTIONS:
            raise Refused(f"{word} is not allowed in a batch: the batch itself is the transaction")
        if len(self._reads) >= _MAX_KNOWN:
            self._reads.clear()
        self._reads[sql] = word in _READS
        return word in _READS

    def _authorize(self, action: int, first: str | None, second: str | None, *_where: str | None) -> int:
        """Allow the actions that D1 allows.  SQLite calls this when it compiles a statement, not when it runs it."""
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = second is not None and second.lower() in _FUNCTIONS
        elif action == sqlite3.SQLITE_PRAGMA:
            allowed = first in _PRAGMAS and (second is None or first not in _SWITCHES)
        elif action == sqlite3.SQLITE_CREATE_VTABLE:
            allowed = second is not None and second.lower() in {"fts5", "fts5vocab"}
        else:
            allowed = action not in _FORBIDDEN and not (first or "").startswith("_cf_")
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    def _port_error(self, error: Exception) -> PortError:
        return Unavailable("the database is closed") if self._closed else port_error(error)


def connect(
    path: str | Path, *, synchronous: Synchronous = "NORMAL", busy_timeout_ms: int = 5_000
) -> sqlite3.Connection:
    """Open or create a file that other processes may read while this one writes.

    Transactions are explicit.  Raises `Unavailable` if the file cannot be opened.
    """
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, cached_statements=512, timeout=busy_timeout_ms / 1_000
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={synchronous}")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA cache_size=-32768")
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise Unavailable(f"{path}: {error}") from error
    return connection


def first_word(sql: str) -> str:
    """The first word of a statement in upper case, after blanks and comments; an empty text if it has no word."""
    match = _FIRST_WORD.match(sql)
    return match[1].upper() if match else ""


def port_error(error: Exception) -> PortError:
    """The error of the port for an error of SQLite, with SQLite's own text."""
    if isinstance(error, MemoryError):
        # SQLite reports a statement whose program exceeds its limit as a lack of memory.
        return Refused("the statement is too large")
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte of the code is the kind of error: SQLITE_BUSY_SNAPSHOT is a kind of SQLITE_BUSY.
    if code is not None and code & 0xFF in _UNAVAILABLE:
        return Unavailable(str(error))
    return Refused(str(error))


def _bind(parameters: Sequence[Value]) -> list[Value]:
    bound: list[Value] = []
    for value in parameters:
        kind = type(value)
        if kind is str or value is None:
            bound.append(value)
        elif kind is int and -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            bound.append(float(value))
        elif kind is float and -_INFINITY < value < _INFINITY:  # type: ignore[operator]
            bound.append(value)
        else:
            raise Refused(f"parameter {len(bound) + 1} cannot be bound: {_describe(value)}")
    return bound


def _describe(value: object) -> str:
    return repr(value) if isinstance(value, (int, float)) else f"type {type(value).__name__}"


def _rows(cursor: sqlite3.Cursor) -> Sequence[Row]:
    records = cursor.fetchall()
    if not records:
        return ()
    names = [column[0] for column in cursor.description]
    if not _PLAIN.issuperset(map(type, chain.from_iterable(records))):
        records = [[_read(value) for value in record] for record in records]
    return [dict(zip(names, record, strict=True)) for record in records]


def _decode(text: bytes) -> str:
    """Text as D1 returns it: what is not UTF-8 becomes U+FFFD."""
    return text.decode(errors="replace")


def _read(value: Value | bytes) -> Value:
    """The value of a column as D1 returns it, through JavaScript and JSON."""
    if isinstance(value, bytes):
        return list(value)  # type: ignore[return-value]  # see `ports.Value`
    if isinstance(value, float):
        if value.is_integer():
            return int(value) if abs(value) <= _SAFE_INTEGER else value
        return value if -_INFINITY < value < _INFINITY else None
    return value
