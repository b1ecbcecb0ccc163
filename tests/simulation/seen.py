"""The state that invariants compare with: the last seen copy of each row, and the calls that left the worker."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumer.core.template import Limits
from consumer.store.sql import task_of
from tests.simulation.platform import INVOCATION
from tests.simulation.scenario import ROUTES
from tests.simulation.watch import Budget

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation
    from tests.simulation.watch import Execution, Period, Rest, Task

FINISHED = frozenset({"completed", "failed", "cancelled"})
"""States in which a task has ended."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""States in which an execution has ended."""
OPEN = frozenset({"running", "waiting", "unknown"})
"""States in which an execution may still have an effect."""


class Begun(NamedTuple):
    """An execution: its id and its lease, because after a restore or a deletion another one may have its id."""

    id: int
    lease: str


class Seen:
    """The last seen state of a database, and the check that an invariant calls."""

    RESTORED: Final = (
        *("tasks", "executions", "of_task", "periods", "budgets", "stopped_at", "sums", "allowed", "leases"),
        *("states", "ever_unknown", "deleted", "routes", "claimed_s", "lengths"),
        *("rests", "started_ms", "probes", "with_ticket", "gone_micro"),
    )
    """The attributes that repeat rows, and go back with them when the database is restored.  The others tell what left
    the worker (`sent`, `overran`, `former`), what its invocations do, and how often an invariant was checked."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.highest = 0
        """The highest id of a task so far."""
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
        self.overran: set[Begun] = set()
        self.limits = {number: Limits(**limits) for number, (_, limits) in enumerate(ROUTES, start=1)}
        self.acknowledged_by: set[int] = set()
        self.haunted = False
        self.left_to_the_sweep: set[str] = set()
        self.sent: set[Begun] = set()
        self.former: dict[int, set[tuple[int, str]]] = defaultdict(set)
        """The versions and statuses of tasks that had an id before, and of a time that a restore has removed."""
        self.deleted: Counter[int] = Counter()
        """How often the rows of a task were deleted."""
        self.gone_micro = 0
        """What the deleted executions have cost."""
        self.checked: Counter[str] = Counter()
        self.taken = asyncio.Event()
        self._see_traffic()

    def _see_traffic(self) -> None:
        """Begin to know about profiles and invocations."""
        self.rests: dict[str, Rest] = {}
        self.skews_ms: dict[str, int] = {}
        """How far the clock of each worker is ahead."""
        self.started_ms: dict[str, list[int]] = defaultdict(list)
        self.probes: dict[str, dict[int, int]] = defaultdict(dict)
        """When the probes of each resting profile began, by execution."""
        self.with_ticket: set[int] = set()
        """Executions whose worker knew that their profile rests or has limits."""
        self.holders: dict[str, int] = {}
        """The invocation of each run that is counted in a profile."""
        self.served: dict[int, set[int | None]] = defaultdict(set)
        """The organizations for which each invocation has begun a call."""
        self.sent_by: dict[int, dict[int, str]] = defaultdict(dict)
        """The executions that each invocation has sent, with their leases."""

    def forget(self, task: int) -> None:
        """Its rows were deleted, and its ids may come back."""
        self.deleted[task] += 1
        gone = set(self.of_task.pop(task, []))
        self.former[task] |= set(self.states[task].items())
        self.ever_unknown.difference_update(gone)
        self.lengths.pop(task, None)
        self.sim.people.forget(task)
        self.sim.applications.forget(task)

    def copied(self) -> dict[str, Any]:
        """What a restore takes back."""
        return copy.deepcopy({name: getattr(self, name) for name in self.RESTORED})

    def turn_back(self, copied: dict[str, Any]) -> None:
        """The database was restored.  Workers may still publish what was true in the lost time."""
        for task, states in self.states.items():
            self.former[task] |= set(states.items())
        for name, value in copied.items():
            setattr(self, name, value)
        self.sent_by.clear()

    def begun(self, execution: int) -> Begun:
        """The execution that has this id now."""
        found = self.executions.get(execution)
        return Begun(execution, found.lease or "" if found else "")

    def who(self, execution: int) -> tuple[Begun, str]:
        """The execution that has this id now, and the identity of its task."""
        task = self.tasks.get(task_of(execution))
        return self.begun(execution), task.identity if task else ""

    def invocation(self) -> int:
        """The current invocation."""
        return INVOCATION.get()

    def must(self, invariant: str, holds: object, why: str, *values: object) -> None:
        """Count a check of an invariant, and report a violation.  `why` is formatted only then."""
        self.checked[invariant] += 1
        if not holds:
            self.sim.violated(invariant, why.format(*values))

    def broken(self, invariant: str, why: str, *values: object) -> None:
        self.must(invariant, None, why, *values)

    def budget(self, scope: str, scope_id: int, period: str) -> Budget:
        """The budget of this scope and period; a new one if there is none."""
        new = Budget(0, scope, scope_id, period, 0, "wait", "operator")
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

    def budgets_of(self, task: Task) -> set[int]:
        """The budgets that apply to a task now."""
        whose = {("organization", task.organization_id), ("template", task.template_id), ("task", task.id)}
        return {number for number, found in self.budgets.items() if (found.scope, found.scope_id) in whose}
