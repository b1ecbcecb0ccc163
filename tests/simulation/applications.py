"""Applications with bad manners: values that no worker can read, rows left as `running`, and whole rows saved late."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from consumer.ports import PortError, Statement
from tests.simulation.books import APPLICATION
from tests.simulation.scenario import HOUR
from tests.simulation.seen import FINISHED

if TYPE_CHECKING:
    from consumer.ports import Value
    from tests.simulation.simulation import Simulation

COLUMNS: Final = ("title", "description", "input", "assigned_to", "due_date", "priority")
UNREADABLE: Final = (
    "NULL",
    "-7",
    "1e300",
    "''",
    "'words'",
    "'{\"a\": '",
    "'[1]'",
    '\'{"a": "\\ud800"}\'',
    "X'68656C6C6F'",
    "X''",
    "CAST(X'22EDA08022' AS TEXT)",
    "'a' || char(0) || 'b'",
    "'-4713-11-24'",
    "hex(zeroblob(100000))",
)
"""SQL for values that a column does not expect: other types, JSON that breaks off, half characters, a long text."""
UNREADABLE_NOW: Final = """
    SELECT typeof(title) = 'blob' OR typeof(description) = 'blob' OR (input IS NOT NULL AND NOT json_valid(input))
      AS unreadable FROM tasks WHERE id = ?1"""
INSERT: Final = (
    "INSERT INTO tasks (template_id, title, description) VALUES (?1, ?2, 'as they know it') RETURNING id"
)
HELD_NOW: Final = """
    SELECT id FROM tasks WHERE status = 'waiting' AND version > 0 AND NOT EXISTS (SELECT 1 FROM task_executions e
      WHERE e.task_id = tasks.id AND e.status IN ('running', 'waiting', 'unknown'))"""
"""Tasks that an application holds.  After a restore it finds them again."""
LEAVE: Final = (
    "UPDATE tasks SET status = 'running', deadline_ms = COALESCE(?2, deadline_ms)"
    " WHERE id = ?1 AND status IN ('pending', 'waiting')"
)
SAVED: Final = (
    "template_id",
    "title",
    "description",
    "status",
    "priority",
    "assigned_to",
    "created_by",
    "due_date",
    "created_at",
    "updated_at",
)
"""The columns of a task that an application knows: the public ones."""
SAVE: Final = (
    f"UPDATE tasks SET {', '.join(f'{name} = ?{place}' for place, name in enumerate(SAVED, 2))} WHERE id = ?1"
)
LATEST_S: Final = 5_000.0
"""The time after which a stale row is saved at the latest, and after which an application corrects what it wrote."""


class Applications:
    """Applications with bad manners.  `unreadable`: the columns of tasks that were never corrected."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.unreadable: dict[int, set[str]] = {}
        self._written_s: dict[int, float] = {}

    async def misbehave(self, until_s: float) -> None:
        """Write rows as no application should."""
        sim, dice = self._sim, self._sim.dice
        while sim.loop.time() < until_s:
            await asyncio.sleep(dice.between("application.pause", 60, 500))
            if dice.hit("application.unreadable", 0.3):
                sim.start(self._write_unreadable())
            if dice.hit("application.saves", 0.5):
                sim.start(self._save_late())
            if dice.hit("application.leaves", 0.15):
                self._leave_running()

    def forget(self, task: int) -> None:
        """The rows of a task were deleted."""
        self.unreadable.pop(task, None)
        self._written_s.pop(task, None)

    def unreadable_since(self, task: int, since_s: float) -> bool:
        """Whether the row of a task cannot be read, and could not be read at this time."""
        if self._written_s.get(task, since_s) >= since_s:
            return False
        (row,) = self._sim.database.ask(UNREADABLE_NOW, task)
        return bool(row["unreadable"])

    def turn_back(self, unreadable: dict[int, set[str]]) -> None:
        """After a restore: what had been corrected in the lost time is not, and the other way round."""
        for task in {*self.unreadable, *unreadable}:
            known = self.unreadable.setdefault(
                task, set()
            )  # an application may be about to correct its value
            known.clear()
            known.update(unreadable.get(task, ()))
        for row in self._sim.database.ask(HELD_NOW):
            self._sim.start(self._give_back(row["id"]))

    def _some_task(self, stream: str) -> int | None:
        """A task that is not finished."""
        tasks = sorted(task.id for task in self._sim.books.tasks.values() if task.status not in FINISHED)
        return self._sim.dice.stream(stream).choice(tasks) if tasks else None

    # --- values that cannot be read ---------------------------------------------------------------------------------

    async def _write_unreadable(self) -> None:
        sim, chance = self._sim, self._sim.dice.stream("application.value")
        column, value = chance.choice(COLUMNS), chance.choice(UNREADABLE)
        if column in ("title", "description") and chance.random() < 0.7:
            value = "X'68656C6C6F'"
        template, new = 1 + chance.randrange(len(sim.books.limits)), chance.random() < 0.3
        task = self._insert(template) if new else self._some_task("application.which")
        if task is None:
            return
        before = sim.database.ask(f"SELECT {column} AS value FROM tasks WHERE id = ?1", task)[0]["value"]
        era = sim.books.deleted[task]
        known = self.unreadable.setdefault(task, set())
        if column in known or not self._write(f"UPDATE tasks SET {column} = {value} WHERE id = ?1", task):
            return
        known.add(column)
        if not sim.dice.hit("application.corrects", 0.7):
            return
        if sim.dice.hit("application.at_claim", 0.4):  # just after a claim, maybe of this very task
            sim.books.taken.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(sim.books.taken.wait(), 600)
        else:
            await asyncio.sleep(sim.dice.between("application.correction", 0.1, LATEST_S) ** 2 / LATEST_S)
        if era == sim.books.deleted[task]:
            known.discard(column)
            self._write(f"UPDATE tasks SET {column} = ?2 WHERE id = ?1", task, before)

    def _insert(self, template: int) -> int:
        rows = self._sim.database.commit(APPLICATION, [Statement(INSERT, (template, "theirs"))])[0].rows
        return int(str(rows[0]["id"]))

    # --- a status that is not theirs --------------------------------------------------------------------------------

    def _leave_running(self) -> None:
        """Take a task, often with a deadline, and never give it back."""
        task = self._some_task("application.left")
        soon = self._sim.dice.stream("application.deadline").random() < 0.5
        if task is not None:
            self._write(LEAVE, task, self._sim.now_ms() + HOUR * 1000 if soon else None)

    async def _save_late(self) -> None:
        """Read a task, and write all its columns back when much may have happened."""
        sim = self._sim
        task = self._some_task("application.saved")
        if task is None:
            return
        era = sim.books.deleted[task]
        names = ", ".join(SAVED)
        (row,) = sim.database.ask(f"SELECT {names} FROM tasks WHERE id = ?1", task)
        await asyncio.sleep(math.exp(sim.dice.between("application.lateness", 0.0, math.log(LATEST_S))))
        values = [row[name] for name in SAVED]
        if era != sim.books.deleted[task] or any(isinstance(value, list) for value in values):
            return  # another task has its id, or the library cannot write the bytes that it read
        self._write(SAVE, task, *values)
        if row["status"] == "waiting":  # such a task is theirs until they give it back
            await self._give_back(task)

    async def _give_back(self, task: int) -> None:
        await asyncio.sleep(self._sim.dice.between("application.gives_back", 10, LATEST_S))
        self._write("UPDATE tasks SET status = 'pending' WHERE id = ?1 AND status = 'waiting'", task)

    def _write(self, sql: str, *values: Value) -> bool:
        """Whether the database took the statement."""
        try:
            self._sim.database.commit(APPLICATION, [Statement(sql, values)])
        except PortError as error:
            self._sim.note(APPLICATION, "is refused", f"{values[0]}: {error}")
            return False
        self._written_s[int(str(values[0]))] = self._sim.loop.time()
        self._sim.note(APPLICATION, "writes", f"{values[0]}: {sql[:90]}")
        self._sim.coverage.task(int(str(values[0])), "application.saves")
        return True
