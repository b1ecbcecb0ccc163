"""A slow or hanging provider of one organization does not hold up another.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from consumer.core.outcome import Accepted, Succeeded
from consumer.core.policy import SECOND
from consumer.provider import Verb
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import Scene, Suite, ai, route, until

if TYPE_CHECKING:
    from collections.abc import Sequence


class FairnessContract(Suite):
    async def given_two(self, scene: Scene, first: int, second: int) -> tuple[list[int], list[int]]:
        """Tasks of organization 1 at the profile `blind`, and then some of organization 2 at `other`."""
        await scene.organization(1, 2, 3)
        slow = await scene.template(route(ai("blind")))
        quick = await scene.template(route(ai("other")), organization=2)
        return await scene.tasks(first, slow), await scene.tasks(second, quick, organization=2, run_at_ms=9)

    async def completed(self, scene: Scene, tasks: Sequence[int]) -> int:
        return [(await scene.task(task))["status"] for task in tasks].count("completed")

    async def test_short_tasks_end_while_a_provider_of_another_organization_hangs(self, scene: Scene) -> None:
        scene.configure(batch_size=50)
        _, quick = await self.given_two(scene, 40, 5)
        holds = [Hold() for _ in range(40)]
        scene.network.script("blind", *holds)

        async def done() -> bool:
            return await self.completed(scene, quick) == 5

        async with scene.draining():
            await until(done)
            assert scene.network.count("blind") <= 4
            for hold in holds:
                hold.release()

    async def test_a_hanging_profile_leaves_a_connection_to_others_for_the_whole_run(
        self, scene: Scene
    ) -> None:
        scene.configure(batch_size=50)
        await self.given_two(scene, 40, 0)
        holds = [Hold() for _ in range(40)]
        scene.network.script("blind", *holds)

        async with scene.draining():
            await asyncio.wait_for(holds[3].begun.wait(), 10)
            await asyncio.sleep(0.05)
            assert not holds[4].begun.is_set()
            for hold in holds:
                hold.release()

        assert await scene.statuses() == {"completed": 40}

    async def test_a_profile_that_answers_uses_all_connections(self, scene: Scene) -> None:
        await self.given_two(scene, 12, 0)
        holds = [Hold() for _ in range(5)]
        scene.network.script("blind", Succeeded(ANSWER), *holds)

        async with scene.draining():
            await asyncio.wait_for(holds[4].begun.wait(), 10)
            for hold in holds:
                hold.release()

    async def test_a_run_whose_calls_are_slow_takes_tasks_that_others_submit_later(
        self, scene: Scene
    ) -> None:
        await self.given_two(scene, 20, 0)
        quick = await scene.template(route(ai("other")), organization=3)
        holds = [Hold() for _ in range(20)]
        scene.network.script("blind", *holds)

        async with scene.draining():
            await asyncio.wait_for(holds[2].begun.wait(), 10)
            late = await scene.tasks(1, quick, organization=3)
            scene.clock.advance(4 * SECOND)

            async def done() -> bool:
                return await self.completed(scene, late) == 1

            await until(done)
            assert not holds[4].begun.is_set()
            for hold in holds:
                hold.release()

        assert await scene.statuses() == {"completed": 21}

    async def test_organizations_take_turns_at_one_profile(self, scene: Scene) -> None:
        await scene.organization(1, 2, 3)
        template = await scene.template(route(ai("blind")))
        for place in range(100):
            for organization in (1, 2):
                await scene.tasks(1, template, organization=organization, run_at_ms=place)
        (last,) = await scene.tasks(1, template, organization=3, run_at_ms=1_000)

        await scene.drain()

        begun = [call.execution_id for call in scene.network.calls("blind")]
        (execution,) = await scene.executions(last)
        assert begun.index(execution["id"]) < 10
        assert await scene.statuses() == {"completed": 201}

    async def test_polls_that_hang_leave_a_connection_to_calls(self, scene: Scene) -> None:
        await scene.given(ai("job"), count=8)
        polls = [Hold() for _ in range(8)]
        scene.network.script("job", *[Accepted(f"job-{number}", 0) for number in range(8)])
        scene.network.script("job", *polls, verb=Verb.POLL)

        async with scene.draining():
            await asyncio.wait_for(polls[3].begun.wait(), 10)
            await asyncio.sleep(0.05)
            assert not polls[4].begun.is_set()
            for poll in polls:
                poll.release()

        assert await scene.statuses() == {"completed": 8}
