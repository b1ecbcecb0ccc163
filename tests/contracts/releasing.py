"""Calls of unknown outcome that an operator waits for no longer.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from consumer.core.outcome import Accepted
from consumer.core.policy import DAY, HOUR
from consumer.provider import Verb
from consumer.service import commands, queries
from tests.contracts.bulk import ask
from tests.support.fakes import LOST
from tests.support.jobs import SILENT
from tests.support.scene import PRICE, Scene, Suite, ai


class ReleaseContract(Suite):
    async def lost(self, scene: Scene, count: int = 3) -> int:
        """Calls whose replies were lost, and of which the provider knows nothing."""
        scene.network.script("evident", *[LOST] * count)
        scene.network.script("evident", *[SILENT] * 1_000, verb=Verb.LOOKUP)
        task = await scene.given(ai("evident", "other"), count=count)
        await scene.drain()
        assert {(await scene.states(task + place))[0] for place in range(count)} == {"unknown"}
        return task

    async def test_released_tasks_go_on_at_once_and_the_reservations_count_as_spent(
        self, scene: Scene
    ) -> None:
        budget = await scene.budget(1_000_000)
        task = await self.lost(scene)

        dry = await ask(scene, "release", profile="evident")
        done = await ask(scene, "release", act_now=True, profile="evident")
        await scene.finish()

        assert (dry["tasks"], dry["executions"], dry["money_micro"]) == (3, 3, 3 * PRICE)
        assert done["changed"] == 3
        assert await scene.statuses() == {"completed": 3}
        assert await scene.states(task) == ["failed", "succeeded"]
        assert await scene.books(budget) == (6 * PRICE, 0)
        history = await queries.history(scene.world, 1, task)
        assert [(one["event"], one["actor"]) for one in history["audit"]] == [("released", "tester")]

    async def test_the_provider_is_asked_a_last_time_so_no_paid_answer_is_thrown_away(
        self, scene: Scene
    ) -> None:
        scene.network.script("evident", LOST)
        task = await scene.given(ai("evident", "other"))
        await scene.drain()

        await ask(scene, "release", act_now=True, status="waiting")
        await scene.finish()
        await scene.later(HOUR)

        assert await scene.states(task) == ["succeeded"]
        assert scene.network.count("other") == 0

    async def test_a_job_becomes_a_question_and_a_question_ends_only_if_the_action_says_so(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600)
        scene.network.script("job", Accepted("job-1"))
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.POLL)
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.CANCEL)
        await scene.drain()
        await scene.later(HOUR)

        await ask(scene, "release", act_now=True, profile="job")
        await scene.drain()
        assert len(await queries.inbox(scene.world, 1)) == 1
        assert (await ask(scene, "release", profile="job"))["tasks"] == 0
        done = await ask(scene, "release", act_now=True, profile="job", questions=True)
        await scene.finish()

        assert done["changed"] == 1
        assert await scene.states(task) == ["failed", "succeeded"]

    async def test_a_call_that_a_worker_is_following_up_is_left_to_it(self, scene: Scene) -> None:
        """The worker has read the old time, and would write it back."""
        await self.lost(scene, 1)
        await scene.sql("UPDATE task_executions SET follow_ups = 1, wake_at_ms = ?1", scene.clock.ms + DAY)

        assert (await ask(scene, "release", status="waiting"))["tasks"] == 0

        scene.clock.advance(DAY)
        await scene.sql("UPDATE task_executions SET resolve_by_ms = ?1", scene.clock.ms + DAY)
        assert (await ask(scene, "release", status="waiting"))["tasks"] == 1

    async def test_a_release_that_is_sent_twice_is_one(self, scene: Scene) -> None:
        task = await self.lost(scene, 1)
        scene.database.fail(2, after=True)

        done = await ask(scene, "release", act_now=True, status="waiting")

        assert done["changed"] == 1
        assert await scene.count("audit_log") == 2
        await scene.finish()
        assert (await scene.task(task))["status"] == "completed"

    async def test_cancelled_tasks_give_back_the_calls_that_they_still_wait_for(self, scene: Scene) -> None:
        task = await self.lost(scene, 1)
        await commands.cancel(scene.world, 1, task, "tester")

        await ask(scene, "release", act_now=True, status="cancelled")
        await scene.drain()

        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost_source"]) == ("cancelled", "bound")
