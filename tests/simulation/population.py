"""A large initial population: thousands of tasks that are finished, waiting, older than the worker or due for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from consumer.core.policy import NEVER
from consumer.ports import PortError, Statement
from tests.simulation.books import APPLICATION
from tests.simulation.scenario import KEY, ROUTES

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

EVERY: Final = 6
"""One seed of this number begins with many tasks."""
FINISHED: Final = 1_000
HELD: Final = 150
OLD: Final = 30
DUE: Final = 30
LAST_ADOPTED_S: Final = 24_000.0
"""The time after which no application gives a task back any more."""
DAY_MS: Final = 86_400_000
INSERT: Final = """
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
    INSERT INTO tasks (template_id, title, status, priority, deadline_ms, run_at_ms)
    SELECT 1 + n % ?2, 'old task', ?3, CASE n % 3 WHEN 0 THEN 'urgent' ELSE 'low' END,
      CASE WHEN ?4 THEN ?5 + n * 60000 END, ?6 FROM numbers"""


HELD_NOW: Final = """
    SELECT id FROM tasks WHERE title = 'old task' AND status = 'waiting' AND deadline_ms IS NULL
      AND NOT EXISTS (SELECT 1 FROM task_executions e WHERE e.task_id = tasks.id)"""


class Population:
    """The tasks that exist from the beginning."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def insert(self) -> None:
        """Insert the tasks; half of those that are held have a deadline."""
        sim, now = self._sim, self._sim.now_ms()
        if sim.plan.seed % EVERY or not sim.dice.hit("population", 1.0):
            return
        kinds = (
            *((FINISHED, status, 0, 0) for status in ("completed", "failed", "cancelled")),
            (HELD, "waiting", 0, 0),
            (HELD, "waiting", 1, 0),
            (OLD, "pending", 0, NEVER),
            (DUE, "pending", 0, 0),
        )
        for count, status, ends, run_at in kinds:
            parameters = (count, len(ROUTES), status, ends, now + DAY_MS // 24, run_at)
            sim.database.commit(APPLICATION, [Statement(INSERT, parameters)])
        # As the installation leaves tasks that are older than it.
        adopt = "UPDATE tasks SET blocked_by = 'adopt' WHERE status = 'pending' AND run_at_ms = ?1"
        sim.database.commit(APPLICATION, [Statement(adopt, (NEVER,))])
        sim.start(self._give_back())
        sim.start(self._adopt())

    async def _give_back(self) -> None:
        """An application that holds many tasks as `waiting` gives them back one after the other."""
        sim = self._sim
        while held := sim.database.ask(HELD_NOW):  # again after a restore
            await self._give_back_each([row["id"] for row in held])

    async def _give_back_each(self, held: list[int]) -> None:
        sim = self._sim
        for task in held:
            await asyncio.sleep(sim.dice.between("population.pause", 0, 120))
            done = "cancelled" if sim.dice.stream("population.done").random() < 0.8 else "pending"
            edit = Statement(
                "UPDATE tasks SET status = ?2 WHERE id = ?1 AND status = 'waiting'", (task, done)
            )
            try:
                sim.database.commit(APPLICATION, [edit])
            except PortError as error:
                sim.note(APPLICATION, "is refused", error)

    async def _adopt(self) -> None:
        """An operator lets tasks run that are older than the installation, and those that applications give back."""
        sim = self._sim
        while sim.loop.time() < LAST_ADOPTED_S:
            await asyncio.sleep(sim.dice.between("population.adopts", 600, 3_000))
            answer = await sim.others.repeat_until_answered("POST", "/v1/adopt", None, KEY)
            sim.note("an operator", "adopts", answer)
