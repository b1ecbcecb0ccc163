"""Every invariant holds in a hostile world, and a seed always has the same result."""

from __future__ import annotations

import pytest

from tests.simulation.shrink import command
from tests.simulation.simulation import Plan, simulate
from tests.simulation.timeline import lines

SEEDS = 50
QUICK = 4
"""The number of seeds that `make check` simulates."""


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.heavy] * (seed > QUICK)) for seed in range(1, SEEDS + 1)]
)
def test_every_invariant_holds(seed: int) -> None:
    report = simulate(Plan(seed))
    if report.violation is not None:
        pytest.fail(
            "\n".join([*lines(report, 40), "", f"replay with: {command(report.plan)}"]), pytrace=False
        )
    assert report.events > 1_000
    assert report.checks.total() > 1_000
    assert report.faults.total() > 100


def test_a_seed_repeats_exactly() -> None:
    first, second = (simulate(Plan(3, 20)) for _ in range(2))
    assert first.timeline == second.timeline
    assert first.happened == second.happened
