"""Cloudflare's list prices on the paid plan, in dollars, without the included amounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million units; `read` is the day on which the page was read."""

    unit: str
    per_million: float
    source: str
    read: str


_D1 = ("developers.cloudflare.com/d1/platform/pricing", "2026-11-21")
_KV = ("developers.cloudflare.com/kv/platform/pricing", "2026-11-21")
_R2 = ("developers.cloudflare.com/r2/pricing", "2026-11-21")
_QUEUES = ("developers.cloudflare.com/queues/platform/pricing", "2026-11-21")
_WORKERS = ("developers.cloudflare.com/workers/platform/pricing", "2026-11-21")
_LOGS = ("developers.cloudflare.com/workers/observability/logs/workers-logs", "2026-11-21")

PRICES: Final = {
    "rows_written": Price("row written in D1", 1.00, *_D1),
    "rows_read": Price("row read in D1", 0.001, *_D1),
    "kv_writes": Price("KV write", 5.00, *_KV),
    "kv_reads": Price("KV read", 0.50, *_KV),
    "r2_writes": Price("R2 operation of class A", 4.50, *_R2),
    "r2_reads": Price("R2 operation of class B", 0.36, *_R2),
    "queue_operations": Price("queue operation of up to 64 KB", 0.40, *_QUEUES),
    "requests": Price("invocation", 0.30, *_WORKERS),
    "cpu_ms": Price("millisecond of CPU", 0.02, *_WORKERS),
    "log_events": Price("log event", 0.60, *_LOGS),
}
"""By the names of `tests.bill.usage.Usage`.  Fetches, round trips to D1 and waiting are free of charge."""
