"""The rows of a local queue, and its messages.  Every method is one transaction.

The SQL here is about the file of the local host's queues, not about the product's database, so it does not belong to
`consumer/store`.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from consumer.limits import check_delay
from consumer.local.database import connect
from consumer.local.waker import datagram_socket, wake

if TYPE_CHECKING:
    import socket
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from consumer.ports import Clock

RETENTION_S: Final = 4 * 86_400
"""Seconds after which a message that was not delivered is deleted, as on Cloudflare."""
VISIBILITY_S: Final = 30
"""Seconds for which a taken message is hidden.  If its process dies, another running process gets it then."""
_EXPIRE_INTERVAL_MS: Final = 3_600_000

# The messages of all queues of a file.  One that is in flight is due again when its visibility ends.
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
# Add a message.
_SEND: Final = "INSERT INTO messages(queue, body, sent_ms, due_ms) VALUES (?1, ?2, ?3, ?4)"
# Count the messages that wait, without those that are being handled.
_COUNT: Final = "SELECT count(*) FROM messages WHERE queue = ?1 AND (in_flight = 0 OR due_ms <= ?2)"
# Take the messages that have been due for longest, and count the attempt.
_TAKE: Final = """
UPDATE messages SET attempts = attempts + 1, in_flight = 1, due_ms = ?4
 WHERE id IN (SELECT id FROM messages WHERE queue = ?1 AND due_ms <= ?2 ORDER BY due_ms, id LIMIT ?3)
RETURNING id, body, attempts
"""
# The due time of the first message, and the due time of the message that fills a batch.
_DUE: Final = """
SELECT min(due_ms), (SELECT due_ms FROM messages WHERE queue = ?1 ORDER BY due_ms LIMIT 1 OFFSET ?2)
  FROM messages WHERE queue = ?1
