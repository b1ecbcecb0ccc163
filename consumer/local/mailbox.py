"""The rows of a local queue, and the messages made of them.  Every method is one transaction."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from consumer.limits import check_delay
from consumer.local.bell import datagram_socket, knock
from consumer.local.database import connect

if TYPE_CHECKING:
    import socket
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from consumer.ports import Clock

RETENTION_S: Final = 4 * 86_400
"""A message that nobody took for so long is deleted, as on Cloudflare."""
VISIBILITY_S: Final = 30
"""How long after its process died a message is given to another process that is already running."""
_EXPIRE_INTERVAL_MS: Final = 3_600_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    body TEXT NOT NULL,
    sent_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    in_flight INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS due ON messages(queue, due_ms);
"""
_SEND: Final = "INSERT INTO messages(queue, body, sent_ms, due_ms) VALUES (?1, ?2, ?3, ?4)"
_COUNT: Final = "SELECT count(*) FROM messages WHERE queue = ?1 AND (in_flight = 0 OR due_ms <= ?2)"
_TAKE: Final = """
UPDATE messages SET attempts = attempts + 1, in_flight = 1, due_ms = ?4
 WHERE id IN (SELECT id FROM messages WHERE queue = ?1 AND due_ms <= ?2 ORDER BY due_ms, id LIMIT ?3)
RETURNING id, body, attempts
"""
# When the oldest message is due, and when so many are due that a batch is full.
_DUE: Final = """
SELECT min(due_ms), (SELECT due_ms FROM messages WHERE queue = ?1 ORDER BY due_ms LIMIT 1 OFFSET ?2)
  FROM messages WHERE queue = ?1
"""
_DELETE: Final = "DELETE FROM messages WHERE id = ?1"
# One more attempt means that another process has taken the message over: it is not ours to move.
_RETRY: Final = "UPDATE messages SET due_ms = ?3, in_flight = 0 WHERE id = ?1 AND attempts = ?2"
_BURY: Final = """
UPDATE messages SET due_ms = ?3, in_flight = 0, attempts = 0, queue = ?4 WHERE id = ?1 AND attempts = ?2
"""
_RENEW: Final = "UPDATE messages SET due_ms = ?3 WHERE id = ?1 AND attempts = ?2 AND in_flight = 1"
_RECOVER: Final = "UPDATE messages SET due_ms = ?2, in_flight = 0 WHERE queue = ?1 AND in_flight = 1"
_EXPIRE: Final = "DELETE FROM messages WHERE queue = ?1 AND sent_ms <= ?2"


class LocalMessage:
    """`Message`.  Its verdict takes effect when the handler has ended."""

    __slots__ = ("attempts", "body", "decided", "delay_s", "id", "row")

    def __init__(self, row: int, body: object, attempts: int) -> None:
        self.row = row
        self.id = f"{row:032x}"
        self.body = body
        self.attempts = attempts
        self.decided = False
        self.delay_s: int | None = None
        """Seconds until the next delivery, or None for none."""

    def ack(self) -> None:
        """Done: do not deliver it again."""
        self.decided = True

    def retry(self, delay_s: int) -> None:
        """Deliver it again, after so many seconds at the earliest.  Raises `Refused` on the delay."""
        check_delay(delay_s)
        if not self.decided:
            self.decided = True
            self.delay_s = delay_s


class Mailbox:
    """A queue's rows, for `LocalQueue` and `LocalConsumer`.  Every method is one transaction."""

    def __init__(self, path: Path, name: str, clock: Clock) -> None:
        self.path = path.resolve()
        self.name = name
        self.socket_path = path.with_name(f"{name}.sock")
        self.listeners: list[Callable[[], None]] = []
        """What wakes the consumers of this process."""
        self._clock = clock
        self._ringer: socket.socket | None = None
        self._next_expire_ms = 0
        self._connection = connect(path)
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        if self._ringer is not None:
            self._ringer.close()
        self._connection.close()

    def ring(self) -> None:
        """Wake the consumer, wherever it is."""
        for wake in self.listeners:
            wake()
        if self.listeners:
            return
        if self._ringer is None:
            self._ringer = datagram_socket()
        if self._ringer is not None:
            knock(self._ringer, self.socket_path)

    def send(self, texts: list[str], delay_s: int) -> None:
        now_ms = self._clock.now_ms()
        due_ms = now_ms + delay_s * 1_000
        with self._transaction() as connection:
            connection.executemany(_SEND, [(self.name, text, now_ms, due_ms) for text in texts])

    def count(self) -> int:
        return int(self._connection.execute(_COUNT, (self.name, self._clock.now_ms())).fetchone()[0])

    def wait_ms(self, batch_size: int, batch_timeout_ms: int) -> int | None:
        """How long until a batch can be taken; 0 for now, None when nothing waits."""
        oldest_ms, full_ms = self._connection.execute(_DUE, (self.name, batch_size - 1)).fetchone()
        if oldest_ms is None:
            return None
        ready_ms = oldest_ms + batch_timeout_ms
        if full_ms is not None:
            ready_ms = min(ready_ms, full_ms)
        return max(0, int(ready_ms) - self._clock.now_ms())

    def take(self, limit: int) -> list[LocalMessage]:
        """Take what is due; it stays ours for `VISIBILITY_S` unless renewed.  Counts as an attempt."""
        now_ms = self._clock.now_ms()
        rows = self._connection.execute(
            _TAKE, (self.name, now_ms, limit, now_ms + VISIBILITY_S * 1_000)
        ).fetchall()
        return [LocalMessage(row, json.loads(body), attempts) for row, body, attempts in sorted(rows)]

    def renew(self, messages: list[LocalMessage]) -> None:
        due_ms = self._clock.now_ms() + VISIBILITY_S * 1_000
        with self._transaction() as connection:
            connection.executemany(_RENEW, [(one.row, one.attempts, due_ms) for one in messages])

    def settle(
        self,
        done: list[LocalMessage],
        again: list[tuple[LocalMessage, int]],
        dead: list[LocalMessage],
        dead_letter: Mailbox | None,
    ) -> None:
        now_ms = self._clock.now_ms()
        with self._transaction() as connection:
            connection.executemany(_DELETE, [(one.row,) for one in done])
            connection.executemany(
                _RETRY, [(one.row, one.attempts, now_ms + delay_s * 1_000) for one, delay_s in again]
            )
            if dead_letter is None:
                connection.executemany(_DELETE, [(one.row,) for one in dead])
            else:
                connection.executemany(
                    _BURY, [(one.row, one.attempts, now_ms, dead_letter.name) for one in dead]
                )
        if dead and dead_letter is not None:
            dead_letter.ring()

    def recover(self) -> None:
        """Make due again what was in flight."""
        self._connection.execute(_RECOVER, (self.name, self._clock.now_ms()))

    def expire(self) -> None:
        """Delete what is older than `RETENTION_S`, once an hour."""
        now_ms = self._clock.now_ms()
        if now_ms >= self._next_expire_ms:
            self._next_expire_ms = now_ms + _EXPIRE_INTERVAL_MS
            self._connection.execute(_EXPIRE, (self.name, now_ms - RETENTION_S * 1_000))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
