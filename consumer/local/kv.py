"""`KeyValue` on a SQLite file of its own, which other processes may read.

The writes of one turn of the event loop share a commit.  `put` returns after that commit, because its caller then
deletes the outbox row, and the file must not lose the value after that.

The SQL here is about a file of the local host, not about the product's database, so it does not belong to
`consumer/store`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Final

from consumer.limits import check_status_key, check_value
from consumer.local.database import connect, port_error
from consumer.ports import PortError, TooSoon, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.ports import Clock

# The table of values, and an index of those that expire.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries(key TEXT PRIMARY KEY, value TEXT NOT NULL, expires_ms INTEGER)
WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring ON entries(expires_ms) WHERE expires_ms IS NOT NULL;
"""
# The value of a key, unless it has expired.
_GET: Final = "SELECT value FROM entries WHERE key = ?1 AND (expires_ms IS NULL OR expires_ms > ?2)"
# Write a value and its expiry time, in place of an earlier one.
_PUT: Final = "INSERT OR REPLACE INTO entries(key, value, expires_ms) VALUES (?1, ?2, ?3)"
# Delete some values that have expired.
_PURGE: Final = (
    "DELETE FROM entries WHERE key IN "
    "(SELECT key FROM entries WHERE expires_ms IS NOT NULL AND expires_ms <= ?1 LIMIT ?2)"
)
_PURGE_ROWS: Final = 500
"""Values that one purge deletes at most, so that no write waits long for it."""
_WRITE_INTERVAL_MS: Final = 1_000
_PURGE_INTERVAL_MS: Final = 10_000


class SqliteKeyValue:
    """`KeyValue` on a file."""

    def __init__(self, path: str | Path, clock: Clock, *, strict_rate: bool = True) -> None:
        """Open or create the file.  Raises `Unavailable` if that fails.

        With `strict_rate` a second write to a key within a second is `Unavailable` (429), as it may be on Cloudflare.
        It is on by default, so that no caller comes to rely on faster writes.
        """
        self._clock = clock
        self._strict_rate = strict_rate
        self._connection = connect(path)
        self._connection.executescript(_SCHEMA)
        self._entries: list[tuple[str, str, int | None]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._next_purge_ms = 0
        # The time of the last write of each key: those of about this second, and those of the second before.
        self._recent: dict[str, int] = {}
        self._earlier: dict[str, int] = {}
        self._recent_since_ms = 0

    async def get(self, key: str) -> str | None:
        """The value of a key; None if it has none, or the value has expired."""
        check_status_key(key)
        try:
            row = self._connection.execute(_GET, (key, self._clock.now_ms())).fetchone()
        except sqlite3.Error as error:
            raise _unavailable(error) from error
        return None if row is None else row[0]

    async def put(self, key: str, value: str, ttl_s: int | None = None) -> None:
        """Store a value for `ttl_s` seconds, or without an end.  Returns after the commit."""
        check_status_key(key)
        check_value(value, ttl_s)
        now_ms = self._clock.now_ms()
        if self._strict_rate:
            self._admit(key, now_ms)
        loop = asyncio.get_running_loop()
        if not self._entries:
            loop.call_soon(self._flush)
        waiter = loop.create_future()
        self._waiters.append(waiter)
        self._entries.append((key, value, None if ttl_s is None else now_ms + ttl_s * 1_000))
        await waiter

    def close(self) -> None:
        """Write the values that wait, then close the file."""
        self._flush()
        self._connection.close()

    def _admit(self, key: str, now_ms: int) -> None:
        """Note a write of a key.  Raises `Unavailable` if the last one was less than a second ago."""
        if not 0 <= now_ms - self._recent_since_ms < _WRITE_INTERVAL_MS:
            self._earlier, self._recent, self._recent_since_ms = self._recent, {}, now_ms
        written_ms = self._recent.get(key, self._earlier.get(key))
        if written_ms is not None and 0 <= now_ms - written_ms < _WRITE_INTERVAL_MS:
            raise TooSoon(f"429: a second write to {key!r} within a second")
        self._recent[key] = now_ms

    def _flush(self) -> None:
        entries, self._entries = self._entries, []
        waiters, self._waiters = self._waiters, []
        if not entries:
            return
        failure: PortError | None = None
        try:
            self._write(entries)
        except sqlite3.Error as error:
            failure = _unavailable(error)
        for waiter in waiters:
            if waiter.done():
                continue
            if failure is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(failure)

    def _write(self, entries: list[tuple[str, str, int | None]]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_PUT, entries)
            now_ms = self._clock.now_ms()
            if now_ms >= self._next_purge_ms:
                purged = connection.execute(_PURGE, (now_ms, _PURGE_ROWS)).rowcount
                # If this purge deleted as many as it may, there are probably more: the next write purges again.
                self._next_purge_ms = now_ms + (0 if purged == _PURGE_ROWS else _PURGE_INTERVAL_MS)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _unavailable(error: sqlite3.Error) -> PortError:
    """Any error of SQLite is about the file, because sizes and types were checked before."""
    return Unavailable(str(port_error(error)))
