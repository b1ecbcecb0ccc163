"""A hostile world comes out the same whenever its seed is the same."""

from __future__ import annotations

from tests.simulation.simulation import Plan, simulate


def test_a_seed_repeats_exactly() -> None:
    first, second = (simulate(Plan(3, 20)) for _ in range(2))
    assert first.timeline == second.timeline
    assert first.happened == second.happened
