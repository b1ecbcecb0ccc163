"""Operators of the deployment: they set, raise and lower caps, stop all spending, and retry ended tasks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from consumer.ports import PortError, Statement
from tests.simulation.scenario import ORGANIZATIONS, ROUTES, organization_of
from tests.simulation.seen import FINISHED

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation
    from tests.simulation.watch import Budget

PERIODS: Final = ("day", "month", "total")
LONGEST_STOP_S: Final = 900.0
LONGEST_WAIT_S: Final = 600.0


class Operators:
    """Operators of the deployment."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    async def operate(self, until_s: float) -> None:
        """Sometimes change a budget, stop spending, or retry a task."""
        sim, dice = self._sim, self._sim.dice
        while sim.loop.time() < until_s:
            await asyncio.sleep(dice.between("operator.pause", 100, 900))
            if not dice.hit("operator", 0.8):
                continue
            if dice.hit("operator.meanwhile", 0.5):  # while tasks are claimed and have not begun
                sim.books.taken.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(sim.books.taken.wait(), LONGEST_WAIT_S)
                await asyncio.sleep(dice.between("operator.moment", 0.0, 2.0))
            chance = dice.stream("operator.what")
            what, much = chance.random(), chance.random()
            if dice.hit("operator.deletes", 0.25):
                self._delete(much)
            elif dice.hit("operator.lowers", 0.1):
                await self._lower_a_cap(much)
            elif what < 0.1:
                await self._change_a_cap(0.0 if what < 0.05 else much, factor=0.02)
            elif what < 0.35:
                await self._change_a_cap(much)
            elif what < 0.6:
                await self._set_a_cap(chance.choice(("organization", "template", "task")), much)
            elif what < 0.75:
                await self._stop(much * LONGEST_STOP_S)
            else:
                await self._retry(much)

    async def _change_a_cap(self, much: float, factor: float | None = None) -> None:
        """A new cap: `factor` times the old one, often below what is spent, or between half and four times."""
        books = self._sim.books
        if books.budgets:
            number = sorted(books.budgets)[int(much * len(books.budgets))]
            budget = books.budgets[number]
            times = 0.5 * 8 ** ((much * 7919) % 1) if factor is None else factor
            await self._put(budget, int(budget.cap_micro * times))

    async def _lower_a_cap(self, much: float) -> None:
        """Lower a cap below what is spent and reserved now, while calls are under way, and raise it later."""
        sim = self._sim
        held = sorted(name for name, (_, reserved) in sim.books.sums.items() if reserved > 0)
        known = [name for name in held if int(name.partition(":")[0]) in sim.books.budgets]
        if known:
            name = known[int(much * len(known))]
            budget = sim.books.budgets[int(name.partition(":")[0])]
            await self._put(budget, int(sum(sim.books.sums[name]) * much))
            await asyncio.sleep(much * LONGEST_WAIT_S)
            await self._put(budget, budget.cap_micro)

    async def _set_a_cap(self, scope: str, much: float) -> None:
        """A new budget, for a few answers or for many."""
        books = self._sim.books
        number = {
            "organization": 1 + int(much * ORGANIZATIONS),
            "template": 1 + int(much * len(ROUTES)),
            "task": self._some_task(much),
        }[scope]
        if number in books.tasks or scope != "task":
            period = PERIODS[int((much * 7919) % 1 * 3)]
            cap = int(10_000 * 100 ** ((much * 104_729) % 1))
            await self._put(books.budget(scope, number, period), cap)

    def _delete(self, much: float) -> None:
        """Delete the executions of an ended task, mostly of the newest one, mostly with the task: its id may return."""
        sim = self._sim
        ended = sorted(task.id for task in sim.books.tasks.values() if task.status in FINISHED)
        if not ended:
            return
        task = ended[-1] if much < 0.6 else ended[int(much * len(ended))]
        statements = [Statement("DELETE FROM task_executions WHERE task_id = ?1", (task,))]
        if much < 0.8:
            statements.append(Statement("DELETE FROM tasks WHERE id = ?1", (task,)))
            if sim.reuses_ids:
                statements.append(
                    Statement(
                        "UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM tasks) WHERE name = 'tasks'"
                    )
                )
        try:
            sim.database.commit("an operator", statements)
        except PortError as error:
            sim.note("an operator", "is refused", f"{task}: {error}")
        else:
            sim.books.forget(task)
            sim.coverage.task(task, "operator.deletes")
            sim.note("an operator", "deletes", task)

    def _some_task(self, much: float) -> int:
        """A task, preferably one that a worker runs now."""
        tasks = self._sim.books.tasks
        running = [task.id for task in tasks.values() if task.status == "running"]
        some = sorted(running or tasks)
        return some[int(much * len(some))] if some else 0

    async def _put(self, budget: Budget, cap: int) -> None:
        sim = self._sim
        value = {
            "scope": budget.scope,
            "scope_id": budget.scope_id,
            "period": budget.period,
            "cap": f"{cap / 1_000_000:.6f}",
            "refused": budget.refused,
        }
        owner = self._owner(budget)
        if owner is not None:
            answer = await sim.others.repeat_until_answered(
                "POST", f"/v1/budgets?organization={owner}", value
            )
            sim.note("an operator", "sets a cap", f"{value}: {answer and answer[0]}")

    def _owner(self, budget: Budget) -> int | None:
        if budget.scope == "organization":
            return budget.scope_id
        if budget.scope == "template":
            return organization_of(budget.scope_id)
        return self._sim.books.tasks[budget.scope_id].organization_id

    async def _stop(self, for_s: float) -> None:
        """Stop all spending, and resume it later."""
        sim = self._sim
        answer = await sim.others.repeat_until_answered("PUT", "/v1/stop", {"reason": "checking the bill"})
        sim.note("an operator", "stops all spending", answer and answer[0])
        answer = None
        while answer is None:
            await asyncio.sleep(for_s)
            answer = await sim.others.repeat_until_answered("DELETE", "/v1/stop")
        sim.note("an operator", "lets spending go on")

    async def _retry(self, much: float) -> None:
        """Request a retry of an ended task, until there is an answer."""
        sim = self._sim
        ended = [task.id for task in sim.books.tasks.values() if task.status in FINISHED]
        if not ended:
            return
        task = sorted(ended)[int(much * len(ended))]
        often = 2 if sim.dice.hit("operator.twice", 0.3) else 1
        asked = (sim.others.repeat_until_answered("POST", f"/v1/tasks/{task}/retry") for _ in range(often))
        sim.note("an operator", "retries", f"{task}: {await asyncio.gather(*asked)}")
