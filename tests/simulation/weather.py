"""Outages: times in which a service fails or never answers, from one second to one hour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.simulation.adapters import ADAPTERS
from tests.simulation.scenario import BULK_AT_S, BULK_EVERY

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

STORAGE: Final = ("database", "kv", "blobs", "queue")
SERVICES: Final = (*STORAGE, "chat", *(adapter.name for adapter in ADAPTERS))
MOST: Final = 2
"""The maximum number of outages of one service in a seed."""
LIKELY: Final = 0.2
LONGEST_S: Final = 3_600.0
BULK_OUTAGE: Final = "plain"
"""The provider that does not answer when many tasks come at once, so that several of its calls fail together."""


class Outage(NamedTuple):
    """A time in which a service does not work.  `hangs`: it never answers, instead of failing."""

    begins: float
    ends: float
    hangs: bool


class Weather:
    """The outages of a seed.  Each service has dice of its own."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._outages = {service: self._drawn(service) for service in SERVICES}

    def _drawn(self, service: str) -> list[Outage]:
        found, dice = list[Outage](), self._sim.dice
        if service == BULK_OUTAGE and self._sim.plan.seed % BULK_EVERY == 0 and dice.hit("outage.bulk", 1.0):
            found.append(Outage(BULK_AT_S - 1.0, BULK_AT_S + 100.0, hangs=True))
        for _ in range(MOST):
            chance = dice.stream(f"outage.{service}.when")
            begins = self._sim.plan.chaos_s * chance.random() ** 2
            lasts = math.exp(chance.uniform(0.0, math.log(LONGEST_S)))
            outage = Outage(begins, begins + lasts, chance.random() < 0.4)
            if dice.hit(f"outage.{service}", LIKELY):
                self._sim.note("weather", f"{service} will {'hang' if outage.hangs else 'fail'}", outage)
                found.append(outage)
        return found

    def over(self, service: str) -> Outage | None:
        """The outage of a service now."""
        if self._sim.dice.fault_rate == 0.0:
            return None
        now = self._sim.loop.time()
        return next((one for one in self._outages[service] if one.begins <= now < one.ends), None)

    def hangs(self, service: str) -> bool:
        """Whether a request to the service gets no answer: during an outage that hangs, or by itself."""
        outage = self.over(service)
        alone = self._sim.dice.hit(f"{service}.hang", 0.002)
        return alone or (outage is not None and outage.hangs)

    def was_away(self, service: str, since: float) -> bool:
        """Whether the service had an outage after this time."""
        now = self._sim.loop.time()
        return any(one.begins <= now and one.ends > since for one in self._outages[service])
