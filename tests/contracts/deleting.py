"""Other applications change finished rows, or delete some.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from decimal import Decimal

import pytest

from consumer.core.errors import NotFound
from consumer.core.outcome import Succeeded, Unknown
from consumer.core.policy import DAY
from consumer.ports import Refused
from consumer.service import commands, people, queries
from consumer.service.commands import Adopted
from consumer.store.sql import execution_id
from tests.support.assignments import link
from tests.support.budgets import limited
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person

REPLACE = """
    INSERT OR REPLACE INTO task_executions (id, task_id, execution_type)
    SELECT id, task_id, 'ai' FROM task_executions WHERE task_id = ?1
"""


class DeleteContract(Suite):
    @pytest.mark.parametrize(
        "edit",
        [
            "UPDATE tasks SET status = 'pending' WHERE id = ?1",
            "UPDATE tasks SET reason = 'mine' WHERE id = ?1",
            "INSERT OR REPLACE INTO tasks (id, title) VALUES (?1, 'mine')",
            "UPDATE task_executions SET result = '{}' WHERE task_id = ?1",
            "UPDATE task_executions SET status = 'running' WHERE task_id = ?1",
            REPLACE,
        ],
    )
    async def test_a_finished_row_does_not_change(self, scene: Scene, edit: str) -> None:
        task = await scene.given(ai("blind"))
        await scene.drain()
        before = (await scene.task(task), await scene.executions(task))

        with pytest.raises(Refused):
            await scene.sql(edit, task)

        assert (await scene.task(task), await scene.executions(task)) == before

    async def test_notes_and_bills_of_a_finished_execution_may_follow(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        budget = await scene.budget(1_000_000)
        await scene.drain()

        await scene.sql(
            "UPDATE task_executions SET cost_micro = 7, note = 'credited' WHERE task_id = ?1", task
        )

        assert await scene.books(budget) == (7, 0)

    @pytest.mark.parametrize("period", ["day", "month", "total"])
    async def test_deleting_executions_gives_no_budget_its_money_back(
        self, scene: Scene, period: str
    ) -> None:
        task, budget = await limited(scene, 5, count=2, period=period)
        scene.network.script("blind", Succeeded(ANSWER, charged=Decimal("0.002")), Unknown("lost"))
        await scene.drain()
        assert await scene.books(budget) == (2_000, PRICE)

        await scene.sql("DELETE FROM task_executions WHERE task_id IN (?1, ?2)", task, task + 1)

        assert await scene.books(budget) == (2_000 + PRICE, 0)  # an unknown cost is charged at its bound

    @pytest.mark.parametrize("by", ["org", "profile", "provider", "template", "day"])
    async def test_deleting_rows_lowers_no_cost_in_any_list(self, scene: Scene, by: str) -> None:
        task = await scene.given(ai("blind"), count=3)
        await scene.drain()
        before = await queries.costs(scene.world, 1, by)

        await scene.sql("DELETE FROM task_executions WHERE task_id = ?1", task)
        assert await queries.costs(scene.world, 1, by) == before
        await scene.sql("DELETE FROM task_executions")
        assert await queries.costs(scene.world, 1, by) == before
        await scene.sql("DELETE FROM tasks")

        assert await queries.costs(scene.world, 1, by) == before
        assert (before["costs"][0]["executions"], before["costs"][0]["cost_micro"]) == (3, 3 * PRICE)
        assert await scene.count("ledger") == 1
        assert (await queries.costs(scene.world, 2, by))["costs"] == []
        assert await queries.costs(scene.world, 1, by, since="2033-05-18T00:00:00Z") == before
        assert (await queries.costs(scene.world, 1, by, since="2033-05-19T00:00:00Z"))["costs"] == []

    @pytest.mark.parametrize("batch", [0, 1, 2])
    async def test_a_task_deleted_before_its_begin_stops_no_other(self, scene: Scene, batch: int) -> None:
        task = await scene.given(ai("blind"), count=3)

        async def delete() -> None:
            await scene.sql("DELETE FROM task_executions WHERE task_id = ?1", task)
            await scene.sql("DELETE FROM tasks WHERE id = ?1", task)

        if batch:
            scene.database.between(batch, delete)
        else:
            await delete()

        await scene.drain()
        await scene.later(LEASE_OVER)

        assert await scene.statuses() == {"completed": 2}
        assert (await scene.count("leases"), await scene.count("outbox")) == (0, 0)

    async def test_a_template_that_is_deleted_under_its_tasks_loses_no_answer(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.sql("UPDATE tasks SET template_id = NULL")
            await scene.sql("DELETE FROM task_templates")
            hold.release()

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["succeeded"]

    async def test_a_task_deleted_during_its_call_stops_no_other(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind"), count=3), Hold()
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.sql("DELETE FROM task_executions WHERE task_id = ?1", task)
            await scene.sql("DELETE FROM tasks WHERE id = ?1", task)
            hold.release()
        await scene.later(LEASE_OVER)

        assert await scene.statuses() == {"completed": 2}
        assert await scene.count("task_executions") == 2
        assert await scene.count("leases") == 0

    async def test_a_task_deleted_while_it_waits_stops_no_other(self, scene: Scene) -> None:
        task = await scene.given(person(), count=2)
        await scene.drain()
        gone, token = await link(scene, task), await link(scene, task + 1)
        await scene.sql("DELETE FROM task_executions WHERE task_id = ?1", task)
        await scene.sql("DELETE FROM tasks WHERE id = ?1", task)

        with pytest.raises(NotFound):
            await people.submit(scene.world, gone, ANSWER)
        assert (await people.submit(scene.world, token, ANSWER)).used

    async def test_a_foreign_execution_does_not_stop_the_worker(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql(
            "INSERT INTO task_executions (task_id, execution_type, provider) VALUES (?1, 'human', 'theirs')",
            task,
        )

        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
        theirs, ours = await scene.executions(task)
        assert (theirs["status"], ours["id"]) == ("running", execution_id(task, 1))

    async def test_rows_older_than_the_installation_wait_until_they_are_adopted(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql("UPDATE tasks SET blocked_by = 'adopt', run_at_ms = 9007199254740990")
        await scene.later(DAY)
        assert scene.network.count() == 0
        assert "bizq adopt" in await scene.why(task)

        assert await commands.adopt(scene.world, 1) == Adopted(1, 0, more=False)
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
