"""Which edges of the lifecycle happened at or soon after which kind of fault."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumer.core.lifecycle import EXECUTION_TRANSITIONS, TASK_TRANSITIONS
from consumer.store import begin, settle, sweep
from tests.simulation.books import APPLICATION
from tests.simulation.faults import fault_of
from tests.simulation.platform import INVOCATION
from tests.simulation.seen import FINISHED
from tests.simulation.weather import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.simulation.simulation import Simulation
    from tests.simulation.watch import Change, Execution, Task

SOON_S: Final = 15.0
"""How long after a fault an edge of the same invocation counts as affected, or any edge if it was in none."""
NO_FAULT: Final = "none"


class Edge(NamedTuple):
    """One transition of the tables in consumer/core/lifecycle.py."""

    of: str
    before: str
    event: str
    after: str


def _edges(of: str, table: Mapping[Any, Mapping[Any, Any]]) -> tuple[Edge, ...]:
    return tuple(
        Edge(of, str(before), str(event), str(after))
        for before, moves in table.items()
        for event, after in moves.items()
    )


EDGES: Final = (*_edges("task", TASK_TRANSITIONS), *_edges("execution", EXECUTION_TRANSITIONS))
"""The rows, in order."""
BETWEEN: Final = {
    (edge.of, edge.before, edge.after): [
        one for one in EDGES if (one.of, one.before, one.after) == (edge.of, edge.before, edge.after)
    ]
    for edge in EDGES
}
"""The edges from one state to another.  Other moves are those of other applications."""
Cells = Counter[tuple[Edge, str]]
"""How often an edge happened with a kind of fault."""


class Coverage:
    """Counts the edges of a seed, each with the kinds of fault that touched its task or its run just before."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.cells: Cells = Counter()
        self._of_task: dict[int, set[str]] = defaultdict(set)
        self._of_run: dict[int, dict[str, float]] = defaultdict(dict)
        self._lately: dict[str, float] = {}

    # --- faults -------------------------------------------------------------------------------------------------------

    def happened(self, name: str) -> None:
        """A fault has happened: to the current invocation, or to all that happens soon."""
        fault, run = fault_of(name), INVOCATION.get()
        if fault.scope == "given":
            return
        where = self._of_run[run] if run and fault.scope != "seconds" else self._lately
        where[fault.title] = self._sim.loop.time()

    def task(self, task: int, name: str) -> None:
        """A fault has happened to a task: its next edge is affected."""
        self._of_task[task].add(fault_of(name).title)

    def template(self, template: int, name: str) -> None:
        """A fault has happened to a template: the next edges of its tasks are affected."""
        for task in self._sim.books.tasks.values():
            if task.template_id == template and task.status not in FINISHED:
                self.task(task.id, name)

    def run(self, runs: Iterable[int], *names: str) -> None:
        """Faults have happened to invocations."""
        for run in runs:
            self._of_run[run].update({fault_of(name).title: self._sim.loop.time() for name in names})

    def died(self, runs: set[int]) -> None:
        """The worker of these invocations is dead: what happens next to their tasks is affected."""
        books = self._sim.books
        for task in books.tasks.values():
            if task.lease is not None and books.leases.get(task.lease) in runs:
                self.task(task.id, "kill")

    # --- edges --------------------------------------------------------------------------------------------------------

    def committed(self, who: str, changes: list[Change]) -> None:
        """Count the edges of a commit, before the books take it over."""
        tasks: dict[int, Task | None] = {}
        executions: dict[int, Execution | None] = {}
        moved: list[tuple[int, Edge]] = []
        for change in changes:
            for number, task in change.tasks.items():
                before = tasks.get(number, self._sim.books.tasks.get(number))
                moved += [(number, edge) for edge in self._task_edge(who, change, before, task)]
                tasks[number] = task
            for number, row in change.executions.items():
                known = executions.get(number, self._sim.books.executions.get(number))
                moved += [(row.task_id, edge) for edge in _execution_edge(change, known, row) if row]
                executions[number] = row
        for number in {number for number, _ in moved}:
            titles = self._now(number) or {NO_FAULT}
            self.cells.update((edge, title) for of, edge in moved if of == number for title in titles)
            self._of_task.pop(number, None)

    def _now(self, task: int) -> set[str]:
        now = self._sim.loop.time()
        times = (self._lately, self._of_run.get(INVOCATION.get(), {}))
        lately = {title for known in times for title, at in known.items() if now - at < SOON_S}
        return self._of_task.get(task, set()) | lately | set(self._away())

    def _away(self) -> Iterator[str]:
        weather = self._sim.weather
        for service in SERVICES:
            outage = weather.over(service)
            if outage is not None:
                yield fault_of(f"outage.{service}").title
                if outage.hangs:
                    yield fault_of("outage.hangs").title

    def _task_edge(self, who: str, change: Change, before: Task | None, after: Task | None) -> Iterator[Edge]:
        if before is None or after is None or before.identity != after.identity or before.status in FINISHED:
            return
        sql, same = change.statement.sql, before.status == after.status
        if (same and sql != settle.SETTLE_TASKS.sql) or (who == APPLICATION and after.status != "cancelled"):
            return
        events = BETWEEN.get(("task", before.status, after.status), [])
        named = self._event(sql, before, after)
        yield from (edge for edge in events if len(events) == 1 or edge.event == named)

    def _event(self, sql: str, before: Task, after: Task) -> str:
        """The event of a move from running to pending or to waiting, of which the table has several."""
        if after.status == "waiting":
            return "orphan" if sql == sweep.ORPHANED_TASKS.sql else "wait"
        held = before.lease is not None and self._sim.books.leases.get(before.lease) == INVOCATION.get()
        known = {begin.RELEASE.sql: "release", sweep.LOST_TASKS.sql: "lose"}
        return known.get(sql, "retry" if held else "resume")


def _execution_edge(change: Change, before: Execution | None, after: Execution | None) -> Iterator[Edge]:
    if before is None or after is None or before.lease != after.lease:
        return
    if before.status == after.status and change.statement.sql != settle.SETTLE_EXECUTIONS.sql:
        return
    yield from BETWEEN.get(("execution", before.status, after.status), [])
