"""The state that invariants compare with: the last seen copy of each row, and the calls that left the worker."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from consumer.core.template import Limits
from consumer.store.sql import task_of
from tests.simulation.scenario import ROUTES, organization_of
from tests.simulation.watch import Budget

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation
    from tests.simulation.watch import Execution, Period, Task

FINISHED = frozenset({"completed", "failed", "cancelled"})
"""States in which a task has ended."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""States in which an execution has ended."""
OPEN = frozenset({"running", "waiting", "unknown"})
"""States in which an execution may still have an effect."""


class Seen:
    """The last seen state of a database, and the check that an invariant calls."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.tasks: dict[int, Task] = {}
        self.executions: dict[int, Execution] = {}
        self.of_task: dict[int, list[int]] = defaultdict(list)
        self.routes: dict[int, list[tuple[float, int | None]]] = defaultdict(list)
        """The times at which the route of a template changed, each with its number of stages, None: it has no route."""
        self.claimed_s: dict[int, float] = {}
        self.lengths: dict[int, set[int]] = {}
        """The numbers of stages that the route of an ended task had between its last claim and its end."""
        self.periods: dict[str, Period] = {}
        self.budgets: dict[int, Budget] = {}
        self.stopped_at: float | None = None
        self.sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.allowed: dict[str, int] = {}
        self.leases: dict[str, int] = {}
        self.states: dict[int, dict[int, str]] = defaultdict(dict)
        self.ever_unknown: set[int] = set()
        self.overran: set[int] = set()
        self.limits = {number: Limits(**limits) for number, (_, limits) in enumerate(ROUTES, start=1)}
        self.acknowledged_by: set[int] = set()
        self.haunted = False
        self.left_to_the_sweep: set[str] = set()
        self.sent: set[int] = set()
        self.former: dict[int, set[tuple[int, str]]] = defaultdict(set)
        """The versions and statuses of tasks that had an id before."""
        self.deleted: Counter[int] = Counter()
        """How often the rows of a task were deleted."""
        self.checked: Counter[str] = Counter()
        self.taken = asyncio.Event()

    def forget(self, task: int) -> None:
        """Its rows were deleted, and its ids may come back: what providers did under them belongs to no row now."""
        self.deleted[task] += 1
        gone = set(self.of_task.pop(task, []))
        self.former[task] |= set(self.states[task].items())
        for known in (self.ever_unknown, self.overran, self.sent):
            known.difference_update(gone)
        self.sim.services.forget(task)
        self.lengths.pop(task, None)
        self.sim.people.forget(task)
        self.sim.applications.forget(task)

    def must(self, invariant: str, holds: object, why: str, *values: object) -> None:
        """Count a check of an invariant, and report a violation.  `why` is formatted only then."""
        self.checked[invariant] += 1
        if not holds:
            self.sim.violated(invariant, why.format(*values))

    def broken(self, invariant: str, why: str, *values: object) -> None:
        self.must(invariant, None, why, *values)

    def budget(self, scope: str, scope_id: int, period: str) -> Budget:
        """The budget of this scope and period; a new one if there is none."""
        new = Budget(0, scope, scope_id, period, 0, "wait")
        wanted = new[1:4]
        return next((found for found in self.budgets.values() if found[1:4] == wanted), new)

    def lengths_since(self, template: int | None, since_s: float) -> set[int]:
        """The numbers of stages that a route had since then, the one at that time included."""
        versions = self.routes[template or 0]
        before = [number for number, (at_s, _) in enumerate(versions) if at_s <= since_s]
        return {length for _, length in versions[before[-1] if before else 0 :] if length is not None}

    def call_s(self, execution: int) -> float:
        """The time limit of a call; 0 if its task is unknown."""
        task = self.tasks.get(task_of(execution))
        limits = None if task is None else self.limits.get(task.template_id or 0)
        return 0.0 if limits is None else limits.call_s

    def budgets_of(self, task: int, template: int) -> set[int]:
        """The budgets that apply to a task now."""
        whose = {("organization", organization_of(template)), ("template", template), ("task", task)}
        return {number for number, found in self.budgets.items() if (found.scope, found.scope_id) in whose}
