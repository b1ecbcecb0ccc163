"""The queue and the status store, as unreliable as Cloudflare allows them to be."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from consumer.core.strictjson import parse_json
from consumer.ports import Unavailable
from tests.simulation import edges

if TYPE_CHECKING:
    from tests.simulation.isolates import Isolate
    from tests.simulation.simulation import Simulation

MAX_RETRIES: Final = 5
"""The number of deliveries after the first; then a message becomes a dead letter."""
BATCH: Final = 10
CONCURRENCY: Final = 4
BATCH_TIMEOUT_S: Final = 1.0
VISIBILITY_S: Final = 60.0
"""The delay after which a message without a verdict comes back."""
STALE_S: Final = 60.0
"""The time for which a location may show an old status."""


@dataclass(slots=True)
class Letter:
    """A message in the queue."""

    id: str
    body: Any
    attempts: int = 0
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Delivery:
    """A delivered message, as `consumer.ports.Message`.  The first verdict decides; a second one is an error."""

    sim: Simulation
    isolate: Isolate
    letter: Letter
    verdict: str | None = None
    delay_s: int = 0

    @property
    def id(self) -> str:
        return self.letter.id

    @property
    def body(self) -> object:
        return self.letter.body

    @property
    def attempts(self) -> int:
        return self.letter.attempts

    def ack(self) -> None:
        if self.isolate.alive:
            self._decide("ack")
            self.sim.books.acknowledged(self.isolate)

    def retry(self, delay_s: int) -> None:
        if self.isolate.alive:
            self._decide("retry")
            self.delay_s = delay_s

    def _decide(self, verdict: str) -> None:
        edges.one_verdict_per_message(self.sim, self.verdict, verdict)
        self.verdict = verdict


class MessageQueue:
    """A queue that delivers at least once, unordered, maybe late, maybe not at all."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._waiting: deque[Letter] = deque()
        self._pumping = False
        self.paused = False
        self._active = 0
        self._numbers = 0
        self.delayed = 0

    def backlog(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._active or self.delayed)

    def accept(self, bodies: list[Any], delay_s: float) -> None:
        """Send messages."""
        dice = self._sim.dice
        for body in bodies:
            self._numbers += 1
            letter = Letter(f"m{self._numbers}", body)
            if dice.hit("queue.lost", 0.08):
                self._sim.note("queue", "loses", letter.id)
                continue
            copies = 2 if dice.hit("queue.twice", 0.08) else 1
            letter.faults = ("queue.twice",) * (copies - 1)
            for _ in range(copies):
                late = dice.between("queue.lateness", 5, 120) if dice.hit("queue.late", 0.05) else 0.0
                self._later(letter, delay_s + late)

    def _later(self, letter: Letter, delay_s: float) -> None:
        self.delayed += 1
        wait = delay_s + self._sim.dice.between("queue.delay", 0.0, 0.3)
        asyncio.get_running_loop().call_later(wait, self._arrived, letter)

    def _arrived(self, letter: Letter) -> None:
        self.delayed -= 1
        if self._sim.dice.hit("queue.reorder", 0.1):
            self._waiting.appendleft(letter)
        else:
            self._waiting.append(letter)
        self._pump_later()

    def _pump_later(self) -> None:
        if not self._pumping and not self.paused:
            self._pumping = True
            asyncio.get_running_loop().call_later(BATCH_TIMEOUT_S, self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self.paused:
            return
        while self._waiting and self._active < CONCURRENCY:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            for letter in batch:
                letter.attempts += 1
            self._deliver(batch)
            if self._active < CONCURRENCY and self._sim.dice.hit("queue.two_workers", 0.04):
                again = ("queue.two_workers",)
                self._deliver([Letter(letter.id, letter.body, letter.attempts, again) for letter in batch])
        if self._waiting:
            self._pump_later()

    def resume(self) -> None:
        """Deliver again, after delivery was paused."""
        self.paused = False
        self._pump_later()

    def _deliver(self, batch: list[Letter]) -> None:
        self._active += 1
        self._sim.start(self._delivered(batch))

    async def _delivered(self, batch: list[Letter]) -> None:
        sim = self._sim
        isolate = sim.isolate()
        sim.events += 1
        sim.coverage.run([sim.invocations + 1], *(name for letter in batch for name in letter.faults))
        dead = [letter for letter in batch if letter.attempts > MAX_RETRIES + 1]
        fresh = [letter for letter in batch if letter.attempts <= MAX_RETRIES + 1]
        deliveries: list[Delivery] = []
        try:
            if fresh:
                deliveries += [Delivery(sim, isolate, letter) for letter in fresh]
                await isolate.limited("on_messages", isolate.app.on_messages(deliveries))
            if dead:
                letters = [Delivery(sim, isolate, letter) for letter in dead]
                deliveries += letters
                await isolate.limited("on_dead_letters", isolate.app.on_dead_letters(letters))
        finally:
            self._active -= 1
            for one in deliveries:
                self._after(one)

    def _after(self, one: Delivery) -> None:
        if one.verdict == "retry":
            self._later(one.letter, one.delay_s)
        elif one.verdict is None:
            if one.isolate.alive:
                edges.one_verdict_per_message(self._sim, None, None)
            self._later(one.letter, VISIBILITY_S)


@dataclass(slots=True)
class Entry:
    """A value and the time of its write."""

    value: str
    at: float


class StatusStore:
    """KV: one write per second and key; each location caches reads, misses too, for a minute."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.entries: dict[str, Entry] = {}
        self._places: dict[tuple[str, str], tuple[float, str | None]] = {}
        self.writes = 0

    def write(self, who: str, key: str, value: str) -> None:
        """Raises `Unavailable` for a second write within a second."""
        now = self._sim.loop.time()
        before = self.entries.get(key)
        if before is not None and now - before.at < 1.0:
            self._sim.dice.count("kv.refused")
            raise Unavailable("429: one write a second")
        shown = parse_json(value)
        self.entries[key] = Entry(value, now)
        self.writes += 1
        self._sim.books.status_tells_the_truth(who, shown)

    def read(self, place: str, key: str) -> str | None:
        """The value that a location sees."""
        now = self._sim.loop.time()
        seen_at, seen = self._places.get((place, key), (-STALE_S, None))
        if now - seen_at < STALE_S:
            return seen
        entry = self.entries.get(key)
        value = entry.value if entry else None
        self._places[place, key] = (now, value)
        return value