"""
# Delete a message that was acknowledged or given up.
_DELETE: Final = "DELETE FROM messages WHERE id = ?1"
# Deliver a message again later.  If its attempts have grown, another process has taken it over, and it stays there.
_RETRY: Final = "UPDATE messages SET due_ms = ?3, in_flight = 0 WHERE id = ?1 AND attempts = ?2"
# Move a message to the queue of dead letters, under the same condition.
_BURY: Final = """
UPDATE messages SET due_ms = ?3, in_flight = 0, attempts = 0, queue = ?4 WHERE id = ?1 AND attempts = ?2
"""
# Keep a message in flight for longer, under the same condition.
_RENEW: Final = "UPDATE messages SET due_ms = ?3 WHERE id = ?1 AND attempts = ?2 AND in_flight = 1"
# Make the messages due that were in flight when an earlier process died.
_RECOVER: Final = "UPDATE messages SET due_ms = ?2, in_flight = 0 WHERE queue = ?1 AND in_flight = 1"
# Delete the messages that are too old.
_EXPIRE: Final = "DELETE FROM messages WHERE queue = ?1 AND sent_ms <= ?2"


class LocalMessage:
    """`Message`.  Its verdict takes effect after the handler has ended."""

    __slots__ = ("attempts", "body", "decided", "delay_s", "id", "row")

    def __init__(self, row: int, body: object, attempts: int) -> None:
        self.row = row
        self.id = f"{row:032x}"
        self.body = body
        self.attempts = attempts
        self.decided = False
        self.delay_s: int | None = None
        """Seconds until the next delivery; None: no further delivery."""

    def ack(self) -> None:
        """The message is handled: do not deliver it again."""
        self.decided = True

    def retry(self, delay_s: int) -> None:
        """Deliver the message again, at least this many seconds later.  Raises `Refused` for a wrong delay."""
        check_delay(delay_s)
        if not self.decided:
            self.decided = True
            self.delay_s = delay_s


class Mailbox:
    """The rows of one queue, for `LocalQueue` and `LocalConsumer`."""

    def __init__(self, path: Path, name: str, clock: Clock) -> None:
        self.path = path.resolve()
        self.name = name
        self.socket_path = path.with_name(f"{name}.sock")
        self.listeners: list[Callable[[], None]] = []
        """Functions that wake the consumers of this process."""
        self._clock = clock
        self._sender: socket.socket | None = None
        self._next_expire_ms = 0
        self._connection = connect(path)
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
        self._connection.close()

    def ring(self) -> None:
        """Wake the consumer, in this process or another one."""
        for wake_consumer in self.listeners:
            wake_consumer()
        if self.listeners:
            return
        if self._sender is None:
            self._sender = datagram_socket()
        if self._sender is not None:
            wake(self._sender, self.socket_path)

    def send(self, texts: list[str], delay_s: int) -> None:
        now_ms = self._clock.now_ms()
        due_ms = now_ms + delay_s * 1_000
        if len(texts) == 1:  # a single statement is a transaction of its own
            self._connection.execute(_SEND, (self.name, texts[0], now_ms, due_ms))
            return
        with self._transaction() as connection:
            connection.executemany(_SEND, [(self.name, text, now_ms, due_ms) for text in texts])

    def count(self) -> int:
        return int(self._connection.execute(_COUNT, (self.name, self._clock.now_ms())).fetchone()[0])

    def wait_ms(self, batch_size: int, batch_timeout_ms: int) -> int | None:
        """Milliseconds until a batch can be taken; 0: now, None: the queue is empty."""
        oldest_ms, full_ms = self._connection.execute(_DUE, (self.name, batch_size - 1)).fetchone()
        if oldest_ms is None:
            return None
        ready_ms = oldest_ms + batch_timeout_ms
        if full_ms is not None:
            ready_ms = min(ready_ms, full_ms)
        return max(0, int(ready_ms) - self._clock.now_ms())

    def take(self, limit: int) -> list[LocalMessage]:
        """Take messages that are due, for `VISIBILITY_S` seconds or until they are renewed.  Counts as an attempt."""
        now_ms = self._clock.now_ms()
        rows = self._connection.execute(
            _TAKE, (self.name, now_ms, limit, now_ms + VISIBILITY_S * 1_000)
        ).fetchall()
        return [LocalMessage(row, json.loads(body), attempts) for row, body, attempts in sorted(rows)]

    def renew(self, messages: list[LocalMessage]) -> None:
        """Keep messages in flight for another `VISIBILITY_S` seconds."""
        due_ms = self._clock.now_ms() + VISIBILITY_S * 1_000
        with self._transaction() as connection:
            connection.executemany(_RENEW, [(message.row, message.attempts, due_ms) for message in messages])

    def settle(
        self,
        done: list[LocalMessage],
        again: list[tuple[LocalMessage, int]],
        dead: list[LocalMessage],
        dead_letter: Mailbox | None,
    ) -> None:
        """Apply the verdicts on a batch: delete `done`, deliver `again` after a delay in seconds, and move `dead` to
        the queue of dead letters, or delete them without one."""
        now_ms = self._clock.now_ms()
        with self._transaction() as connection:
            connection.executemany(_DELETE, [(message.row,) for message in done])
            retries = [
                (message.row, message.attempts, now_ms + delay_s * 1_000) for message, delay_s in again
            ]
            connection.executemany(_RETRY, retries)
            if dead_letter is None:
                connection.executemany(_DELETE, [(message.row,) for message in dead])
            else:
                letters = [(message.row, message.attempts, now_ms, dead_letter.name) for message in dead]
                connection.executemany(_BURY, letters)
        if dead and dead_letter is not None:
            dead_letter.ring()

    def recover(self) -> None:
        """Make the messages due that were in flight."""
        self._connection.execute(_RECOVER, (self.name, self._clock.now_ms()))

    def expire(self) -> None:
        """Delete messages older than `RETENTION_S`, once an hour."""
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
