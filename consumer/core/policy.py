"""When to try again, when to give up, and in which order.  Every time is a number of milliseconds."""

from __future__ import annotations

from typing import Final

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

NEVER: Final = 2**53 - 2
"""A `run_at_ms` that never comes: the largest time that a row can hold.  Another event makes such a task due."""

BACKOFF_BASE: Final = 1 * SECOND
"""The longest wait before the first retry.  It doubles with each further retry."""
BACKOFF_CAP: Final = 15 * MINUTE
"""The longest wait before a retry, however many came before it."""
LONGEST_WAIT: Final = 7 * DAY
"""The longest wait that a provider may ask for.  A longer one is cut to this, so that no task waits for ever."""
PATIENCE: Final = 1 * MINUTE
"""The longest wait for a candidate while another one is left.  A longer wait moves on to the other one."""

BEHIND_PROBES: Final = 2 * MINUTE
"""How much later than the end of a rest a task comes back whose account was refused.  Before that, cron wakes another
task for the next probe.  So a task that is refused for its own sake cannot be every probe."""

LEASE: Final = 5 * MINUTE
"""How long a worker holds the tasks of a claim, unless it renews the lease.  It is longer than
`MAX_CALL_S` in `core/template.py` and `CLOCK_SLACK` together: change both when one changes."""
RENEW_EVERY: Final = 1 * MINUTE
"""How often a worker renews its lease: three renewals may fail before the lease ends."""
CLOCK_SLACK: Final = 30 * SECOND
"""The largest difference between the clocks of two workers that does no harm."""
TAKEN: Final = 1 * DAY
"""How long a task stays `running` that another application set to `running`.  An application that saves all columns of
a row may write a status that it read long ago, and a task must not stay parked because of that."""
LOST_LEASES: Final = 3
"""A task fails after it has lost this many leases with nothing settled in between: it may be what kills its workers."""

RESOLVE_WITHOUT_EVIDENCE: Final = 5 * MINUTE
"""How long a call stays unknown when its provider offers no evidence: waiting longer would bring none."""
RESOLVE_WITH_EVIDENCE: Final = DAY
"""How long a call stays unknown when evidence may come: an outage of the provider can delay it."""

POLL_INTERVAL_MAX: Final = 10 * MINUTE
"""The longest interval between two polls of a job, before the jitter of a quarter."""

RANKS: Final = ("urgent", "high", "medium", "low")
"""The known priorities.  A rank is a position in this tuple."""
WOKEN_FOR: Final = 5 * MINUTE
"""How long room in a budget is kept for a task that it has woken and that no worker has claimed yet."""
WAITING_LONG: Final = 15 * MINUTE
"""A due task that waited this long is raised by one rank, once, so that it is not always passed over."""


def rank(priority: str | None) -> int:
    """The rank of a priority; 0 is first.  Other applications may write any text: an unknown one counts as medium."""
    return RANKS.index(priority) if priority in RANKS else 2


def raise_at(created_ms: int, due_ms: int | None) -> int | None:
    """When a task is raised by one rank: when the last quarter of the time from its creation to its due date begins."""
    return None if due_ms is None else due_ms - max(0, due_ms - created_ms) // 4


def deadline(created_ms: int, task_s: int | None) -> int | None:
    """When a task fails at the latest (ms), from the limit `task_s` of its template; None if that sets none."""
    return created_ms + task_s * SECOND if task_s else None


def retry_delay(attempt: int, draw: float, after_ms: int | None) -> int:
    """The wait before the next attempt: exponential backoff with full jitter, so that tasks do not return together.

    `attempt` counts from 0, and `draw` is a random number from 0 to just below 1.  If the provider asked for a wait
    (`after_ms`), the delay is that wait and up to a second more."""
    jitter = int(draw * min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(attempt, 20)))
    if after_ms is None:
        return jitter
    return min(max(after_ms, 0), LONGEST_WAIT) + min(jitter, SECOND)


def poll_delay(age_ms: int, draw: float) -> int:
    """The wait before the next poll of a job: a quarter of its age, from 2 seconds to 10 minutes, and then up to a
    quarter more or less."""
    return int(min(POLL_INTERVAL_MAX, max(2 * SECOND, age_ms // 4)) * (0.75 + draw / 2))
