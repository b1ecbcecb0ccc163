"""Plants a bug and simulates until an invariant detects it."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.simulation.planted import fences, foreign, money, outages, reports, restores, reuse, runs, traffic
from tests.simulation.planted.patch import BUGS, Patch
from tests.simulation.simulation import Plan, simulate

MODULES: Final = (fences, foreign, money, outages, reports, restores, reuse, runs, traffic)
MOST_SEEDS: Final = 100


class Caught(NamedTuple):
    """How a bug was detected: the number of seeds, the invariant and its message.  No invariant: it escaped."""

    bug: str
    seeds: int
    invariant: str | None
    why: str = ""


def hunt(name: str, most: int = MOST_SEEDS, tasks: int = 100) -> Caught:
    """Plant one bug and simulate until it is detected."""
    patch = Patch()
    try:
        BUGS[name](patch)
        for seed in range(1, most + 1):
            violation = simulate(Plan(seed, tasks)).violation
            if violation is not None:
                return Caught(name, seed, *violation)
    finally:
        patch.undo()
    return Caught(name, most, None)
