"""When to try again, when to give up, and in which order: numbers in, numbers out.  Times in milliseconds."""

from __future__ import annotations

from typing import Final

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

NEVER: Final = 2**53 - 2
"""A `run_at_ms` that does not come by itself."""

BACKOFF_BASE: Final = 1 * SECOND
BACKOFF_CAP: Final = 15 * MINUTE
LONGEST_WAIT: Final = 7 * DAY
"""What a provider may ask us to wait at most; a longer wish is cut to this."""

LEASE: Final = 5 * MINUTE
RENEW_EVERY: Final = 1 * MINUTE
CLOCK_SLACK: Final = 30 * SECOND
"""How far the clocks of two workers may be apart."""
LOST_LEASES: Final = 3
"""Lost leases without an execution after which a task fails: it may be what kills its workers."""

RESOLVE_WITHOUT_EVIDENCE: Final = 5 * MINUTE
"""How long an unknown call stays open when its provider cannot tell us anything."""
RESOLVE_WITH_EVIDENCE: Final = DAY

LOOK_AGAIN_MAX: Final = 10 * MINUTE

RANKS: Final = ("urgent", "high", "medium", "low")
WAITING_LONG: Final = 15 * MINUTE
"""A due task that waited this long is raised by one rank, once."""


def rank(priority: str | None) -> int:
    """0 is first.  Whatever is not a known priority counts as medium."""
    return RANKS.index(priority) if priority in RANKS else 2


def raise_at(created_ms: int, due_ms: int | None) -> int | None:
    """When a task with a due date enters the last quarter of its span."""
    return None if due_ms is None else due_ms - max(0, due_ms - created_ms) // 4


def retry_delay(attempt: int, draw: float, after_ms: int | None) -> int:
    """Exponential backoff with full jitter; a provider's own wish is the least that is waited."""
    jitter = int(draw * min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(attempt, 20)))
    if after_ms is None:
        return jitter
    return min(max(after_ms, 0), LONGEST_WAIT) + min(jitter, SECOND)


def poll_delay(age_ms: int, draw: float) -> int:
    """When to ask about an accepted job again: more rarely as it grows older."""
    return int(min(LOOK_AGAIN_MAX, max(2 * SECOND, age_ms // 4)) * (0.75 + draw / 2))
