"""The real database in memory, which reports the rows that each statement of a commit changed."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from consumer.core.times import iso
from consumer.local import migrate
from consumer.local.database import SqliteDatabase
from consumer.ports import Result, Statement, Value

MIGRATIONS: Final = Path(__file__).parents[2] / "migrations"
PLANTED: Final[list[str]] = []
"""Statements with which a planted bug changes the schema."""
_EPOCH: Final = 2440587.5
_DAY_MS: Final = 86_400_000.0


class Task(NamedTuple):
    """The columns of a task that invariants use."""

    id: int
    identity: str
    status: str
    version: int
    stage: int
    candidate: int
    attempt: int
    repairs: int
    redos: int
    replaces: int | None
    last_execution: int | None
    reason: str | None
    lease: str | None
    blocked_by: str | None
    template_id: int | None
    organization_id: int | None
    deadline_ms: int | None
    lost_leases: int
    needs_micro: int | None
    retry_of: int | None
    run_at_ms: int


class Execution(NamedTuple):
    """The columns of an execution that invariants use."""

    id: int
    task_id: int
    status: str
    stage: int
    candidate: int
    attempt: int
    provider: str | None
    profile: str | None
    cost_micro: int | None
    cost_source: str | None
    reserved_micro: int
    budgets: str | None
    result: str | None
    result_key: str | None
    resolve_by_ms: int | None
    reason: str | None
    external_id: str | None
    lease: str | None
    started_ms: int | None


class Budget(NamedTuple):
    """A budget with its cap."""

    id: int
    scope: str
    scope_id: int
    period: str
    cap_micro: int
    refused: str
    tier: str


class Template(NamedTuple):
    """A template with its route."""

    id: int
    route: Any


class Stop(NamedTuple):
    """A stop: while a row exists, no execution begins."""

    id: int


class Period(NamedTuple):
    """A period of a budget."""

    id: str
    budget_id: int
    spent_micro: int
    reserved_micro: int


class Lease(NamedTuple):
    """The lease of a claimed batch."""

    token: str
    until_ms: int
    task_ids: str


class Rest(NamedTuple):
    """The state of a profile that fails, or has limits."""

    profile: str
    failures: int
    level: int
    limits: int
    began_ms: int
    until_ms: int
    holders: str
    failing: str
    account: str | None


class Webhook(NamedTuple):
    """A stored webhook."""

    profile: str
    event_id: str
    execution_id: int | None
    handled_ms: int | None


@dataclass(slots=True)
class Change:
    """The effect of one statement: the last state of each changed row, None for a deleted row."""

    statement: Statement
    tasks: dict[int, Task | None] = field(default_factory=dict)
    executions: dict[int, Execution | None] = field(default_factory=dict)
    templates: dict[int, Template | None] = field(default_factory=dict)
    budgets: dict[int, Budget | None] = field(default_factory=dict)
    periods: dict[str, Period | None] = field(default_factory=dict)
    stops: dict[int, Stop | None] = field(default_factory=dict)
    leases: dict[str, Lease | None] = field(default_factory=dict)
    webhooks: dict[tuple[str, str], Webhook | None] = field(default_factory=dict)
    rests: dict[str, Rest | None] = field(default_factory=dict)


Rows = Callable[[Change], dict[Any, Any]]
_WATCHED: Final[dict[str, tuple[type[NamedTuple], Rows]]] = {
    "tasks": (Task, attrgetter("tasks")),
    "task_executions": (Execution, attrgetter("executions")),
    "task_templates": (Template, attrgetter("templates")),
    "budgets": (Budget, attrgetter("budgets")),
    "budget_periods": (Period, attrgetter("periods")),
    "stops": (Stop, attrgetter("stops")),
    "leases": (Lease, attrgetter("leases")),
    "webhooks": (Webhook, attrgetter("webhooks")),
    "rests": (Rest, attrgetter("rests")),
}
"""The watched tables, with the class of a row and the field of `Change`."""


@lru_cache(maxsize=1)
def _template() -> sqlite3.Connection:
    """A migrated database, made once for each process."""
    made = SqliteDatabase(":memory:")
    migrate.apply(made, MIGRATIONS)
    return made._connection


class WatchedDatabase(SqliteDatabase):
    """`watch` is called after each commit with the writer and the changes."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._open = True
        self._now_ms = now_ms
        self._running: tuple[str, list[Value]] = ("", [])
        self._change: Change | None = None
        self._batch: list[Change] = []
        self.commits = 0
        self.watch: Callable[[str, list[Change]], None] = lambda _who, _changes: None
        super().__init__(":memory:")
        _template().backup(self._connection)
        self._connection.executescript(";".join(PLANTED))
        self._connection.create_function("julianday", -1, self._julianday)
        self._connection.create_function("strftime", -1, self._strftime)
        chance = random.Random(0)  # noqa: S311  # the same identities in each run of a seed
        self._connection.create_function("randomblob", 1, chance.randbytes)
        self._plain = sqlite3.connect(":memory:")
        for table, (kind, rows_of) in _WATCHED.items():
            self._connection.create_function(f"sim_{table}", -1, self._noted(kind, rows_of))
            self._install(table, kind)
        self._open = False

    def _install(self, table: str, kind: type[NamedTuple]) -> None:
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            columns = ", ".join(f"{row}.{name}" for name in kind._fields)
            self._connection.execute(
                f"CREATE TEMP TRIGGER sim_{table}_{event.lower()} AFTER {event} ON main.{table}"
                f" BEGIN SELECT sim_{table}('{event}', {columns}); END"
            )

    def _noted(self, kind: type[NamedTuple], rows_of: Rows) -> Callable[..., None]:
        def note(event: str, *values: Any) -> None:
            if self._change is None:
                sql, parameters = self._running
                self._change = Change(Statement(sql, tuple(parameters)))
                self._batch.append(self._change)
            rows, row = rows_of(self._change), None if event == "DELETE" else kind(*values)
            key = values[:2] if kind is Webhook else values[0]
            seen = rows.get(key)
            # A trigger's update may be reported before the update that caused it: the higher version is later.
            earlier = isinstance(row, Task) and isinstance(seen, Task) and row.version < seen.version
            if not earlier:
                rows[key] = row

        return note

    def commit(self, who: str, statements: Sequence[Statement]) -> list[Result]:
        """Run a batch for a writer, and report its changes to `watch`."""
        results = self.run(statements)
        self.commits += 1
        self.watch(who, self._batch)
        return results

    def copied(self) -> sqlite3.Connection:
        """A copy of this moment."""
        made = sqlite3.connect(":memory:")
        self._connection.backup(made)
        return made

    def turn_back(self, copy: sqlite3.Connection) -> None:
        """Take the database back to a copy, without a report to `watch`."""
        copy.backup(self._connection)
        copy.close()

    def ask(self, sql: str, *parameters: Value) -> list[dict[str, Any]]:
        """Read without a report to `watch`."""
        return [dict(row) for row in self.run([Statement(sql, parameters)])[0].rows]

    def _transact(self, statements: Sequence[Statement]) -> list[Result]:
        self._batch = []  # a text that is not UTF-8 makes the database roll a batch back and run it again
        return super()._transact(statements)

    def _run(self, sql: str, parameters: list[Value]) -> Result:
        self._running, self._change = (sql, parameters), None
        return super()._run(sql, parameters)

    def _authorize(self, action: int, first: str | None, second: str | None, *where: str | None) -> int:
        ours = action == sqlite3.SQLITE_FUNCTION and (second or "").startswith("sim_")
        return sqlite3.SQLITE_OK if self._open or ours else super()._authorize(action, first, second, *where)

    def _julianday(self, *values: Any) -> Any:
        if values == ("now",):
            return _EPOCH + self._now_ms() / _DAY_MS
        slots = ", ".join("?" * len(values))
        return self._plain.execute(f"SELECT julianday({slots})", values).fetchone()[0]

    def _strftime(self, *values: Any) -> Any:
        if values == ("%Y-%m-%dT%H:%M:%fZ", "now"):
            return iso(self._now_ms())
        slots = ", ".join("?" * len(values))
        return self._plain.execute(f"SELECT strftime({slots})", values).fetchone()[0]
