"""Which organizations a run has served, and when it must look for others before it goes on.

A claim brings tasks in advance, and calls keep their connections.  While calls are quick, the next claim comes soon,
and organizations take turns in it.  While they are slow, tasks that others submit would wait for all that the run holds
already.  So before such a run begins another call for the same organizations, it claims tasks of others.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from consumer.core.policy import SECOND
from consumer.core.shares import ANSWERING_MS
from consumer.run.claim import Turn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumer.core.shares import Speeds
    from consumer.run.begin import Intent
    from consumer.run.claim import Claimed
    from consumer.run.flight import Flight

REMEMBERED: Final = 50
"""The last calls of a run that count for the turns of organizations."""
LOOK_MS: Final = 1 * SECOND
"""The shortest time after a claim that found tasks until the next claim for others."""
IDLE_LOOK_MS: Final = 3 * SECOND
"""The same after a claim that found none."""


@dataclass(slots=True)
class Turns:
    """The organizations of the last calls, the time of the last claim, whether it was one for others, and whether it
    found tasks."""

    flight: Flight
    speeds: Speeds
    served: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    claimed_ms: int = 0
    for_others: bool = False
    found: bool = False

    def begun(self, intents: Iterable[Intent]) -> None:
        """Count the calls that begin."""
        self.served.extend(one.task.organization for one in intents if one.task.organization is not None)

    def is_alone(self, ready: Iterable[Claimed]) -> bool:
        """Whether the run knows of one organization only."""
        return len({*self.served, *(task.organization for task in ready)}) < 2

    def next_claim(self, size: int, ready: Iterable[Claimed], now_ms: int, *, for_others: bool) -> Turn:
        """What the next claim may take.

        A claim for others takes as many tasks as can begin, because another run may have room for the rest, and none of
        an organization that this run holds tasks of, or whose calls are slow."""
        self.claimed_ms, self.for_others = now_ms, for_others
        used = Counter(self.served)
        turn = Turn(size, used if len(used) > 1 else {})
        if not for_others:
            return turn
        held = {one.task.organization for one in self.flight.intents} | {task.organization for task in ready}
        held.update(self.speeds.slow)
        return Turn(self.flight.free_connections, turn.used, sorted(one for one in held if one is not None))

    def others_due(self, ready: Iterable[Claimed], now_ms: int, *, stalled: bool) -> bool:
        """Whether the run must look for tasks of other organizations before it begins another call.

        `stalled`: no connection that is free is for a task that it holds."""
        if now_ms - self.claimed_ms < (LOOK_MS if self.found else IDLE_LOOK_MS):
            return False
        calls = [one for one in self.flight.intents if one.provider.needs_base_url]
        lasting = bool(calls) and now_ms - min(one.started_ms for one in calls) > ANSWERING_MS
        waiting = {task.organization for task in ready}
        if not waiting:
            return lasting
        held = {one.task.organization for one in calls} if lasting else set()
        return stalled or waiting <= held.union(self.speeds.slow)
