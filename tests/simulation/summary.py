"""The result of many seeds: how often each kind of fault happened, and the page of the edges that were covered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.simulation.coverage import EDGES, NO_FAULT, SOON_S, Cells
from tests.simulation.faults import FAULTS, TITLES, fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.simulation import Report

COMMAND: Final = "python -m tests.simulation --seeds {seeds} --coverage docs/coverage.md"
WHY: Final = {
    NO_FAULT: "Only another fault leads to such an edge: a lost lease has lost its worker.",
    "crash": "A crash is counted for the tasks that the dead worker had claimed. A pending or waiting task has no such"
    " worker. A worker that dies while it follows an execution up is not counted here; the follow-up is repeated.",
    "deployment": "A worker that is asked to stop begins nothing new, so few edges follow.",
    "outage of D1": "While D1 is away no edge can be committed. A row is counted if a statement was on its way.",
    "outage of R2": "Only answers that no row can hold go to R2, and few answers are that large.",
    "duplicate message": "It is counted for the run that the second copy began, and not for ticks and webhooks.",
    "platform limit": "A limit is reached inside a run; webhooks, forms and ticks are far below it.",
    "bad answer": "It ends an execution whose call is in flight or followed up, and moves no other task.",
    "webhook": "Only an execution that waits for a job has webhooks.",
    "person": "Only an execution that waits for a person can meet one.",
    "caller": "Counted for the next seconds of the whole system, because caps and stops concern every task.",
    "operator's deletion": "Only the rows of ended tasks can be deleted. An edge is counted when the id comes back.",
    "foreign write": "It is counted at the next edge of the written task. Most writes are to tasks that have ended.",
    "edited route": "It is counted at the next edge of each unfinished task of the template.",
    "hostile tenant": "Counted for the next seconds of the whole system.",
    "lowered cap": "Counted for the next seconds of the whole system, and few are lowered.",
    "large population": "Counted for the first seconds of a seed, in which few tasks move.",
    "restore": "It is counted at the next edge of each unfinished task, after the restore and after it is finished.",
}
"""Why the edges that a kind of fault never met are rare or impossible."""

HEAD: Final = """\
# Edges and faults

Made by `{command}`: change the words in `tests/simulation/summary.py`.

Each row is an edge of [lifecycle.md](lifecycle.md), each column a kind of fault that the simulator makes. A cell counts
how often the edge was the next one of a task that the fault had touched, or happened within {soon:.0f} seconds in an
invocation that it had touched. An edge that several faults touched counts in each of their columns; `none` counts those
that none touched. A cell says that the invariants of [guarantees.md](guarantees.md) held there. It does not say that
the fault was the reason for the edge.

These are the counts of {seeds} seeds, {hours:,.0f} simulated hours.

## Kinds of fault

"""


@dataclass(slots=True)
class Summary:
    """The sums over seeds."""

    seeds: int = 0
    events: int = 0
    days: float = 0.0
    cpu_s: float = 0.0
    checks: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    cells: Cells = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        """Add a seed."""
        self.seeds += 1
        self.events += report.events
        self.days += report.days
        self.cpu_s += report.cpu_s
        self.checks.update(report.checks)
        self.faults.update(report.faults)
        self.cells.update(report.cells)

    def lines(self) -> Iterator[str]:
        """What the command prints."""
        yield f"seeds simulated     {self.seeds} ({self.days / 365:.1f} years)"
        yield f"simulated hours     {self.days * 24:,.0f}, {self.days * 24 / max(self.cpu_s, 0.001):.0f} per CPU second"
        yield f"events              {self.events:,}"
        yield f"invariants checked  {self.checks.total():,} times, {len(self.checks)} of them"
        yield f"faults injected     {self.faults.total():,}"
        for fault in FAULTS:
            names = {name: count for name, count in sorted(self.faults.items()) if fault_of(name) == fault}
            yield f"  {fault.title:24}{sum(names.values()):>8,}"
            yield from (f"    {name:22}{count:>8,}" for name, count in names.items())

    def page(self) -> str:
        """docs/coverage.md."""
        head = HEAD.format(
            command=COMMAND.format(seeds=self.seeds), soon=SOON_S, seeds=self.seeds, hours=self.days * 24
        )
        kinds = _table(("fault", "meaning"), ((fault.title, fault.meaning) for fault in FAULTS))
        return f"{head}{kinds}\n## Edges\n\n{self._matrix()}\n## Never met\n\n{''.join(self._gaps())}"

    def _matrix(self) -> str:
        columns = (NO_FAULT, *TITLES)
        rows = (
            (
                *(edge.of, f"`{edge.before}`", f"`{edge.event}`", f"`{edge.after}`"),
                *(str(self.cells[edge, title]) for title in columns),
            )
            for edge in EDGES
        )
        return _table(("of", "from", "event", "to", *columns), rows)

    def _gaps(self) -> Iterator[str]:
        for title in (NO_FAULT, *TITLES):
            edges = [edge for edge in EDGES if not self.cells[edge, title]]
            if edges:
                names = ", ".join(f"{edge.of} `{edge.before}` `{edge.event}`" for edge in edges)
                why = WHY.get(title, "More seeds may meet them.")
                yield f"* **{title}**: {names}. {why}\n"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
