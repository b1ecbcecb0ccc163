"""Shrinks a failing seed to a short schedule: fewer tasks, fewer faults, the same violated invariant."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.simulation import Plan, Report, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 150
"""The maximum number of simulations for shrinking one seed."""
LONGEST_S = 90.0
"""The time in seconds after which no further simulation begins."""


class _Search:
    def __init__(self, plan: Plan, most: int) -> None:
        self.plan = plan
        self.report = simulate(plan)
        if self.report.violation is None:
            raise ValueError("this seed violates nothing")
        self.invariant = self.report.violation[0]
        self.left = most
        self.until = time.monotonic() + LONGEST_S

    def attempt(self, plan: Plan) -> bool:
        """Use a smaller plan if it violates the same invariant."""
        if time.monotonic() > self.until:
            self.left = 0
        if self.left <= 0:
            return False
        self.left -= 1
        report = simulate(plan)
        if report.violation is None or report.violation[0] != self.invariant:
            return False
        self.plan, self.report = replace(plan, only=frozenset(report.happened)), report
        return True


def shrink(plan: Plan, most: int = MOST) -> tuple[Plan, Report]:
    """The smallest plan that was found within the limits, and its report."""
    search = _Search(plan, most)
    if not search.attempt(replace(plan, only=frozenset())):
        search.attempt(replace(plan, only=frozenset(search.report.happened)))
    _fewer_tasks(search)
    for kind in sorted({name.partition(":")[0] for name in search.report.happened}):
        rest = [name for name in search.report.happened if name.partition(":")[0] != kind]
        search.attempt(replace(search.plan, only=frozenset(rest)))
    _fewer_tasks(search)
    _fewer_accidents(search)
    return search.plan, search.report


def _fewer_tasks(search: _Search) -> None:
    low = 1
    while low < search.plan.tasks:
        middle = (low + search.plan.tasks) // 2
        if not search.attempt(replace(search.plan, tasks=middle)):
            low = middle + 1


def _fewer_accidents(search: _Search) -> None:
    """Leave out half of the faults, then quarters, and so on."""
    size = max(1, len(search.report.happened) // 2)
    while search.left > 0:
        names: Sequence[str] = search.report.happened
        shorter = False
        for start in range(0, len(names), size):
            rest = [*names[:start], *names[start + size :]]
            if len(rest) < len(names) and search.attempt(replace(search.plan, only=frozenset(rest))):
                shorter = True
                break
        if not shorter:
            if size == 1:
                return
            size //= 2


def command(plan: Plan) -> str:
    """The command that replays a plan."""
    words = f".venv/bin/python -m tests.simulation --seed {plan.seed} --tasks {plan.tasks}"
    if plan.only is not None:
        words += f" --only {','.join(sorted(plan.only))}"
    return words
