"""An event loop whose time is virtual: it never blocks, and goes on to the next due event when nothing is ready."""

from __future__ import annotations

import asyncio
import heapq
import random
import sys
from collections import deque
from typing import Any


class Stuck(Exception):
    """Nothing is ready and nothing is scheduled: whoever is waited for will never come.  Or it goes on for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Seeded: what is ready at the same moment runs in an order that the seed decides."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int, most_turns: int) -> None:
        super().__init__()
        self._most_turns = most_turns
        self._now = 0.0
        self._order = random.Random(seed)  # noqa: S311  # a seed decides, nothing is secret
        self.turns = 0

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def in_peace(self) -> None:
        """What is left is closed, however long that takes."""
        self._most_turns = sys.maxsize

    def _run_once(self) -> None:
        if (
            self.turns > self._most_turns
        ):  # before anything is taken that would be lost, and its task never end
            raise Stuck("it does not come to rest")
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        if not ready:
            if not scheduled:
                raise Stuck("nothing is ready and nothing is scheduled")
            self._now = max(self._now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)
        batch = list(ready)
        ready.clear()
        if len(batch) > 1:
            self._order.shuffle(batch)
        self.turns += len(batch)
        for handle in batch:
            if not handle._cancelled:
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave the heap when their turn comes."""

    def _process_events(self, event_list: Any) -> None:
        """There are none: nothing here has a file descriptor."""

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody is woken."""
