"""The timeline of a seed in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.simulation.watch import Execution, Task

if TYPE_CHECKING:
    from tests.simulation.simulation import Report


def lines(report: Report, most: int = 400) -> list[str]:
    """The last lines; if the violation names a task, only the lines about that task."""
    about = _about(report)
    found = [_line(*entry) for entry in report.timeline if about is None or _concerns(entry[3], about)]
    return found[-most:]


def _about(report: Report) -> int | None:
    if report.violation is None:
        return None
    named = re.search(r"task(?:_id=|\(id=| )(\d+)", report.violation[1])
    if named:
        return int(named[1])
    execution = re.search(r"10995\d{8}", report.violation[1])
    return (int(execution[0]) - 2**40) // 1024 if execution else None


def _concerns(which: object, task: int) -> bool:
    if isinstance(which, Task):
        return which.id == task
    if isinstance(which, Execution):
        return which.task_id == task
    words = str(which)
    named = {int(number) for number in re.findall(r"\d+", words)}
    return task in named or any((number - 2**40) // 1024 == task for number in named if number > 2**40)


def _line(at: float, who: str, what: str, which: object) -> str:
    days, rest = divmod(at, 86_400.0)
    hours, rest = divmod(rest, 3_600.0)
    minutes, seconds = divmod(rest, 60.0)
    clock = f"{days:2.0f}d {hours:02.0f}:{minutes:02.0f}:{seconds:06.3f}"
    return f"{clock}  {who:20} {what} {_words(which)}".rstrip()


def _words(which: object) -> str:
    if isinstance(which, Task):
        at = f"stage {which.stage}.{which.candidate}, attempt {which.attempt}"
        why = which.blocked_by or which.reason or ""
        return f"task {which.id}: {which.status} v{which.version}, {at} {why}"
    if isinstance(which, Execution):
        cost = f"{which.cost_micro} ({which.cost_source})" if which.cost_source else "no cost yet"
        name = f"execution {which.id} of task {which.task_id}"
        return f"{name}: {which.profile} {which.status}, {cost} {which.reason or ''}"
    return str(which)
