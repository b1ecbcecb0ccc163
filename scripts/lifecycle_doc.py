"""Writes docs/lifecycle.md from the two tables in consumer/core/lifecycle.py."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.core.lifecycle import (
    EXECUTION_TRANSITIONS,
    TASK_TRANSITIONS,
    ExecutionEvent,
    ExecutionState,
    TaskEvent,
    TaskState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from consumer.core.lifecycle import Word

    Table = Mapping[Any, Mapping[Any, Word]]

TARGET = Path(__file__).resolve().parent.parent / "docs" / "lifecycle.md"

HEAD = """\
# The life of a task and of an execution

Made by `python -m scripts.lifecycle_doc` from `consumer/core/lifecycle.py`: change the tables there.

A **task** is one piece of work; an **execution** is one attempt at it by one candidate. A task has as many executions
as it needs, and usually one of them is open at a time. `consumer/core/decide.py` decides which move follows from an
outcome. Every move raises the task's `version`, and a statement that names an older version changes nothing. A state
without a way out is final: neither code nor SQL leaves it.
"""

TASK = """\
## Task

The states are the values of `tasks.status`. A worker moves a task under the lease of its claim. A webhook, a form, a
follow-up, a cancel and the sweep move it without a lease.
"""

EXECUTION = """\
## Execution

The states are the values of `task_executions.status`. An execution begins as an intent, with its reservation, before
anything is sent. While it is open, the worker follows it up at its wake time, even if its task has ended.
"""


def document() -> str:
    """The text of the page."""
    parts = [
        HEAD,
        *_section(TASK, TASK_TRANSITIONS, TaskState, TaskEvent),
        *_section(EXECUTION, EXECUTION_TRANSITIONS, ExecutionState, ExecutionEvent),
    ]
    return "\n".join(parts)


def _section(head: str, table: Table, states: Iterable[Word], events: Iterable[Word]) -> Iterator[str]:
    yield head
    yield _diagram(table)
    yield _rows(("state", "meaning"), ((f"`{state}`", state.meaning) for state in states))
    yield _rows(("event", "meaning"), ((f"`{event}`", event.meaning) for event in events))
    yield _rows(("from", "event", "to"), _moves(table))


def _diagram(table: Table) -> str:
    """One arrow for all events between two states."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, moves in table.items():
        arrows = defaultdict(list)
        for event, target in moves.items():
            arrows[target].append(event)
        lines += [f"    {state} --> {target} : {', '.join(names)}" for target, names in arrows.items()]
        if not moves:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```", ""])


def _moves(table: Table) -> Iterator[tuple[str, ...]]:
    for state, moves in table.items():
        for event, target in moves.items():
            yield f"`{state}`", f"`{event}`", f"`{target}`"
        if not moves:
            yield f"`{state}`", "none: it is final", ""


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
