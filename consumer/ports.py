"""What the worker needs of a host; read this page first.

A host (`consumer.local`, `consumer.cloudflare`) implements these few methods, and no other part of the product knows
where it runs.  Every host refuses the same values.  The limits below are Cloudflare's
(developers.cloudflare.com/d1/platform/limits, /queues, /kv, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

Value = str | int | float | None
"""The value of a column or of a bound parameter.  Not bool, and no parameter is bytes.

A column into which another application wrote bytes arrives as a list of numbers, as D1 returns it.  `store/sql.py` has
the functions that read a column.

D1 binds every number as REAL, so every host does: `?1 / 2` of 7 is 3.5, and `?1 || ''` is `7.0`.  INTEGER columns,
keys, comparisons and LIMIT work as usual; text, JSON and division need CAST(?1 AS INTEGER)."""

Row = Mapping[str, Value]

MAX_INTEGER: Final = 2**53 - 2
"""The largest integer that D1 binds.  A larger one becomes a BigInt in JavaScript, which D1 refuses."""
MAX_PARAMETERS: Final = 100
MAX_SQL_BYTES: Final = 100_000
MAX_VALUE_BYTES: Final = 2_000_000
"""The largest text, and the largest row, in D1."""
MAX_MESSAGE_BYTES: Final = 128_000 - 100
MAX_BATCH_MESSAGES: Final = 100
MAX_BATCH_BYTES: Final = 256_000
"""The sum of all messages of one `send`."""
MAX_DELAY_S: Final = 86_400
MAX_KEY_BYTES: Final = 512
MAX_KV_VALUE_BYTES: Final = 25 * 1024 * 1024
MIN_TTL_S: Final = 60
"""The shortest time to live of a value in the status store."""


class PortError(Exception):
    """A host could not carry out a request."""


class Unavailable(PortError):
    """The service did not answer, or is overloaded.  A write MAY have been committed."""


class Exhausted(Unavailable):
    """The invocation has used up what the platform allows it: nothing more is sent, and another one has to go on."""


class NoAnswer(Unavailable):
    """The service did not answer in time.  A write may still be carried out later."""


class TooSoon(Unavailable):
    """A second write to one key of the status store within a second.  The first one counts; write the second later."""


class Refused(PortError):
    """The request itself is wrong (a constraint, a type, a size).  The host wrote nothing."""


class Statement(NamedTuple):
    """One SQL statement with numbered placeholders (?1, ?2, ...)."""

    sql: str
    parameters: tuple[Value, ...] = ()


class Result(NamedTuple):
    """The rows of one statement, and the counts of the platform (None: it does not count)."""

    rows: Sequence[Row] = ()
    changes: int = 0
    rows_read: int | None = None
    rows_written: int | None = None


class Database(Protocol):
    """SQLite, here or on D1.  A batch is one round trip, and the only kind of transaction."""

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        """Run all statements in order, atomically.

        Raises `Unavailable` (the batch may have been committed) or `Refused` (nothing was written).
        """
        ...


class KeyValue(Protocol):
    """Eventually consistent storage for readers, with one write per second and key.  The database is the truth."""

    async def get(self, key: str) -> str | None: ...

    async def put(self, key: str, value: str, ttl_s: int | None = None) -> None:
        """Store a value, for `ttl_s` seconds (at least `MIN_TTL_S`), or without an end.  Raises `PortError`."""
        ...


class Blobs(Protocol):
    """Payloads that are too large for a row.  The worker writes each key once."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes) -> None: ...

    async def delete(self, key: str) -> None: ...


class Queue(Protocol):
    """Sends doorbells.  Each one is delivered at least once, in any order, and possibly late."""

    async def send(self, bodies: Sequence[Mapping[str, object]], delay_s: int = 0) -> None:
        """Send up to `MAX_BATCH_MESSAGES` JSON objects.  Raises `Refused` on a size, `Unavailable` otherwise."""
        ...

    async def backlog(self) -> int | None:
        """The number of messages that wait; None if the host does not know it."""
        ...


class Message(Protocol):
    """One delivered message.  The first call of `ack` or `retry` counts, and the worker makes exactly one."""

    @property
    def id(self) -> str: ...

    @property
    def body(self) -> object:
        """The content as it was sent, not checked yet."""
        ...

    @property
    def attempts(self) -> int:
        """1 on the first delivery."""
        ...

    def ack(self) -> None: ...

    def retry(self, delay_s: int) -> None: ...


class Clock(Protocol):
    """Wall time.  Code that waits uses `asyncio.sleep`, and with it the clock of the event loop."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...


class Limiter(Protocol):
    """A limit on the number of requests in a time.  It may be inexact: it protects the service and counts no money."""

    async def allow(self, who: str) -> bool:
        """Count a request of `who`, such as a key or an address.  False: it has made too many.  Raises nothing."""
        ...


class Entropy(Protocol):
    """Randomness.  It is passed in, so that a test can repeat a run exactly."""

    def draw(self) -> float:
        """A number in [0, 1)."""
        ...

    def token(self) -> str:
        """32 hexadecimal characters: 128 random bits, which an attacker cannot guess."""
        ...
