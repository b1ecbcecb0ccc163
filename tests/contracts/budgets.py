"""A budget is a hard limit.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal

import pytest

from consumer.core.errors import BadInput
from consumer.core.outcome import Accepted, Succeeded, Unknown
from consumer.core.policy import DAY, HOUR, MINUTE, NEVER
from consumer.service import admin, queries
from tests.support.budgets import MIDNIGHT, MONTH, limited
from tests.support.fakes import ANSWER, Hold
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, route


class BudgetContract(Suite):
    # --- the hard limit -----------------------------------------------------------------------------

    async def test_tasks_that_fit_are_done_and_the_rest_waits(self, scene: Scene) -> None:
        _, budget = await limited(scene, 4)

        await scene.drain()

        assert await scene.statuses() == {"completed": 4, "pending": 6}
        assert scene.network.count() == 4
        assert await scene.books(budget) == (4 * PRICE, 0)
        assert await scene.count("leases") == 0

    async def test_a_reservation_stands_before_the_call_is_sent(self, scene: Scene) -> None:
        _, budget = await limited(scene, 4, count=1)
        seen: list[tuple[int, int]] = []

        async def look(_: object) -> Succeeded:
            seen.append(await scene.books(budget))
            return Succeeded(ANSWER)

        scene.network.script("blind", look)

        await scene.drain()

        assert seen == [(0, PRICE)]

    @pytest.mark.parametrize("answers", [0, 1, 7, 25])
    async def test_no_number_of_workers_passes_the_cap(self, scene: Scene, answers: int) -> None:
        _, budget = await limited(scene, answers, count=60)
        most = 0

        async def slowly(_: object) -> Succeeded:
            nonlocal most
            for _ in range(5):
                await asyncio.sleep(0)
            most = max(most, sum(await scene.books(budget)))
            return Succeeded(ANSWER, charged=Decimal("0.01"))

        scene.network.script("blind", *[slowly] * 100)

        await asyncio.gather(*(scene.drain() for _ in range(5)))

        assert scene.network.count() == answers
        assert most <= answers * PRICE
        assert await scene.books(budget) == (answers * PRICE, 0)
        assert (await scene.statuses()).get("completed", 0) == answers
        assert (await scene.statuses()).get("running", 0) == 0
        assert await scene.count("leases") == 0

    async def test_workers_that_release_unused_reservations_lose_no_task(self, scene: Scene) -> None:
        """Room may be released between the refusal and the query for its reason."""
        _, budget = await limited(scene, 3, count=40)
        scene.network.script("blind", *[Succeeded(ANSWER, charged=Decimal("0.001"))] * 40)

        for _ in range(30):
            await asyncio.gather(*(scene.drain() for _ in range(4)))
            await scene.tick()
            scene.clock.advance(MINUTE)

        assert (await scene.statuses()).get("running", 0) == 0
        assert (await scene.statuses())["completed"] >= 20
        assert sum(await scene.books(budget)) <= 3 * PRICE

    async def test_all_budgets_of_a_task_are_reserved_or_none(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=5)
        (template,) = await scene.sql("SELECT id FROM task_templates")
        wide = await scene.budget(100 * PRICE)
        monthly = await scene.budget(50 * PRICE, period="month")
        narrow = await scene.budget(2 * PRICE, scope="template", scope_id=int(str(template["id"])))
        own = await scene.budget(9 * PRICE, scope="task", scope_id=task, period="total")

        await scene.drain()

        assert await scene.statuses() == {"completed": 2, "pending": 3}
        books = [await scene.books(budget) for budget in (wide, monthly, narrow, own)]
        assert books == [(2 * PRICE, 0)] * 3 + [(PRICE, 0)]

    async def test_a_budget_that_is_set_while_tasks_are_claimed_holds_for_the_next_call(
        self, scene: Scene
    ) -> None:
        """A new cap also holds for tasks that are claimed and have not begun."""
        task = await scene.given(ai("blind"), ai("blind"), count=2)
        holds = [Hold(), Hold()]
        scene.network.script("blind", *holds)

        async with scene.draining():
            for hold in holds:
                await asyncio.wait_for(hold.begun.wait(), 10)
            own = await scene.budget(0, scope="task", scope_id=task, period="total")
            wide = await scene.budget(PRICE, period="total")
            for hold in holds:
                hold.release()
        assert scene.queue.sent  # it is tried again immediately, before cron comes
        await scene.finish()

        states = await scene.states(task), await scene.states(task + 1)
        assert states == (["succeeded"], ["succeeded", "succeeded"])
        assert await scene.statuses() == {"completed": 1, "pending": 1}
        assert (await scene.task(task))["blocked_by"] == f"budget:{own}"
        assert await scene.books(wide) == (PRICE, 0)

    async def test_the_budget_of_another_organization_is_not_touched(self, scene: Scene) -> None:
        await scene.organization(1, 2)
        template = await scene.template(route(ai("blind")), organization=2)
        await scene.tasks(3, template, organization=2)
        budget = await scene.budget(0)

        await scene.drain()

        assert await scene.statuses() == {"completed": 3}
        assert await scene.books(budget) == (0, 0)

    # --- refused ------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("period", "room"),
        [
            ("day", ", or when the next day begins at 2033-05-19T00:00:00.000Z."),
            ("month", ", or when the next month begins at 2033-06-01T00:00:00.000Z."),
            ("total", "when the cap is raised."),
        ],
    )
    async def test_refused_tasks_wait_for_room_and_show_what_is_missing(
        self, scene: Scene, period: str, room: str
    ) -> None:
        task, budget = await limited(scene, 1, count=2, period=period)

        await scene.drain()

        row = await scene.task(task + 1)
        assert (row["status"], row["run_at_ms"], row["lease"]) == ("pending", NEVER, None)
        assert row["blocked_by"] == f"budget:{budget}"
        why = await scene.why(task + 1)
        assert f"a budget has no room (budget {budget}, $0.010000" in why
        assert "$0.010000 spent, $0.000000 reserved by calls that have not ended" in why
        assert "Its next call may cost $0.010000." in why
        assert why.endswith(room)
        assert ((await scene.live(task + 1))["status"], (await scene.live(task + 1))["reason"]) == (
            "pending", row["blocked_by"],
        )  # fmt: skip

    async def test_refused_tasks_run_by_themselves_in_the_next_period(self, scene: Scene) -> None:
        _, budget = await limited(scene, 1, count=2)
        await scene.drain()
        scene.clock.ms = MIDNIGHT - 1
        await scene.later(0)
        assert scene.network.count() == 1

        await scene.later(1)

        assert await scene.statuses() == {"completed": 2}
        assert await scene.books(budget) == (2 * PRICE, 0)

    async def test_a_budget_may_fail_the_tasks_that_it_refuses(self, scene: Scene) -> None:
        task, budget = await limited(scene, 1, count=2, refused="fail")

        await scene.drain()

        row = await scene.task(task + 1)
        assert row["status"] == "failed"
        assert f"budget: {budget} has no room" in row["reason"]
        assert "$0.010000" in row["reason"]
        assert (await scene.live(task + 1))["status"] == "failed"

    @pytest.mark.parametrize(("refused", "state"), [("wait", "pending"), ("fail", "failed")])
    async def test_an_estimate_above_the_whole_cap_waits_or_fails_with_both_numbers(
        self, scene: Scene, refused: str, state: str
    ) -> None:
        task = await scene.given(ai("blind"))
        await scene.budget(PRICE - 1, refused=refused)

        await scene.drain()

        assert (await scene.task(task))["status"] == state
        why = await scene.why(task)
        assert "$0.010000" in why
        assert "$0.009999" in why
        assert await scene.executions(task) == []

    async def test_a_call_without_a_known_price_does_not_begin_under_a_budget(self, scene: Scene) -> None:
        task = await scene.given(ai("unpriced"))
        await scene.budget(100 * PRICE)

        await scene.drain()

        assert (await scene.task(task))["status"] == "pending"
        assert "the maximum cost of the call is unknown" in await scene.why(task)
        assert scene.network.count() == 0

    async def test_a_call_with_a_declared_maximum_cost_begins_under_a_budget(self, scene: Scene) -> None:
        await scene.organization(1)
        stage = {"kind": "ai", "candidates": [{"profile": "unpriced", "max_cost": "0.05"}]}
        (task,) = await scene.tasks(1, await scene.template(route(stage)))
        budget = await scene.budget(100 * PRICE)

        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.books(budget) == (0, 50_000)

    # --- unknown costs, and costs above the maximum -------------------------------------------------

    async def test_an_unknown_cost_stays_reserved(self, scene: Scene) -> None:
        _, budget = await limited(scene, 1, count=2)
        scene.network.script("blind", Unknown("lost"))

        await scene.drain()

        assert await scene.books(budget) == (0, PRICE)
        assert scene.network.count() == 1

    async def test_a_job_in_progress_stays_reserved_until_it_ends(self, scene: Scene) -> None:
        await scene.given(ai("job"))
        budget = await scene.budget(PRICE)
        scene.network.script("job", Accepted("job-1", MINUTE))
        await scene.drain()
        assert await scene.books(budget) == (0, PRICE)

        await scene.later(HOUR)

        assert await scene.books(budget) == (PRICE, 0)

    async def test_more_than_the_declared_maximum_is_recorded_and_stops_further_admission(
        self, scene: Scene
    ) -> None:
        task, budget = await limited(scene, 10, count=3)
        scene.configure(connections=1, batch_size=1)
        scene.network.script("blind", Succeeded(ANSWER, charged=Decimal(5)))

        await scene.drain()

        assert await scene.books(budget) == (5_000_000, 0)
        assert await scene.statuses() == {"completed": 1, "pending": 2}
        assert (await scene.executions(task))[0]["cost_micro"] == 5_000_000
        history = await queries.history(scene.world, 1, task)
        assert [one["overrun"] for one in history["executions"]] == [True]
        (line,) = (await queries.costs(scene.world, 1, "provider"))["costs"]
        assert line["overrun_micro"] == 5_000_000 - PRICE

    async def test_repairs_and_retries_are_admitted_like_any_call(self, scene: Scene) -> None:
        task, budget = await limited(scene, 2, count=1)
        scene.network.script("blind", *[Succeeded({"answer": 7})] * 3)

        await scene.drain()

        assert scene.network.count() == 2
        assert await scene.books(budget) == (2 * PRICE, 0)
        assert (await scene.task(task))["status"] == "pending"
        await scene.later(DAY)
        assert (await scene.task(task))["status"] == "failed"

    async def test_a_retry_of_an_unknown_needs_room_for_both(self, scene: Scene) -> None:
        task, budget = await limited(scene, 1, count=1)
        scene.network.script("blind", Unknown("lost"))

        await scene.finish()

        assert scene.network.count() == 1
        assert await scene.books(budget) == (0, PRICE)
        await scene.later(MINUTE * 5)
        assert await scene.books(budget) == (PRICE, 0)
        await scene.later(DAY)
        assert (await scene.task(task))["status"] == "completed"

    # --- time ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize(("period", "border"), [("day", MIDNIGHT), ("month", MONTH)])
    async def test_a_cost_belongs_to_the_period_in_which_it_was_reserved(
        self, scene: Scene, period: str, border: int
    ) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        budget = await scene.budget(PRICE, period=period)
        scene.network.script("blind", hold)
        scene.clock.ms = border - 1
        async with scene.draining():
            await hold.begun.wait()
            scene.clock.advance(2)
            hold.release()
        await scene.tasks(1, (await scene.task(task))["template_id"])
        await scene.drain()

        rows = await scene.sql(
            "SELECT spent_micro, reserved_micro FROM budget_periods WHERE budget_id = ?1 ORDER BY starts_ms",
            budget,
        )
        assert [(row["spent_micro"], row["reserved_micro"]) for row in rows] == [(PRICE, 0), (PRICE, 0)]
        assert await scene.statuses() == {"completed": 2}

    async def test_a_dead_workers_reservation_stays_until_its_cost_is_known(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind"), unknown="wait"), Hold()
        budget = await scene.budget(PRICE)
        scene.network.script("blind", hold)
        await scene.die(hold)
        await scene.later(LEASE_OVER)
        assert await scene.books(budget) == (0, PRICE)

        await scene.later(DAY)

        assert await scene.books(budget) == (PRICE, 0)
        assert (await scene.executions(task))[0]["cost_source"] == "bound"

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("batch", range(1, 6))
    async def test_a_worker_that_dies_anywhere_leaves_the_books_right(
        self, scene: Scene, batch: int, *, after: bool
    ) -> None:
        _, budget = await limited(scene, 30, count=3)
        scene.database.fail(batch, after=after, error=Crash())
        with suppress(Crash):
            await scene.drain()
        scene.database.heal()
        for _ in range(4):
            await scene.later(LEASE_OVER)

        (row,) = await scene.sql("SELECT sum(cost_micro) AS cost FROM task_executions")
        assert await scene.books(budget) == (row["cost"], 0)
        assert await scene.statuses() == {"completed": 3}

    # --- reading and setting ------------------------------------------------------------------------

    async def test_callers_can_read_budgets_and_costs(self, scene: Scene) -> None:
        _, budget = await limited(scene, 4, count=2)
        await scene.drain()

        (shown,) = await queries.budgets(scene.world, 1, budget)

        assert (shown["spent_micro"], shown["reserved_micro"], shown["cap_micro"]) == (
            2 * PRICE,
            0,
            4 * PRICE,
        )
        (line,) = (await queries.costs(scene.world, 1, "provider"))["costs"]
        assert (line["key"], line["executions"], line["cost_micro"]) == ("blind", 2, 2 * PRICE)

    @pytest.mark.parametrize(
        "change", [{"cap": "NaN"}, {"cap": "-1"}, {"period": "week"}, {"scope_id": 99}, {"scope": "user"}]
    )
    async def test_an_invalid_budget_is_refused(self, scene: Scene, change: dict[str, object]) -> None:
        await scene.organization(1)
        value = {"scope": "organization", "scope_id": 1, "period": "day", "cap": "1"} | change

        with pytest.raises(BadInput):
            await admin.put_budget(scene.world, 1, value, "tester")
