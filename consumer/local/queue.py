"""`Queue` on a SQLite file, and the consumer that delivers from it by Cloudflare's rules.

The consumer does not poll.  A send wakes a consumer of its own process directly and one of another process by a
datagram to a socket beside the file; a timer wakes it for a delayed message.  Messages outlive the process, and those
that it was handling when it died are delivered again.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumer.limits import check_delay, encode_messages
from consumer.local.mailbox import VISIBILITY_S, LocalMessage, Mailbox
from consumer.local.waker import Waker
from consumer.ports import MAX_BATCH_MESSAGES, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from consumer.ports import Clock, Message

    Handler = Callable[[list[Message]], Awaitable[None]]

WALL_S: Final = 15 * 60
"""Seconds that a handler may take for a batch, as on Cloudflare."""
MAX_RETRIES: Final = 100
MAX_BATCH_TIMEOUT_S: Final = 60

_POLL_S: Final = 1.0
"""Seconds between two polls, where another process cannot wake this one."""
_RECHECK_S: Final = 30.0
"""Seconds of the longest timer: a timer uses another clock than due times do, and the two may drift apart."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

_log = logging.getLogger(__name__)


class LocalQueue:
    """`Queue`: one of the queues of a file, by its name."""

    def __init__(self, path: str | Path, name: str, clock: Clock) -> None:
        """Open or create the file.  Raises `Unavailable` if that fails, `Refused` for a wrong name."""
        if not _NAME.fullmatch(name):
            raise Refused(f"a queue's name is up to 63 of a-z, 0-9 and '-': {name!r}")
        self.mailbox = Mailbox(Path(path), name, clock)

    async def send(self, bodies: Sequence[Mapping[str, object]], delay_s: int = 0) -> None:
        """Send up to `MAX_BATCH_MESSAGES` JSON objects.  Returns after the commit.

        Raises `Refused` for a wrong size or a value that would arrive changed, `Unavailable` for an error of the file.
        """
        texts = encode_messages(bodies, delay_s)
        try:
            self.mailbox.send(texts, delay_s)
        except sqlite3.Error as error:
            raise Unavailable(str(error)) from error
        self.mailbox.ring()

    async def backlog(self) -> int:
        """The number of messages that wait, due and delayed ones, without those that are being handled."""
        try:
            return self.mailbox.count()
        except sqlite3.Error as error:
            raise Unavailable(str(error)) from error

    def close(self) -> None:
        """Close the file.  The caller stops the consumer first."""
        self.mailbox.close()


