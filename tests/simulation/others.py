"""Callers of the API, and other applications that write to the same database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from consumer.core.times import iso
from consumer.ports import PortError, Statement
from tests.simulation import edges, scenario
from tests.simulation.books import APPLICATION
from tests.simulation.scenario import KEY, Wanted, member_key

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_UNFINISHED: Final = "id = ?1 AND status NOT IN ('completed', 'failed', 'cancelled')"
WRITES: Final = (
    (0.3, f"UPDATE tasks SET status = 'cancelled' WHERE {_UNFINISHED}"),
    (0.5, f"UPDATE tasks SET status = 'pending' WHERE {_UNFINISHED}"),
    (0.55, f"UPDATE tasks SET status = 'completed' WHERE {_UNFINISHED}"),
    (0.6, f"UPDATE tasks SET status = 'waiting' WHERE {_UNFINISHED} AND status = 'running'"),
    (0.7, "UPDATE tasks SET description = 'edited' WHERE id = ?1"),
    (0.8, "UPDATE tasks SET priority = 'urgent', due_date = '2030-01-01T00:00:00Z' WHERE id = ?1"),
    # Ending an open execution of the worker is refused; their own executions have ended.
    (0.85, "UPDATE task_executions SET status = 'cancelled' WHERE task_id = ?1 AND completed_at IS NULL"),
    (
        0.9,
        "INSERT INTO task_executions (task_id, execution_type, status, completed_at) VALUES (?1, 'ai', 'failed', '')",
    ),
    (1.0, "UPDATE tasks SET status = 'running' WHERE id = ?1"),  # refused for finished tasks
)
"""Statements of another application, each with its upper limit of a draw."""


class Others:
    """`made`: the ids of existing tasks by their number in the scenario."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.made: dict[int, int] = {}
        self._due: dict[int, str] = {}

    # --- submissions --------------------------------------------------------------------------------------------------

    def turn_back(self, made: dict[int, int]) -> None:
        """After a restore: who submitted a task that is gone submits it again."""
        sim, lost = self._sim, self.made.keys() - made.keys()
        self.made = dict(made)
        for one in scenario.wanted(sim.plan.seed, sim.plan.tasks, 0.0):
            if one.number in lost:
                sim.start(self.hand_in(replace(one, at=sim.dice.between("caller.again", 1, 2_000))))

    async def hand_in(self, one: Wanted) -> None:
        """Submit or insert one task of the scenario."""
        await asyncio.sleep(one.at)
        if one.foreign:
            self._insert(one)
            self._sim.readers.watch(self.made[one.number])
            return
        if one.twice:
            await asyncio.gather(self._submit(one), self._submit(one))
        else:
            await self._submit(one)
        if one.number in self.made:
            self._sim.readers.watch(self.made[one.number])
        if self._sim.dice.hit("caller.cancels", 0.05):
            await asyncio.sleep(self._sim.dice.between("caller.patience", 0.1, 600))
            await self._cancel(self.made.get(one.number))

    def _insert(self, one: Wanted) -> None:
        now = self._sim.now_ms()
        title = one.quirk if one.quirk == "poison at claim" else f"task #{one.number}"
        due = None if one.due_s is None else iso(now + int(one.due_s * 1000))
        sql = (
            "INSERT INTO tasks (template_id, title, description, priority, due_date) VALUES (?1, ?2, ?3, ?4, ?5)"
            " RETURNING id"
        )
        statement = Statement(sql, (one.template, title, one.quirk, one.priority, due))
        results = self._sim.database.commit(APPLICATION, [statement])
        self.made[one.number] = int(str(results[0].rows[0]["id"]))
        self._sim.note(APPLICATION, "inserts", self.made[one.number])

    async def _submit(self, one: Wanted) -> None:
        value: dict[str, Any] = {
            "template": one.template,
            "title": one.quirk if one.quirk == "poison at claim" else f"task #{one.number}",
            "input": {"words": one.quirk or f"number {one.number}"},
            "priority": one.priority,
            "idempotency_key": f"wanted-{one.number}",
        }
        if one.due_s is not None:
            due = iso(self._sim.now_ms() + int(one.due_s * 1000))
            value["due_date"] = self._due.setdefault(one.number, due)
        turned, answer = -1, None
        while turned != self._sim.restores.turned:  # an answer from before a restore may be forgotten
            turned = self._sim.restores.turned
            answer = await self._ask_for(one, value)
        if answer is None:
            return
        status, said = answer
        edges.no_good_request_is_refused(self._sim, status, said)
        if status not in (200, 201):
            return
        if self._sim.books.deleted[self.made.get(one.number, 0)]:  # its key is free again
            return
        before = self.made.setdefault(one.number, said["id"])
        edges.one_task_per_key(self._sim, before, said["id"])
        self._sim.note("a caller", "submitted", said["id"])

    async def _ask_for(self, one: Wanted, value: dict[str, Any]) -> tuple[int, Any] | None:
        """Submit a task, again while its template cannot be read."""
        whose: tuple[str, str] = ("/v1/tasks", member_key(one.organization))
        if one.number % 4 == 0:
            whose = (f"/v1/tasks?organization={one.organization}", KEY)
        while True:
            began = self._sim.loop.time()
            answer = await self.repeat_until_answered("POST", whose[0], value, whose[1])
            broken = answer is not None and answer[0] == 422
            if not (broken and self._sim.editors.was_broken(one.template, began)):
                return answer
            await asyncio.sleep(300)

    async def repeat_until_answered(
        self, method: str, target: str, value: Any = None, key: str = KEY
    ) -> tuple[int, Any] | None:
        """Repeat a request until there is an answer; None if there never was one."""
        for pause in (0.5, 2, 10, 60, 300, 3_000, 4_000, 8_000):
            restores, turned = self._sim.restores, self._sim.restores.turned
            answer = await self._sim.web.json(method, target, value, key)
            new_key = restores.under_way or turned != restores.turned  # then all keys may be revoked
            if answer is not None and answer[0] < 500 and not (answer[0] == 401 and new_key):
                return answer
            await asyncio.sleep(pause)
        return None

    async def _cancel(self, task: int | None) -> None:
        if task is not None:
            answer = await self._sim.web.json("POST", f"/v1/tasks/{task}/cancel", None, KEY)
            self._sim.note("a caller", "cancels", f"{task}: {answer and answer[0]}")

    # --- other applications -------------------------------------------------------------------------------------------

    async def edit_public_columns(self, until_s: float) -> None:
        """Let another application edit public columns."""
        sim, dice = self._sim, self._sim.dice
        while sim.loop.time() < until_s:
            await asyncio.sleep(dice.between("meddle.pause", 30, 600))
            if not self.made or not dice.hit("meddle", 0.8):
                continue
            chance = dice.stream("meddle.what")
            task = chance.choice(sorted(self.made.values()))
            what = chance.random()
            self._write(task, what)
            if 0.55 <= what < 0.6 or what >= 0.9:  # it had taken the task for itself, and gives it back
                sim.start(self._give_back(task, dice.between("meddle.takes", 10, 5_000)))

    async def _give_back(self, task: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._write(task, 0.4)

    def _write(self, task: int, what: float) -> None:
        sql = next(sql for below, sql in WRITES if what < below)
        try:
            self._sim.database.commit(APPLICATION, [Statement(sql, (task,))])
        except PortError as error:
            self._sim.note(APPLICATION, "is refused", f"{task}: {error}")
        else:
            self._sim.note(APPLICATION, "writes", f"{task}: {sql[:70]}")
            self._sim.coverage.task(task, "meddle")
