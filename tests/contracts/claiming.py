"""Which tasks a worker claims, in which order, and which it does not claim.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from consumer.core.policy import HOUR, NEVER
from consumer.core.profile import accounts
from consumer.run import claim
from consumer.run.run import Run
from consumer.store import begin
from consumer.store import claim as claim_sql
from tests.support.fakes import Hold
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, Scene, Suite, ai, route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Database, Result, Statement


async def taken(scene: Scene) -> list[int]:
    """The tasks of one claim, whose lease is left to expire."""
    token, now = scene.entropy.token(), scene.clock.now_ms()
    batch = scene.world.batch()
    claiming = claim.claim(batch, scene.world, token, now)
    taken = await claiming.read(scene.world, await batch.commit())
    return [task.id for task in taken.tasks]


async def organizations(scene: Scene, tasks: list[int]) -> list[int]:
    rows = await scene.sql(
        "SELECT organization_id AS o FROM tasks WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY o",
        json.dumps(tasks),
    )
    return [int(str(row["o"])) for row in rows]


class ClaimContract(Suite):
    @pytest.fixture
    async def template(self, scene: Scene) -> int:
        await scene.organization(1, 2, 3)
        return await scene.template(route(ai("blind")))

    async def test_tasks_are_taken_in_order_of_priority_then_time_then_id(
        self, scene: Scene, template: int
    ) -> None:
        (low,) = await scene.tasks(1, template, priority="low")
        (medium,) = await scene.tasks(1, template, run_at_ms=5)
        (strange,) = await scene.tasks(1, template, priority="whenever", run_at_ms=4)
        (high,) = await scene.tasks(1, template, priority="high", run_at_ms=9)
        (urgent,) = await scene.tasks(1, template, priority="urgent", run_at_ms=9)
        (none,) = await scene.tasks(1, template, priority=None, run_at_ms=5)

        assert await taken(scene) == [urgent, high, strange, medium, none, low]

    async def test_a_task_is_not_taken_before_its_time(self, scene: Scene, template: int) -> None:
        (task,) = await scene.tasks(1, template, run_at_ms=scene.clock.ms + 1)
        assert await taken(scene) == []

        scene.clock.advance(1)

        assert await taken(scene) == [task]

    async def test_a_claim_takes_no_more_than_a_batch(self, scene: Scene, template: int) -> None:
        await scene.tasks(25, template)

        assert [len(await taken(scene)) for _ in range(4)] == [10, 10, 5, 0]

    async def test_a_claimed_task_runs_under_a_lease_with_a_higher_version(
        self, scene: Scene, template: int
    ) -> None:
        (task,) = await scene.tasks(1, template)

        await taken(scene)

        row, (lease,) = await scene.task(task), await scene.sql("SELECT * FROM leases")
        assert (row["status"], row["version"], row["lease"]) == ("running", 1, lease["token"])
        assert json.loads(str(lease["task_ids"])) == [task]
        assert lease["until_ms"] == scene.clock.ms + scene.world.config.lease_ms

    async def test_one_organization_gets_half_a_batch_while_another_is_due(
        self, scene: Scene, template: int
    ) -> None:
        await scene.tasks(1_000, template, organization=1, priority="urgent")
        await scene.tasks(20, template, organization=2, priority="low", run_at_ms=7)

        assert await organizations(scene, await taken(scene)) == [1] * 5 + [2] * 5

    async def test_three_organizations_share_a_batch(self, scene: Scene, template: int) -> None:
        for organization in (1, 2, 3):
            await scene.tasks(300, template, organization=organization, run_at_ms=organization)

        assert await organizations(scene, await taken(scene)) == [1] * 4 + [2] * 3 + [3] * 3

    async def test_no_organization_gets_more_than_half_if_a_third_has_few_tasks(
        self, scene: Scene, template: int
    ) -> None:
        await scene.tasks(300, template, organization=1, run_at_ms=1)
        await scene.tasks(300, template, organization=2, run_at_ms=2)
        await scene.tasks(1, template, organization=3, run_at_ms=3)

        assert await organizations(scene, await taken(scene)) == [1] * 5 + [2] * 4 + [3]

    @pytest.mark.parametrize("in_front", [2, 5])
    async def test_a_single_task_behind_organizations_that_fill_the_batch_together_is_taken_first(
        self, scene: Scene, template: int, in_front: int
    ) -> None:
        for place in range(100):
            for organization in range(1, in_front + 1):
                await scene.tasks(1, template, organization=organization, run_at_ms=place)
        (last,) = await scene.tasks(1, template, organization=9, priority="low", run_at_ms=1_000)

        first = await taken(scene)

        assert last in first
        assert len(first) == 10

    async def test_all_tasks_in_front_are_taken_if_no_others_are_due(
        self, scene: Scene, template: int
    ) -> None:
        for place in range(20):
            for organization in (1, 2):
                await scene.tasks(1, template, organization=organization, run_at_ms=place)
        await scene.tasks(50, template, organization=3, run_at_ms=scene.clock.ms + HOUR)

        assert await organizations(scene, await taken(scene)) == [1] * 5 + [2] * 5

    async def test_a_few_tasks_of_others_leave_the_rest_to_the_largest_organization(
        self, scene: Scene, template: int
    ) -> None:
        await scene.tasks(1_000, template, organization=1)
        await scene.tasks(2, template, organization=3, priority="low")

        assert await organizations(scene, await taken(scene)) == [1] * 8 + [3] * 2

    async def test_a_single_organization_gets_the_whole_batch(self, scene: Scene, template: int) -> None:
        await scene.tasks(30, template)

        assert len(await taken(scene)) == 10

    async def test_organizations_without_due_tasks_take_no_share(self, scene: Scene, template: int) -> None:
        await scene.tasks(30, template, organization=1)
        await scene.tasks(30, template, organization=2, run_at_ms=scene.clock.ms + HOUR)

        assert await organizations(scene, await taken(scene)) == [1] * 10

    async def test_a_task_that_lost_its_worker_is_claimed_alone(self, scene: Scene, template: int) -> None:
        await scene.tasks(5, template)
        (lost,) = await scene.tasks(1, template, lost_leases=1)

        assert await taken(scene) == [lost]
        assert len(await taken(scene)) == 5

    async def test_the_third_lost_lease_without_an_execution_fails_the_task(
        self, scene: Scene, template: int
    ) -> None:
        poison, *innocent = await scene.tasks(3, template)
        for _ in range(3):
            assert poison in await taken(scene)
            scene.clock.advance(LEASE_OVER)
            await scene.tick()
            if len(innocent) == 2:
                await scene.sql(
                    "UPDATE tasks SET lost_leases = 0, run_at_ms = ?1 WHERE id <> ?2", NEVER - 1, poison
                )

        row = await scene.task(poison)
        assert (row["status"], row["reason"]) == ("failed", "worker_lost")
        assert (await scene.task(innocent[0]))["status"] == "pending"

    async def test_a_success_resets_the_count_of_lost_leases(self, scene: Scene, template: int) -> None:
        (task,) = await scene.tasks(1, template, lost_leases=2)

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["lost_leases"]) == ("completed", 0)

    async def test_two_concurrent_workers_never_share_a_task(self, scene: Scene, template: int) -> None:
        await scene.tasks(60, template)

        await asyncio.gather(*(scene.drain() for _ in range(4)))

        assert await scene.statuses() == {"completed": 60}
        assert scene.network.count() == 60
        assert await scene.count("task_executions") == 60
        assert await scene.count("leases") == 0

    async def test_an_ambiguous_claim_takes_the_same_tasks_the_second_time(
        self, scene: Scene, template: int
    ) -> None:
        await scene.tasks(15, template)
        scene.database.fail(1, after=True)

        first, second = await taken(scene), await taken(scene)

        assert (len(first), len(second)) == (10, 5)
        assert not set(first) & set(second)
        assert await scene.count("leases") == 2

    # --- impossible tasks show the reason -----------------------------------------------------------

    async def test_a_task_without_an_organization_is_not_claimed_and_shows_why(self, scene: Scene) -> None:
        template = await scene.template(route(ai("blind")), organization=None)
        (task,) = await scene.tasks(1, template, organization=None)

        await scene.drain()

        assert (await scene.task(task))["status"] == "pending"
        assert "it has no organization" in await scene.why(task)
        assert scene.network.count() == 0

    async def test_a_task_without_a_template_does_not_begin_and_shows_why(self, scene: Scene) -> None:
        await scene.organization(1)
        (task,) = await scene.tasks(1, None)

        await scene.drain()

        assert (await scene.task(task))["status"] == "pending"
        assert "its template has no valid route" in await scene.why(task)

    @pytest.mark.parametrize(
        "column",
        ["route = NULL", "route = 'no json'", "route = '{}'", "output_schema = NULL", "limits = '[]'"],
    )
    async def test_a_task_with_an_invalid_template_is_released_and_shows_why(
        self, scene: Scene, template: int, column: str
    ) -> None:
        await scene.sql(f"UPDATE task_templates SET {column}")
        (task,) = await scene.tasks(1, template)

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["run_at_ms"], row["lease"]) == ("pending", NEVER, None)
        assert "its template has no valid route" in await scene.why(task)
        assert await scene.executions(task) == []

    @pytest.mark.parametrize("profile", ["missing", "of-two"])
    async def test_a_task_with_a_profile_that_it_cannot_use_waits_for_another_deployment(
        self, scene: Scene, profile: str
    ) -> None:
        task = await scene.given(ai(profile))

        await scene.drain()

        assert (await scene.task(task))["status"] == "pending"
        assert "this deployment has no such profile" in await scene.why(task)
        assert profile in await scene.why(task)
        assert scene.network.count() == 0

    async def test_a_profile_that_appears_is_used_within_fifteen_minutes(self, scene: Scene) -> None:
        task = await scene.given(ai("late"))
        await scene.drain()
        profile = {"provider": "blind", "base_url": "http://fake.test"}
        scene.world.accounts["late"] = accounts({"late": profile}, {})["late"]  # type: ignore[index]

        await scene.later(15 * 60_000)

        assert (await scene.task(task))["status"] == "completed"

    async def test_settings_that_the_provider_does_not_know_are_named(self, scene: Scene) -> None:
        task = await scene.given(ai("echo", colour="red"))

        await scene.drain()

        assert "settings no longer fit" in await scene.why(task)
        assert "colour" in await scene.why(task)

    async def test_one_impossible_task_does_not_stop_the_others(self, scene: Scene, template: int) -> None:
        broken = await scene.template({"stages": []})
        await scene.tasks(4, broken)
        await scene.tasks(6, template)

        await scene.drain()

        assert await scene.statuses() == {"pending": 4, "completed": 6}
        assert await scene.count("leases") == 0

    @pytest.mark.parametrize("stored", ["no json", "[1", '{"a": NaN}', "[" * 100_000])
    async def test_an_input_that_is_not_json_does_not_stop_the_others(
        self, scene: Scene, template: int, stored: str
    ) -> None:
        (task,) = await scene.tasks(1, template, input=stored)
        await scene.tasks(9, template)

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["blocked_by"].partition(": ")[0]) == ("pending", "bad_row:input")
        assert await scene.statuses() == {"pending": 1, "completed": 9}

    async def test_a_run_without_time_left_releases_tasks_that_it_did_not_begin(
        self, scene: Scene, template: int
    ) -> None:
        tasks = await scene.tasks(8, template)
        holds = [Hold() for _ in range(5)]
        scene.network.script("blind", *holds)
        async with scene.draining() as working:
            await holds[3].begun.wait()  # the last connection is kept for another profile
            scene.clock.advance(scene.world.config.invocation_ms)
            for hold in holds:
                hold.release()
            summary = await working

        assert summary.more
        assert await scene.statuses() == {"completed": 4, "pending": 4}
        assert [(await scene.task(task))["lost_leases"] for task in tasks] == [0] * 8
        assert scene.queue.delays == [0]

    async def test_a_worker_that_is_asked_to_stop_claims_nothing(self, scene: Scene, template: int) -> None:
        await scene.tasks(3, template)

        summary = await Run(scene.world, stopping=lambda: True).drain()

        assert summary.claimed == 0
        assert await scene.statuses() == {"pending": 3}

    async def test_a_worker_that_dies_after_its_claim_loses_nothing(
        self, scene: Scene, template: int
    ) -> None:
        await scene.tasks(10, template)
        scene.database.fail(1, after=True, error=Crash())
        with pytest.raises(Crash):
            await scene.drain()
        assert await scene.statuses() == {"running": 10}

        await scene.later(LEASE_OVER)

        assert await scene.statuses() == {"completed": 10}
        assert scene.network.count() == 10

    async def test_the_provider_receives_the_input_of_the_task(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")), prompt="Do {{title}}: {{input.what|it}}")
        await scene.tasks(1, template, title="this", input='{"what": "now"}')
        await scene.tasks(1, template, title="that", description="all of it", priority="low")

        await scene.drain()

        first, second = scene.network.calls("blind")
        assert (first.prompt, first.value) == ("Do this: now", {"what": "now"})
        assert second.value == {"title": "that", "description": "all of it"}

    async def test_a_claim_that_commits_again_after_a_release_loses_nothing(
        self, scene: Scene, template: int
    ) -> None:
        """D1 was slow: the first copy of a repeated batch commits after the second copy and after later batches."""
        await scene.tasks(3, template)
        budget = await scene.budget(0)
        late = Late(scene.database.inner)
        scene.database.inner = late

        await scene.drain()
        assert late.landed
        assert (await scene.statuses()) == {"running": 3}

        await scene.sql("UPDATE budgets SET cap_micro = 1000000 WHERE id = ?1", budget)
        await scene.later(LEASE_OVER)
        await scene.later(LEASE_OVER)

        assert await scene.statuses() == {"completed": 3}
        assert await scene.count("leases") == 0


class Late:
    """A database on which the first claim commits again, after the first release."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._claim: Sequence[Statement] = ()
        self.landed = False

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        results = await self._database.batch(statements)
        sent = {statement.sql for statement in statements}
        if claim_sql.CLAIM_LEASE.sql in sent and not self._claim:
            self._claim = list(statements)
        elif begin.RELEASE.sql in sent and not self.landed:
            self.landed = True
            await self._database.batch(self._claim)
        return results
