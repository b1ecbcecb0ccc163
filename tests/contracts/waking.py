"""Room in a budget wakes the tasks that it blocked: as many as fit, and never the clock.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from consumer.core.outcome import Failed, Succeeded
from consumer.core.policy import DAY, MINUTE, NEVER
from consumer.core.profile import accounts
from consumer.service import admin, people
from tests.support.assignments import link
from tests.support.budgets import MIDNIGHT, limited
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import PRICE, PROFILES, Scene, Suite, ai, person


async def moves(scene: Scene) -> int:
    """The number of times that tasks were claimed, settled or released."""
    (row,) = await scene.sql("SELECT sum(version) AS moves FROM tasks")
    return int(str(row["moves"]))


def cap(dollars: str, period: str = "day") -> dict[str, object]:
    return {"scope": "organization", "scope_id": 1, "period": period, "cap": dollars}


class WakeContract(Suite):
    async def test_a_cap_below_one_call_lets_tasks_wait_until_it_is_raised(self, scene: Scene) -> None:
        task, _ = await limited(scene, 1, count=20)
        await scene.drain()
        await admin.put_budget(scene.world, 1, cap("0.005"), "tester")
        before = await moves(scene)

        for _ in range(3):
            await scene.later(DAY)

        assert await scene.statuses() == {"completed": 1, "pending": 19}
        assert await moves(scene) == before
        why = await scene.why(task + 1)
        assert "may cost $0.010000, more than the whole cap: raise the cap" in why
        assert "$0.005000 a day" in why
        await admin.put_budget(scene.world, 1, cap("1"), "tester")
        await scene.finish()
        assert await scene.statuses() == {"completed": 20}

    async def test_a_new_period_wakes_as_many_tasks_as_fit(self, scene: Scene) -> None:
        """Tasks that were claimed and released in vain each midnight would make the work grow with its square."""
        await limited(scene, 5, count=120)
        await scene.drain()
        scene.clock.ms = MIDNIGHT - 1
        await scene.later(0)
        for days in range(1, 6):
            before = await moves(scene)
            scene.clock.ms = MIDNIGHT + (days - 1) * DAY
            await scene.later(0)
            assert await scene.statuses() == {"completed": 5 + 5 * days, "pending": 115 - 5 * days}
            assert await moves(scene) - before == 2 * 5

    async def test_room_is_given_once_even_if_no_worker_claims_for_a_while(self, scene: Scene) -> None:
        _, budget = await limited(scene, 0, count=30)
        await scene.drain()
        await scene.sql("UPDATE budgets SET cap_micro = ?1 WHERE id = ?2", 5 * PRICE, budget)

        assert [(await scene.tick()).unblocked for _ in range(3)] == [5, 0, 0]

        assert (await scene.tick()).due == 5
        before = await moves(scene)
        await scene.finish()
        assert await moves(scene) - before == 2 * 5

    async def test_room_that_no_worker_claims_is_given_to_other_tasks_in_the_end(self, scene: Scene) -> None:
        _, budget = await limited(scene, 0, count=30)
        await scene.drain()
        await scene.sql("UPDATE budgets SET cap_micro = ?1 WHERE id = ?2", 5 * PRICE, budget)
        assert (await scene.tick()).unblocked == 5

        scene.clock.advance(10 * MINUTE)

        assert (await scene.tick()).unblocked == 5

    async def test_a_task_that_was_woken_is_due_and_says_so(self, scene: Scene) -> None:
        task, budget = await limited(scene, 0, count=1)
        await scene.drain()
        await scene.sql("UPDATE budgets SET cap_micro = ?1 WHERE id = ?2", 5 * PRICE, budget)
        await scene.tick()

        assert "It is due" in await scene.why(task)

    async def test_a_small_task_runs_behind_any_number_that_do_not_fit(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template({"stages": [ai("blind")]})
        budget = await scene.budget(5_000_000)
        kept_back: dict[str, Any] = {"run_at_ms": NEVER, "blocked_by": f"budget:{budget}"}
        await scene.tasks(1_100, template, needs_micro=6_000_000, priority="urgent", **kept_back)
        (small,) = await scene.tasks(1, template, needs_micro=PRICE, priority="low", **kept_back)

        await scene.later(0)

        assert (await scene.task(small))["status"] == "completed"
        assert await scene.statuses() == {"completed": 1, "pending": 1_100}

    async def test_the_first_tasks_are_woken_first(self, scene: Scene) -> None:
        task, _ = await limited(scene, 0, count=20)
        await scene.drain()
        await scene.sql("UPDATE tasks SET priority = 'urgent' WHERE id = ?1", task + 10)

        await admin.put_budget(scene.world, 1, cap("0.02"), "tester")
        await scene.finish()

        done = await scene.sql("SELECT id FROM tasks WHERE status = 'completed' ORDER BY id")
        assert [row["id"] for row in done] == [task, task + 10]

    # --- the run that frees room --------------------------------------------------------------------

    async def test_a_run_that_frees_room_takes_the_next_tasks_itself(self, scene: Scene) -> None:
        """A call costs a tenth of its reservation, so that all tasks fit, and only five at a time."""
        _, budget = await limited(scene, 5, count=30)
        scene.network.script("blind", *[Succeeded(ANSWER, charged=Decimal("0.001"))] * 30)

        await scene.drain()

        assert await scene.statuses() == {"completed": 30}
        assert await scene.books(budget) == (30_000, 0)

    async def test_a_run_takes_the_tasks_that_another_run_could_not_begin(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind"), count=2), Hold(Failed("nothing charged"))
        await scene.budget(PRICE)
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.drain()
            assert (await scene.task(task + 1))["status"] == "pending"
            hold.release()

        assert (await scene.task(task + 1))["status"] == "completed"

    async def test_an_answer_without_a_run_rings_for_the_tasks_that_fit_now(self, scene: Scene) -> None:
        paid = {**PROFILES, "inbox": {**PROFILES["inbox"], "price": {"per_task": "0.01"}}}
        scene.world = replace(scene.world, accounts=accounts(paid, {}))
        task = await scene.given(person(), count=2)
        await scene.budget(PRICE)
        await scene.drain()
        assert (await scene.task(task + 1))["blocked_by"] is not None
        rung = len(scene.queue.sent)

        await people.decline(scene.world, await link(scene, task), "no time")  # which costs nothing

        assert await scene.statuses() == {"failed": 1, "pending": 1}
        assert len(scene.queue.sent) == rung + 1
        await scene.drain()
        assert (await scene.task(task + 1))["status"] == "waiting"

    async def test_a_full_budget_costs_a_settle_no_task(self, scene: Scene) -> None:
        """A call that costs its whole reservation frees no room."""
        await limited(scene, 5, count=30)
        await scene.drain()
        assert await scene.statuses() == {"completed": 5, "pending": 25}
        assert await moves(scene) == 2 * 5 + 2 * 25  # claimed and settled, or claimed and released

    @pytest.mark.parametrize("stage", [ai("blind"), person()], ids=["ai", "person"])
    async def test_a_finished_tasks_own_budget_is_read_by_no_sweep(
        self, scene: Scene, stage: dict[str, object]
    ) -> None:
        task = await scene.given(stage)
        await scene.budget(10 * PRICE, scope="task", scope_id=task, period="total")
        await scene.drain()
        opened = await scene.sql("SELECT open FROM budget_periods")
        await scene.sql("UPDATE tasks SET status = 'cancelled' WHERE status <> 'completed'")

        assert [row["open"] for row in opened] == [0 if stage == ai("blind") else 1]
        assert [row["open"] for row in await scene.sql("SELECT open FROM budget_periods")] == [0]

    async def test_a_task_that_ends_before_its_call_leaves_no_budget_to_the_sweep(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.budget(10 * PRICE, scope="task", scope_id=task, period="total")

        async def cancel() -> None:
            await scene.sql("UPDATE tasks SET status = 'cancelled' WHERE id = ?1", task)

        scene.database.between(1, cancel)  # after the claim
        await scene.drain()

        assert scene.network.count() == 0
        assert await scene.sql("SELECT id FROM budget_periods WHERE open = 1") == []