class LocalConsumer:
    """Delivers a queue's messages to a handler, in batches, by Cloudflare's rules.

    * A batch is delivered when it is full, or when its oldest message has been due for `batch_timeout_s`.  Up to
      `max_concurrency` batches are handled at the same time.
    * The first verdict on a message counts.  A message without a verdict is acknowledged if the handler returns, and
      retried after `retry_delay_s` if the handler raises or takes longer than `WALL_S`.
    * A message is delivered at most `max_retries` + 1 times.  Then it moves to the queue `dead_letter` of the same
      file, where its attempts start anew.  Without such a queue it is deleted.

    One consumer in one process is the normal case.  A second one on the same queue is safe, but when it starts, it
    delivers the messages again that the first one is handling.
    """

    def __init__(
        self,
        queue: LocalQueue,
        handler: Handler,
        *,
        batch_size: int = 10,
        batch_timeout_s: float = 5.0,
        max_retries: int = 3,
        retry_delay_s: int = 0,
        dead_letter: LocalQueue | None = None,
        max_concurrency: int = 1,
    ) -> None:
        check_delay(retry_delay_s)
        if not 1 <= batch_size <= MAX_BATCH_MESSAGES:
            raise Refused(f"a batch is 1 to {MAX_BATCH_MESSAGES} messages, not {batch_size}")
        if not (0 <= batch_timeout_s <= MAX_BATCH_TIMEOUT_S and 0 <= max_retries <= MAX_RETRIES):
            raise Refused(f"at most {MAX_BATCH_TIMEOUT_S} s for a batch, and {MAX_RETRIES} retries")
        if dead_letter is not None and dead_letter.mailbox.path != queue.mailbox.path:
            raise Refused("dead letters stay in the same file")
        self._mailbox = queue.mailbox
        self._dead_letter = None if dead_letter is None else dead_letter.mailbox
        self._handler = handler
        self._batch_size = batch_size
        self._batch_timeout_ms = round(batch_timeout_s * 1_000)
        self._max_retries = max_retries
        self._retry_delay_s = retry_delay_s
        self._max_concurrency = max_concurrency
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._handling: set[asyncio.Task[None]] = set()
        self._waker: Waker | None = None

    def start(self) -> None:
        """Begin to deliver, first the messages that were in flight when an earlier process died.

        It needs a running event loop.  Raises `Unavailable` if the file cannot be read.
        """
        if self._pump is not None:
            raise RuntimeError("the consumer is started already")
        try:
            self._mailbox.recover()
        except sqlite3.Error as error:
            raise Unavailable(str(error)) from error
        self._mailbox.listeners.append(self._wake.set)
        self._waker = Waker.listen(self._mailbox.socket_path, self._wake.set)
        self._pump = asyncio.create_task(self._deliver_forever())

    async def stop(self, grace_s: float = 30.0) -> None:
        """Stop delivering, and give handlers `grace_s` seconds to end.  Messages of a handler that is cut off are
        retried."""
        if self._pump is None:
            return
        pump, self._pump = self._pump, None
        self._mailbox.listeners.remove(self._wake.set)
        if self._waker is not None:
            self._waker.close()
        pump.cancel()
        await asyncio.wait({pump})
        if self._handling:
            await asyncio.wait(self._handling, timeout=grace_s)
        for task in self._handling:
            task.cancel()
        if self._handling:
            await asyncio.wait(self._handling)

    async def _deliver_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                wait_s = self._deliver()
            except sqlite3.Error:
                _log.exception("the queue %s cannot be read", self._mailbox.name)
                wait_s = _POLL_S
            await self._sleep(wait_s)

    def _deliver(self) -> float | None:
        """Start every batch that can start now.  Returns the seconds until the next one can; None: wait until woken."""
        self._mailbox.expire()
        while len(self._handling) < self._max_concurrency:
            wait_ms = self._mailbox.wait_ms(self._batch_size, self._batch_timeout_ms)
            if wait_ms is None or wait_ms > 0:
                return self._wait_s(wait_ms)
            messages = self._mailbox.take(self._batch_size)
            # The process died in the last attempt of these: do not deliver them again.
            spent = [message for message in messages if message.attempts > self._max_retries + 1]
            if spent:
                self._settle(spent, raised=True)
                messages = [message for message in messages if message not in spent]
            if messages:
                task = asyncio.create_task(self._handle(messages))
                self._handling.add(task)
                task.add_done_callback(self._handled)
        return None

    def _wait_s(self, wait_ms: int | None) -> float | None:
        """Seconds until the next attempt to deliver.  Without a waker, the consumer polls."""
        wait_s = None if wait_ms is None else min(wait_ms / 1_000, _RECHECK_S)
        if self._waker is not None:
            return wait_s
        return _POLL_S if wait_s is None else min(wait_s, _POLL_S)

    async def _sleep(self, wait_s: float | None) -> None:
        timer = None if wait_s is None else asyncio.get_running_loop().call_later(wait_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _handle(self, messages: list[LocalMessage]) -> None:
        raised = True
        hold = _Hold(self._mailbox, messages)
        try:
            async with asyncio.timeout(WALL_S):
                await self._handler([*messages])
            raised = False
        except Exception:  # noqa: BLE001 - after any error the batch is retried
            _log.exception("a batch of %d from the queue %s failed", len(messages), self._mailbox.name)
        finally:
            hold.release()
            try:
                self._settle(messages, raised=raised)
            except sqlite3.Error:
                # The messages stay in flight, and are delivered again when their visibility ends.
                _log.exception("the verdicts on %d messages are lost", len(messages))

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._handling.discard(task)
        self._wake.set()

    def _settle(self, messages: list[LocalMessage], *, raised: bool) -> None:
        done: list[LocalMessage] = []
        again: list[tuple[LocalMessage, int]] = []
        dead: list[LocalMessage] = []
        undecided_s = self._retry_delay_s if raised else None
        for message in messages:
            delay_s = message.delay_s if message.decided else undecided_s
            if delay_s is None:
                done.append(message)
            elif message.attempts <= self._max_retries:
                again.append((message, delay_s))
            else:
                dead.append(message)
        if dead and self._dead_letter is None:
            _log.error(
                "%d messages of the queue %s were deleted after too many deliveries",
                len(dead),
                self._mailbox.name,
            )
        self._mailbox.settle(done, again, dead, self._dead_letter)


class _Hold:
    """Renews the messages of a batch while its handler runs."""

    def __init__(self, mailbox: Mailbox, messages: list[LocalMessage]) -> None:
        self._mailbox = mailbox
        self._messages = messages
        self._timer = self._later()

    def release(self) -> None:
        self._timer.cancel()

    def _later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(VISIBILITY_S / 3, self._renew)

    def _renew(self) -> None:
        self._timer = self._later()
        try:
            self._mailbox.renew(self._messages)
        except sqlite3.Error:
            _log.exception("%d messages could not be held", len(self._messages))
