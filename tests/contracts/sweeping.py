"""The sweep of cron: once, twice, late, or not for an hour.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
from dataclasses import astuple
from typing import Any

import pytest

from consumer.core.outcome import Accepted, Retry
from consumer.core.policy import DAY, HOUR, LEASE, MINUTE, NEVER, SECOND, WAITING_LONG
from consumer.core.times import iso
from consumer.ports import Unavailable
from consumer.provider import Verb
from consumer.run import claim
from consumer.service import submissions
from tests.support.fakes import Hold
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person, route

TABLES = "tasks task_executions leases outbox budget_periods webhooks audit_log"


async def everything(scene: Scene) -> dict[str, list[dict[str, Any]]]:
    """All rows that a sweep may change."""
    return {
        table: [dict(row) for row in await scene.sql(f"SELECT * FROM {table}")] for table in TABLES.split()
    }


class SweepContract(Suite):
    async def messy(self, scene: Scene) -> None:
        """Rows for each duty of the sweep."""
        await scene.given(ai("evident"), count=2)
        hold = Hold()
        scene.network.script("evident", hold)
        await scene.die(hold)
        await scene.given(ai("blind"), count=3)
        scene.database.fail(1, after=True, error=Crash())
        with pytest.raises(Crash):
            await scene.drain()
        template = int(str((await scene.sql("SELECT max(id) AS id FROM task_templates"))[0]["id"]))
        now = scene.clock.ms
        await scene.tasks(2, template, priority="low", run_at_ms=now + DAY, deadline_ms=now + LEASE)
        await scene.tasks(2, template, priority="low", run_at_ms=now + DAY, raise_at_ms=now + MINUTE)
        await scene.tasks(2, template, priority="low", run_at_ms=now - HOUR)
        budget = await scene.budget(5 * PRICE)
        await scene.tasks(2, template, run_at_ms=NEVER, blocked_by=f"budget:{budget}", needs_micro=PRICE)
        scene.clock.advance(LEASE_OVER)

    # --- all duties ----------------------------------------------------------------------------------

    async def test_one_sweep_does_every_duty_and_a_second_one_does_nothing(self, scene: Scene) -> None:
        await self.messy(scene)

        first = await scene.tick()
        after = await everything(scene)
        second = await scene.tick()

        assert (first.leases, first.raised, first.ended, first.unblocked) == (2, 4, 2, 2)
        assert (second.leases, second.raised, second.ended, second.unblocked) == (0, 0, 0, 0)
        assert await everything(scene) == after
        assert second.due == first.due

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    async def test_a_sweep_whose_commit_is_ambiguous_has_swept_once(
        self, scene: Scene, *, after: bool
    ) -> None:
        await self.messy(scene)
        scene.database.fail(2, after=after)

        await scene.tick()
        swept = await everything(scene)
        await scene.tick()

        assert await everything(scene) == swept
        assert (await scene.statuses())["failed"] == 2

    async def test_two_concurrent_sweeps_do_no_more_than_one(self, scene: Scene) -> None:
        await self.messy(scene)

        await asyncio.gather(scene.tick(), scene.tick())

        assert (await scene.statuses())["failed"] == 2
        assert {row["n"] for row in await scene.sql("SELECT lost_leases AS n FROM tasks WHERE n > 0")} == {1}

    async def test_a_sweep_of_an_empty_database_does_nothing(self, scene: Scene) -> None:
        assert astuple(await scene.tick()) == (0, 0, 0, 0, 0, 0, 0)
        assert scene.queue.sent == []

    async def test_a_sweep_makes_no_outside_call(self, scene: Scene) -> None:
        await self.messy(scene)
        before, puts = len(scene.network.asked), len(scene.kv.puts)

        await scene.tick()

        assert (len(scene.network.asked), len(scene.kv.puts)) == (before, puts)

    async def test_a_sweep_raises_if_the_database_is_down(self, scene: Scene) -> None:
        scene.database.down = True

        with pytest.raises(Unavailable):
            await scene.tick()

    # --- leases -------------------------------------------------------------------------------------

    async def test_a_lease_that_was_renewed_is_left_alone(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        token, now = scene.entropy.token(), scene.clock.ms
        batch = scene.world.batch()
        claim.claim(batch, scene.world, token, now)
        await batch.commit()
        await scene.sql("UPDATE leases SET until_ms = until_ms + 60000")
        scene.clock.advance(LEASE_OVER)

        assert (await scene.tick()).leases == 0
        scene.clock.advance(MINUTE)
        assert (await scene.tick()).leases == 1

    async def test_the_sweep_publishes_the_statuses_of_a_dead_worker(self, scene: Scene) -> None:
        """The worker died after its settle and before it dropped its lease row."""
        task = await scene.given(ai("blind"))
        scene.kv.down = True
        scene.database.fail(4, error=Crash())
        with pytest.raises(Crash):
            await scene.drain()
        assert (await scene.task(task))["status"] == "completed"
        scene.kv.down = False

        await scene.later(LEASE_OVER)

        assert (await scene.live(task))["status"] == "completed"
        assert (await scene.count("leases"), await scene.count("outbox")) == (0, 0)

    async def test_a_lost_task_without_a_call_is_due_again_immediately(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.database.fail(1, after=True, error=Crash())
        with pytest.raises(Crash):
            await scene.drain()
        scene.clock.advance(LEASE_OVER)

        swept = await scene.tick()

        row = await scene.task(task)
        assert (row["status"], row["run_at_ms"], row["lost_leases"], row["version"]) == (
            "pending",
            scene.clock.ms,
            1,
            2,
        )
        assert (swept.due, swept.rung) == (2, 1)

    async def test_a_lease_of_many_tasks_is_repaired_in_one_sweep(self, scene: Scene) -> None:
        scene.configure(batch_size=100)
        await scene.given(ai("blind"), count=100)
        scene.database.fail(1, after=True, error=Crash())
        with pytest.raises(Crash):
            await scene.drain()
        scene.clock.advance(LEASE_OVER)

        await scene.tick()

        assert await scene.statuses() == {"pending": 100}

    # --- doorbells ----------------------------------------------------------------------------------

    async def test_a_lost_doorbell_is_rung_again(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))

        assert (await scene.tick()).rung == 1

        await scene.ring(*(body for body, _ in scene.queue.sent))
        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize(("due", "rung"), [(1, 1), (10, 1), (11, 2), (95, 10), (400, 10)])
    async def test_the_sweep_rings_once_for_each_batch_up_to_the_number_of_consumers(
        self, scene: Scene, due: int, rung: int
    ) -> None:
        await scene.given(ai("blind"), count=due)

        assert (await scene.tick()).rung == rung
        assert scene.queue.delays == [0] * rung

    @pytest.mark.parametrize(("waiting", "rung"), [(None, 3), (0, 3), (1, 2), (3, 1), (50, 1)])
    async def test_the_sweep_subtracts_waiting_doorbells_but_rings_at_least_once(
        self, scene: Scene, waiting: int | None, rung: int
    ) -> None:
        """Waiting doorbells may be delayed ones, which are not delivered for a quarter of an hour."""
        await scene.given(ai("blind"), count=30)
        scene.queue.waiting = waiting

        assert (await scene.tick()).rung == rung

    async def test_a_queue_that_is_down_does_not_stop_the_sweep(self, scene: Scene) -> None:
        await self.messy(scene)
        scene.queue.down = True

        assert (await scene.tick()).ended == 2

    async def test_no_doorbell_is_rung_for_work_that_is_not_due(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        await scene.sql("UPDATE tasks SET run_at_ms = ?1", scene.clock.ms + SECOND)
        await scene.given(person())
        await scene.sql("UPDATE tasks SET status = 'waiting' WHERE run_at_ms = 0")

        await scene.drain()

        assert (await scene.tick()).due == 0

    async def test_a_due_retry_gets_a_doorbell(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        scene.network.script("blind", Retry("busy", HOUR))
        await scene.drain()
        scene.clock.advance(HOUR)

        assert (await scene.tick()).rung == 1

    async def test_a_due_open_execution_gets_a_doorbell(self, scene: Scene) -> None:
        await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()
        scene.clock.advance(HOUR)

        assert (await scene.tick()).rung == 1

    async def test_a_due_outbox_row_gets_a_doorbell(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql("UPDATE tasks SET status = 'cancelled' WHERE id = ?1", task)

        assert (await scene.tick()).rung == 1

    # --- ranks --------------------------------------------------------------------------------------

    async def test_a_task_that_waits_long_is_raised_by_one_rank_once(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        tasks = [
            (await scene.tasks(1, template, priority=name, run_at_ms=scene.clock.ms))[0]
            for name in ("urgent", "high", "medium", "low")
        ]
        scene.clock.advance(WAITING_LONG - 1)
        assert (await scene.tick()).raised == 0
        for _ in range(3):
            scene.clock.advance(WAITING_LONG)
            await scene.tick()

        assert [(await scene.task(task))["rank"] for task in tasks] == [0, 0, 1, 2]

    async def test_a_task_near_its_due_date_is_raised_once(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        now = scene.clock.ms
        values = {
            "template": template,
            "title": "x",
            "due_date": iso(now + 4 * HOUR),
            "run_at": iso(now + DAY),
        }
        (made,) = await submissions.submit(scene.world, 1, [values])
        scene.clock.advance(3 * HOUR - 1)
        assert (await scene.tick()).raised == 0
        scene.clock.advance(1)
        assert (await scene.tick()).raised == 1
        scene.clock.advance(HOUR)
        assert (await scene.tick()).raised == 0

        assert (await scene.task(made.id))["rank"] == 1

    async def test_raising_changes_no_version(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.clock.advance(HOUR)

        await scene.tick()

        assert (await scene.task(task))["version"] == 0

    # --- deadlines ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("stage", [ai("blind"), ai("job"), person()], ids=["pending", "job", "person"])
    async def test_a_task_past_its_deadline_fails_in_every_waiting_state(
        self, scene: Scene, stage: dict[str, Any]
    ) -> None:
        await scene.organization(1)
        template = await scene.template(route(stage))
        (task,) = await scene.tasks(1, template, deadline_ms=scene.clock.ms + 2 * HOUR)
        scene.network.script("blind", Retry("busy", HOUR), Retry("busy", 59 * MINUTE))
        scene.network.script("job", Accepted("job-1"))
        await scene.drain()
        await scene.later(HOUR)
        scene.clock.advance(HOUR)

        assert (await scene.tick()).ended == 1

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "deadline")
        await scene.drain()
        assert (await scene.live(task))["status"] == "failed"
        assert not set(await scene.states(task)) & {"running", "waiting", "unknown"}
        assert scene.network.count("job", Verb.CANCEL) == (1 if stage == ai("job") else 0)

    async def test_a_call_in_flight_is_not_cut_off_by_the_deadline_of_its_task(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        (task,) = await scene.tasks(1, template, deadline_ms=scene.clock.ms + MINUTE)
        hold = Hold()
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            scene.clock.advance(MINUTE)
            assert (await scene.tick()).ended == 0
            hold.release()

        assert (await scene.task(task))["status"] == "completed"

    async def test_an_overdue_task_does_not_begin(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        (task,) = await scene.tasks(1, template, deadline_ms=scene.clock.ms)

        await scene.drain()

        assert ((await scene.task(task))["status"], scene.network.count()) == ("failed", 0)
