"""Compares the worker's recorded costs with the shop's charges, after all tasks have ended."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from consumer.execution.call import provider_key
from tests.chaos.shop import answer_to
from tests.support import invariants

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FINAL: Final = ("completed", "failed", "cancelled")
POISON: Final = "worker_lost"


@dataclass(frozen=True, slots=True)
class Books:
    """Sums in micro-dollars.  `bound` and `truth`: recorded and charged for executions resolved without evidence."""

    tasks: int
    completed: int
    failed: int
    given_up: int
    executions: int
    lost: int
    double_successes: int
    sent_twice: int
    wrong_answers: int
    ledger: int
    recorded: int
    difference: int
    bound: int
    truth: int
    overspent: int
    statuses_behind: int
    untrue: tuple[str, ...]
    integrity: str

    def violations(self) -> list[str]:
        """The violations in words."""
        wanted: dict[str, object] = {
            "lost": 0,
            "double_successes": 0,
            "sent_twice": 0,
            "wrong_answers": 0,
            "difference": 0,
            "overspent": 0,
            "statuses_behind": 0,
            "untrue": (),
            "integrity": "ok",
        }
        found = asdict(self)
        wrong = [
            f"{name} is {found[name]!r}, not {value!r}"
            for name, value in wanted.items()
            if found[name] != value
        ]
        if self.bound < self.truth:
            wrong.append(f"{self.truth} charged beyond the bound of {self.bound}")
        return wrong


def _key(row: Mapping[str, Any], identity: str) -> str:
    """The key by which the provider knows an execution."""
    return provider_key(row["id"], identity, row["stage"], row["candidate"], row["attempt"])


def compare(
    database: Path, ledger: Path, statuses: Mapping[int, str | None], blobs: Mapping[str, bytes]
) -> Books:
    """Compare the books of one run, with the live status of each task and the large results by their keys."""
    with closing(sqlite3.connect(database)) as ours, closing(sqlite3.connect(ledger)) as theirs:
        ours.row_factory = sqlite3.Row
        theirs.row_factory = sqlite3.Row
        charged = _by_key(theirs, "sum(charged_micro)")
        jobs = _by_key(theirs, "count(*)")
        executions = [dict(row) for row in ours.execute("SELECT * FROM task_executions")]
        tasks = [dict(row) for row in ours.execute("SELECT * FROM tasks")]
        identities = {row["id"]: row["identity"] for row in tasks}
        by_bound = {row["id"] for row in executions if row["cost_source"] == "bound"}
        keys = {row["id"]: _key(row, identities[row["task_id"]]) for row in executions}
        known = [row for row in executions if row["id"] not in by_bound]
        recorded = {keys[row["id"]]: row["cost_micro"] or 0 for row in known}
        bound_keys = {keys[number] for number in by_bound}
        return Books(
            tasks=len(tasks),
            completed=_count(tasks, "status", "completed"),
            failed=_count(tasks, "status", "failed"),
            given_up=_count(tasks, "reason", POISON),
            executions=len(executions),
            lost=sum(1 for row in tasks if row["status"] not in FINAL) + _open(ours),
            double_successes=_doubles(ours),
            sent_twice=sum(1 for count in jobs.values() if count > 1),
            wrong_answers=_wrong_answers(ours, blobs),
            ledger=sum(charged.values()),
            recorded=sum(row["cost_micro"] or 0 for row in executions),
            difference=sum(
                abs(charged.get(key, 0) - recorded.get(key, 0))
                for key in (charged.keys() | recorded.keys()) - bound_keys
            ),
            bound=sum(row["cost_micro"] for row in executions if row["id"] in by_bound),
            truth=sum(charged.get(key, 0) for key in bound_keys),
            overspent=_overspent(ours),
            statuses_behind=sum(1 for row in tasks if statuses[row["id"]] != row["status"]),
            untrue=_untrue(ours),
            integrity=str(ours.execute("PRAGMA integrity_check").fetchone()[0]),
        )


def _by_key(ledger: sqlite3.Connection, what: str) -> dict[str, int]:
    return {row[0]: row[1] for row in ledger.execute(f"SELECT key, {what} FROM jobs GROUP BY key")}


def _count(rows: list[dict[str, Any]], column: str, value: str) -> int:
    return sum(1 for row in rows if row[column] == value)


def _open(ours: sqlite3.Connection) -> int:
    """The work that is left."""
    (left,) = ours.execute(
        "SELECT (SELECT count(*) FROM task_executions WHERE status IN ('running', 'waiting', 'unknown'))"
        " + (SELECT count(*) FROM leases) + (SELECT count(*) FROM outbox)"
    ).fetchone()
    return int(left)


def _doubles(ours: sqlite3.Connection) -> int:
    return len(
        ours.execute(
            "SELECT 1 FROM task_executions WHERE status = 'succeeded' GROUP BY task_id, stage HAVING count(*) > 1"
        ).fetchall()
    )


def _overspent(ours: sqlite3.Connection) -> int:
    (most,) = ours.execute("SELECT COALESCE(max(taken_micro - cap_micro), 0) FROM overdrawn").fetchone()
    return int(most)


def _wrong_answers(ours: sqlite3.Connection, blobs: Mapping[str, bytes]) -> int:
    """Completed tasks whose answer is not the shop's work on their title, applied once for each stage."""
    wrong = 0
    for row in ours.execute(
        "SELECT tasks.id, title, description, tasks.stage, e.result, e.result_key FROM tasks"
        " LEFT JOIN task_executions e ON e.id = tasks.last_execution WHERE tasks.status = 'completed'"
    ):
        value: Any = {"title": row["title"], "description": row["description"] or ""}
        for _ in range(row["stage"] + 1):
            value = answer_to(value)
        wrong += _answer(row, blobs) != value["answer"]
    return wrong


def _answer(row: sqlite3.Row, blobs: Mapping[str, bytes]) -> Any:
    text = row["result"] if row["result_key"] is None else blobs[row["result_key"]]
    return json.loads(text or "{}").get("answer")


def _untrue(ours: sqlite3.Connection) -> tuple[str, ...]:
    return tuple(
        words
        for words, statement in zip(invariants.CASES, invariants.STATEMENTS, strict=True)
        if ours.execute(statement.sql, statement.parameters).fetchall()
    )


def dollars(micro: int) -> str:
    """An amount in dollars, with a few digits more than cents."""
    return f"{micro / 1_000_000:.6f}"
