"""Replies of a running Worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The Worker's decision about a directly delivered batch: an outcome, and one verdict per message."""

    outcome: str
    acked: tuple[str, ...]
    retried: Mapping[str, float | None]
    """Message id -> delay in seconds, or None where the Worker named none."""


@dataclass(frozen=True, slots=True)
class Used:
    """The usage of one SQL text in an event, by D1's own counts."""

    count: int
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Event:
    """The usage of the platform by one event, measured at its bindings."""

    event: str
    """fetch, queue or scheduled."""
    detail: str
    """The method and path, the queue, or the cron expression."""
    ms: float
    messages: int
    attempts: int
    """The highest attempt of its messages."""
    trips: int
    """Batches sent to D1."""
    statements: Mapping[str, Used]
    """Usage by SQL text."""
    parameters: int
    """The maximum of one statement."""
    sql_bytes: int
    value_bytes: int
    """The size of the longest bound text."""
    operations: Mapping[str, int]
    """The number of calls of each method of KV, R2 and Queues: `KvNamespace.put`."""
    sent: int
    """Messages sent to queues."""
    fetches: int
    peak_calls: int
    """The maximum number of `fetch`es that waited for headers at the same time."""
    peak_connections: int
    """The same with KV, R2 and Queues, which share the platform's limit."""
    leftovers: Sequence[str]
    """Tasks that still ran when the handler returned."""

    @classmethod
    def read(cls, counts: Mapping[str, Any]) -> Event:
        """Read the report of `meter.mjs`."""
        statements = {
            sql: Used(said["count"], said["read"], said["written"])
            for sql, said in counts["statements"].items()
        }
        names = {
            "sql_bytes": "sqlBytes",
            "value_bytes": "valueBytes",
            "peak_calls": "peakCalls",
            "peak_connections": "peakConnections",
        }
        values = {name: counts[names.get(name, name)] for name in cls.__dataclass_fields__}
        return cls(**{**values, "statements": statements})

    @property
    def executed(self) -> int:
        """The number of statements."""
        return sum(used.count for used in self.statements.values())

    @property
    def rows_read(self) -> int:
        return sum(used.read for used in self.statements.values())

    @property
    def rows_written(self) -> int:
        return sum(used.written for used in self.statements.values())
