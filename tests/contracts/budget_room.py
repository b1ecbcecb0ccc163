"""Room in a budget comes back, tasks wait for it, and spending is stopped.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from decimal import Decimal

import pytest

from consumer.core.outcome import Failed, Retry, Succeeded
from consumer.core.policy import DAY, MINUTE
from consumer.service import admin, stops
from tests.support.budgets import limited
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import PRICE, Scene, Suite, ai, route


class BudgetRoomContract(Suite):
    async def test_a_raised_cap_lets_the_first_waiting_tasks_run_immediately(self, scene: Scene) -> None:
        task, budget = await limited(scene, 1, count=3)
        await scene.drain()
        value = {"scope": "organization", "scope_id": 1, "period": "day", "cap": "0.03"}

        assert await admin.put_budget(scene.world, 1, value, "tester") == budget
        await scene.drain()

        assert await scene.statuses() == {"completed": 3}
        assert (await scene.sql("SELECT event FROM audit_log"))[0]["event"] == "budget"
        assert (await scene.task(task + 1))["blocked_by"] is None

    async def test_the_sweep_finds_room_that_another_application_made(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=2)
        budget = await scene.budget(PRICE)
        await scene.drain()
        assert (await scene.task(task + 1))["status"] == "pending"
        await scene.sql("UPDATE budgets SET cap_micro = ?1 WHERE id = ?2", 2 * PRICE, budget)
        await scene.drain()
        assert (await scene.task(task + 1))["status"] == "pending"

        await scene.later(MINUTE)

        assert (await scene.task(task + 1))["status"] == "completed"

    async def test_a_cheaper_answer_releases_the_rest_of_its_reservation(self, scene: Scene) -> None:
        _, budget = await limited(scene, 2, count=1)
        scene.network.script("blind", Succeeded(ANSWER, charged=Decimal("0.002")))

        await scene.drain()

        assert await scene.books(budget) == (2_000, 0)

    @pytest.mark.parametrize("outcome", [Failed("no"), Retry("busy", DAY)], ids=["failed", "retry"])
    async def test_a_call_that_certainly_cost_nothing_releases_its_reservation(
        self, scene: Scene, outcome: Failed | Retry
    ) -> None:
        _, budget = await limited(scene, 2, count=1)
        scene.network.script("blind", outcome)

        await scene.drain()

        assert await scene.books(budget) == (0, 0)

    # --- waiting, alerts, stop -----------------------------------------------------------------------

    async def test_a_cap_of_nothing_holds_work_until_it_is_raised(self, scene: Scene) -> None:
        _, budget = await limited(scene, 0, count=2)
        await scene.drain()
        assert await scene.statuses() == {"pending": 2}
        value = {"scope": "organization", "scope_id": 1, "period": "day", "cap": "0.03"}

        assert await admin.put_budget(scene.world, 1, value, "tester") == budget
        await scene.drain()

        assert await scene.statuses() == {"completed": 2}

    async def test_room_that_is_too_small_wakes_no_task(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=3)
        await scene.budget(PRICE * 3 // 2)
        await scene.drain()
        waiting = [await scene.task(task + number) for number in (1, 2)]

        for _ in range(3):
            assert (await scene.tick()).unblocked == 0
            scene.clock.advance(MINUTE)

        assert [await scene.task(task + number) for number in (1, 2)] == waiting

    async def test_a_task_that_fits_is_woken_past_tasks_that_do_not(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=4)
        budget = await scene.budget(4 * PRICE)
        holds = [Hold(), *(Hold(Failed("nothing charged")) for _ in range(3))]
        scene.network.script("blind", *holds)
        async with scene.draining():
            await holds[3].begun.wait()
            dear = {"kind": "ai", "candidates": [{"profile": "unpriced", "max_cost": "0.04"}]}
            (big,) = await scene.tasks(1, await scene.template(route(dear)))
            (small,) = await scene.tasks(1, (await scene.task(task))["template_id"])
            await scene.drain()
            for hold in holds:
                hold.release()

        await scene.later(MINUTE)

        assert (await scene.task(big))["blocked_by"] == f"budget:{budget}"
        assert (await scene.task(small))["status"] == "completed"

    @pytest.mark.parametrize(("answers", "said"), [(5, 0), (8, 1), (10, 1)])
    async def test_a_nearly_full_budget_raises_one_alert(self, scene: Scene, answers: int, said: int) -> None:
        await limited(scene, 10, count=answers)
        await scene.drain()

        assert [(await scene.tick()).alerts for _ in range(3)] == [said, 0, 0]

        audit = await scene.sql("SELECT event, detail FROM audit_log")
        assert [row["event"] for row in audit] == ["budget alert"] * said

    async def test_a_changed_cap_raises_a_new_alert(self, scene: Scene) -> None:
        await limited(scene, 10, count=9)
        await scene.drain()
        assert (await scene.tick()).alerts == 1
        value = {"scope": "organization", "scope_id": 1, "period": "day", "cap": "0.11"}

        await admin.put_budget(scene.world, 1, value, "tester")

        assert (await scene.tick()).alerts == 1

    async def test_a_stop_ends_all_spending_immediately(self, scene: Scene) -> None:
        task, holds = await scene.given(ai("blind"), count=30), [Hold() for _ in range(4)]
        scene.network.script("blind", *holds)
        async with scene.draining():
            await holds[3].begun.wait()
            sent = scene.network.count()
            await stops.stop(scene.world, "a runaway loop", "tester")
            for hold in holds:
                hold.release()
        await scene.drain()
        await scene.later(MINUTE)

        assert scene.network.count() == sent < 30
        assert await scene.statuses() == {"completed": sent, "pending": 30 - sent}
        assert await scene.count("leases") == 0
        assert "All spending is stopped: a runaway loop" in await scene.why(task + 29)
        stopped = await stops.stop(scene.world, "again", "another")
        assert (stopped["actor"], stopped["reason"]) == ("tester", "a runaway loop")
        assert await stops.stopped(scene.world) == stopped
        assert await scene.count("audit_log") == 1

    async def test_after_a_stop_everything_goes_on(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=3)
        await stops.stop(scene.world, "wait", "tester")
        await scene.drain()
        assert scene.network.count() == 0

        assert await stops.resume(scene.world, "tester")
        await scene.drain()

        assert await scene.statuses() == {"completed": 3}
        assert await stops.resume(scene.world, "tester") is False
        assert await stops.stopped(scene.world) is None
        audit = await scene.sql("SELECT event, detail FROM audit_log ORDER BY id")
        assert [(row["event"], row["detail"]) for row in audit] == [
            ("spending stopped", "wait"),
            ("spending resumed", "wait"),
        ]
