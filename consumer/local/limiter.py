"""`Limiter` in the memory of one process."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from consumer.ports import Clock

REQUESTS: Final = 6_000
"""Requests that one key, and one address, may make in a period.  wrangler.toml has the same numbers."""
PERIOD_MS: Final = 60_000


class MemoryLimiter:
    """Counts requests in periods that begin at whole minutes, and forgets the period before."""

    def __init__(self, clock: Clock, requests: int = REQUESTS) -> None:
        self._clock = clock
        self._requests = requests
        self._period = 0
        self._counts: Counter[str] = Counter()

    async def allow(self, who: str) -> bool:
        """Count a request of `who`.  False: it has made too many in this period."""
        period = self._clock.now_ms() // PERIOD_MS
        if period != self._period:
            self._period = period
            self._counts.clear()
        self._counts[who] += 1
        return self._counts[who] <= self._requests
