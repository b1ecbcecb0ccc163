"""An event loop with virtual time: it never blocks, and jumps to the next timer if nothing is ready."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVarTuple

Arguments = TypeVarTuple("Arguments")


class Stuck(Exception):
    """Nothing is ready and no timer is set, so an awaited event will never come; or the loop does not come to rest."""


class VirtualLoop(asyncio.BaseEventLoop):
    """A seeded loop: the seed decides the order of callbacks that are ready at the same moment."""

    def __init__(self, seed: int, most_turns: int) -> None:
        super().__init__()
        self._most_turns = most_turns
        self._now = 0.0
        self._order = random.Random(seed)  # noqa: S311  # a seed decides, nothing is secret
        self._soon: list[asyncio.Handle] = []
        # Tuples, because Python compares them faster than the handles, a hundred thousand times for each seed.
        self._later: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers = 0
        self.turns = 0

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def in_peace(self) -> None:
        """Cancel and close everything that is left."""
        self._most_turns = sys.maxsize

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers += 1
        heappush(self._later, (when, self._timers, timer))
        return timer

    def _run_once(self) -> None:
        if (
            self.turns > self._most_turns
        ):  # before a callback is taken that would be lost, so that its task never ends
            raise Stuck("it does not come to rest")
        batch, later = self._soon, self._later
        self._soon = []
        while later and later[0][2]._cancelled:
            heappop(later)
        if not batch:
            if not later:
                raise Stuck("nothing is ready and nothing is scheduled")
            self._now = max(self._now, later[0][0])
        while later and later[0][0] <= self._now:
            batch.append(heappop(later)[2])
        if len(batch) > 1:
            self._order.shuffle(batch)
        self.turns += len(batch)
        for handle in batch:
            if not handle._cancelled:
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are removed when they are due."""

    def _process_events(self, event_list: Any) -> None:
        """No file descriptor is used here."""

    def _write_to_self(self) -> None:
        """The loop never sleeps, so it needs no wake-up."""
