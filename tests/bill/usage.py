"""The usage of the platform by some work, and its price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

from tests.bill.prices import PRICES
from tests.workerd.replies import Event, Used

APART: Final = ("r2_writes", "r2_reads", "log_events")
"""Counts outside of the sum: a result in R2 is an exception, and logs can be sampled."""

KV_WRITES: Final = ("KvNamespace.put", "KvNamespace.delete", "KvNamespace.list")
KV_READS: Final = ("KvNamespace.get", "KvNamespace.getWithMetadata")
R2_WRITES: Final = ("R2Bucket.put", "R2Bucket.list")
R2_READS: Final = ("R2Bucket.get", "R2Bucket.head")


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over events, or means for a task."""

    rows_written: float = 0
    rows_read: float = 0
    kv_writes: float = 0
    kv_reads: float = 0
    queue_operations: float = 0
    requests: float = 0
    cpu_ms: float = 0
    r2_writes: float = 0
    r2_reads: float = 0
    log_events: float = 0
    trips: float = 0
    """Round trips to D1."""
    fetches: float = 0
    subrequests: float = 0
    """All outside calls of a Worker: fetches, round trips, operations of KV, R2 and Queues."""

    def each(self, count: int) -> Usage:
        """The mean for one of `count`."""
        return Usage(**{field.name: getattr(self, field.name) / count for field in fields(self)})

    def dollars(self, *names: str) -> float:
        """The price of a million times this; of some counts only, or of all except those outside of the sum."""
        chosen = names or tuple(name for name in PRICES if name not in APART)
        return float(sum(getattr(self, name) * PRICES[name].per_million for name in chosen))


def add_up(events: Iterable[Event], *, doorbells: int = 0, cpu_ms: float = 0, log_lines: int = 0) -> Usage:
    """Add what the bindings counted.

    Each of `doorbells` costs a write, a read and a delete; messages sent by the events have been delivered too, and
    are among them.  An invocation is a log event itself.
    """
    events = list(events)
    operations: Counter[str] = Counter()
    for event in events:
        operations.update(event.operations)

    def total(*names: str) -> int:
        return sum(operations[name] for name in names)

    return Usage(
        rows_written=sum(event.rows_written for event in events),
        rows_read=sum(event.rows_read for event in events),
        kv_writes=total(*KV_WRITES),
        kv_reads=total(*KV_READS),
        queue_operations=3 * doorbells,
        requests=len(events),
        cpu_ms=cpu_ms,
        r2_writes=total(*R2_WRITES),
        r2_reads=total(*R2_READS),
        log_events=log_lines + len(events),
        trips=sum(event.trips for event in events),
        fetches=sum(event.fetches for event in events),
        subrequests=sum(event.trips + event.fetches for event in events) + operations.total(),
    )


def by_statement(events: Iterable[Event]) -> dict[str, Used]:
    """The usage of each SQL text, the most expensive first."""
    sums: dict[str, Used] = {}
    for event in events:
        for sql, used in event.statements.items():
            before = sums.get(sql, Used(0, 0, 0))
            sums[sql] = Used(
                before.count + used.count, before.read + used.read, before.written + used.written
            )
    return dict(sorted(sums.items(), key=lambda item: (-item[1].written, -item[1].read)))
