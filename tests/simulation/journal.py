"""Compares a task's row with its executions and audit log: of simulated tasks, and of exports of `bizq journal`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPEN: Final = ("running", "waiting", "unknown")
FINISHED: Final = ("completed", "failed", "cancelled")

Row = dict[str, Any]


def read(text: str) -> list[Row]:
    """The lines of a journal: the task, then its events."""
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def replay(entries: Sequence[Row]) -> list[str]:
    """The differences between a journal's events and its task's row."""
    tasks = [one for one in entries if one["kind"] == "task"]
    if len(tasks) != 1:
        return [f"a journal tells of one task; this one of {len(tasks)}"]
    executions = sorted((one for one in entries if one["kind"] == "execution"), key=lambda one: one["id"])
    return disagreements(tasks[0], executions, [one for one in entries if one["kind"] == "audit"])


def disagreements(task: Row, executions: Sequence[Row], audit: Sequence[Row]) -> list[str]:
    """The differences between a task's row and the result of its executions, in order, and its audit log."""
    status, stage = task["status"], task["stage"]
    answers = {one["stage"]: one["id"] for one in executions if one["status"] == "succeeded"}
    latest = max((one["id"] for one in executions if one["stage"] > stage), default=0)
    answered = (
        answers.get(stage, 0) > latest
    )  # a rejected answer is followed by an execution of an earlier stage
    # A task whose route was shortened goes back to the last answer that the route still has.
    shortened = stage in answers and task.get("last_execution") == answers[stage]
    by_others = _ended_by_others(audit)
    spent = sum(one["cost_micro"] or 0 for one in executions)
    found = []
    if (task["cost_micro"] or 0) != spent:
        found.append(f"it cost {task['cost_micro']}, its executions {spent}")
    if any(number not in answers for number in range(stage)):
        found.append(f"it stands at stage {stage}, but a stage before has no answer")
    if by_others is not None:
        if status != by_others:
            found.append(f"it was ended as {by_others} and is {status}")
    elif status == "completed" and not (answered or shortened):
        found.append("it is completed without an answer of its last stage")
    elif status == "cancelled":
        found.append("it is cancelled without a recorded cancel")
    elif status != "completed" and answered:
        found.append(f"it is {status}, though stage {stage} has its answer")
    elif status == "waiting" and not _awaited(executions, audit):
        found.append("it waits, and nothing is open")
    return found


def _ended_by_others(audit: Sequence[Row]) -> str | None:
    """The status with which a caller or another application ended the task, if any."""
    for one in audit:
        after = str(one["detail"] or "").rpartition(" -> ")[2]
        if one["event"] == "cancelled" or after in FINISHED:
            return "cancelled" if one["event"] == "cancelled" else after
    return None


def _awaited(executions: Sequence[Row], audit: Sequence[Row]) -> bool:
    taken = any(str(one["detail"] or "").endswith("-> waiting") for one in audit)
    return taken or any(one["status"] in OPEN for one in executions)


def words(entry: Mapping[str, Any]) -> str:
    """A line of a journal in words."""
    if entry["kind"] == "audit":
        return f"{entry['at']}  {entry['actor']}: {entry['event']} {entry['detail'] or ''}".rstrip()
    if entry["kind"] == "task":
        return f"task {entry['id']}: {entry['status']} v{entry['version']}, stage {entry['stage']}"
    cost = "no cost yet" if entry["cost_micro"] is None else f"{entry['cost_micro']} ({entry['cost_source']})"
    ended = f"{entry['profile']} {entry['status']}, {cost} {entry['reason'] or ''}".rstrip()
    return f"{entry['started_at']}  execution {entry['id']}, stage {entry['stage']}: {ended}"
