"""What the worker needs of the world; the page to read first.

A host (`consumer.local`, `consumer.cloudflare`) implements these few methods and nothing else
of the product knows where it runs.  Whatever one host refuses, every host refuses: the limits
below are Cloudflare's (developers.cloudflare.com/d1/platform/limits, /queues, /kv, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

Value = str | int | float | None
"""What a column or a bound parameter may be.  No bytes (they come back from D1 as lists), no bool.

D1 binds every number as REAL, so every host does: `?1 / 2` of 7 is 3.5, and `?1 || ''` is `7.0`.  INTEGER columns,
keys, comparisons and LIMIT are not touched by it; text, JSON and division need CAST(?1 AS INTEGER)."""

Row = Mapping[str, Value]

MAX_INTEGER: Final = 2**53 - 2
"""The largest integer D1 binds; anything beyond becomes a BigInt and is refused."""
MAX_PARAMETERS: Final = 100
MAX_SQL_BYTES: Final = 100_000
MAX_VALUE_BYTES: Final = 2_000_000
"""A string, and a row, in D1."""
MAX_MESSAGE_BYTES: Final = 128_000 - 100
MAX_BATCH_MESSAGES: Final = 100
MAX_BATCH_BYTES: Final = 256_000
"""All messages of one `send` together."""
MAX_DELAY_S: Final = 86_400
MAX_KEY_BYTES: Final = 512
MAX_KV_VALUE_BYTES: Final = 25 * 1024 * 1024
MIN_TTL_S: Final = 60


class PortError(Exception):
    """A host could not do what it was asked to."""


class Unavailable(PortError):
    """The other side did not answer, or is overloaded.  A write MAY have been committed."""


class Refused(PortError):
    """The request itself is wrong (a constraint, a type, a size).  Nothing was written."""


class Statement(NamedTuple):
    """One SQL statement with numbered placeholders (?1, ?2, ...)."""

    sql: str
    parameters: tuple[Value, ...] = ()


class Result(NamedTuple):
    """What one statement gave: its rows, and what the platform counted (None where it does not count)."""

    rows: Sequence[Row] = ()
    changes: int = 0
    rows_read: int | None = None
    rows_written: int | None = None


class Database(Protocol):
    """SQLite, wherever it runs.  A batch is one round trip and the only transaction there is."""

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        """Run all statements in order, atomically.

        Raises `Unavailable` (ambiguous: it may have been committed) or `Refused` (nothing was written).
        """
        ...


class KeyValue(Protocol):
    """Eventually consistent storage for readers.  One write per second and key; never the truth."""

    async def get(self, key: str) -> str | None: ...

    async def put(self, key: str, value: str, ttl_s: int | None = None) -> None:
        """Store a value, for `ttl_s` seconds (at least `MIN_TTL_S`) or for good.  Raises `PortError`."""
        ...


class Blobs(Protocol):
    """Payloads too large for a row.  Keys are written once."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes) -> None: ...

    async def delete(self, key: str) -> None: ...


class Queue(Protocol):
    """Doorbells out: at least once, unordered, maybe late."""

    async def send(self, bodies: Sequence[Mapping[str, object]], delay_s: int = 0) -> None:
        """Send up to `MAX_BATCH_MESSAGES` JSON objects.  Raises `Refused` on a size, `Unavailable` otherwise."""
        ...

    async def backlog(self) -> int | None:
        """How many messages wait, or None where the host cannot tell."""
        ...


class Message(Protocol):
    """One delivered message.  The first of `ack` and `retry` decides; it gets exactly one."""

    @property
    def id(self) -> str: ...

    @property
    def body(self) -> object:
        """Whatever was sent: nothing is checked yet."""
        ...

    @property
    def attempts(self) -> int:
        """1 on the first delivery."""
        ...

    def ack(self) -> None: ...

    def retry(self, delay_s: int) -> None: ...


class Clock(Protocol):
    """Wall time.  Waiting is `asyncio.sleep`, on whatever clock the event loop has."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...


class Entropy(Protocol):
    """Randomness, passed in so that a run can be repeated."""

    def draw(self) -> float:
        """A number in [0, 1)."""
        ...

    def token(self) -> str:
        """32 hexadecimal characters that nobody can guess."""
        ...
