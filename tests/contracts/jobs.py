"""Asynchronous jobs: accepted, polled, cancelled, late, reported by webhooks.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from consumer.core.outcome import Accepted, Failed, Succeeded, Unknown
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.provider import Verb
from consumer.service import commands
from consumer.store.sql import execution_id
from tests.support.fakes import ANSWER, Hold
from tests.support.jobs import ACCEPTED, DONE, LATER, accepted_job
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai


class JobContract(Suite):
    async def test_an_accepted_job_makes_its_task_wait(self, scene: Scene) -> None:
        task = await accepted_job(scene)

        row, (execution,) = await scene.task(task), await scene.executions(task)
        assert (row["status"], row["lease"]) == ("waiting", None)
        assert (execution["external_id"], execution["completed_at"]) == ("job-1", None)
        assert execution["wake_at_ms"] == scene.clock.ms + 10 * MINUTE
        assert execution["resolve_by_ms"] == scene.clock.ms + DAY
        assert "accepted it as job-1" in await scene.why(task)
        assert await scene.count("leases") == 0

    async def test_the_live_status_shows_that_it_waits(self, scene: Scene) -> None:
        task = await accepted_job(scene)

        assert (await scene.live(task))["status"] == "waiting"

    # --- polling ------------------------------------------------------------------------------------

    async def test_a_job_without_webhooks_is_polled(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        scene.network.script("job", LATER, Unknown("?"), verb=Verb.POLL)
        for _ in range(2):
            await scene.later(HOUR)
            assert await scene.states(task) == ["waiting"]

        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert [call.external_id for call in scene.network.calls("job", Verb.POLL)] == ["job-1"] * 3

    async def test_a_progress_reply_changes_neither_version_nor_status(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        scene.network.script("job", *[LATER] * 3, verb=Verb.POLL)
        before, published = await scene.task(task), len(scene.kv.puts)

        for _ in range(3):
            await scene.later(10 * MINUTE)

        assert await scene.task(task) == before
        assert len(scene.kv.puts) == published

    async def test_a_job_is_polled_less_often_as_it_grows_older(self, scene: Scene) -> None:
        scene.entropy.value = 0.5
        task = await accepted_job(scene, Accepted("job-1", 1_000))
        scene.network.script("job", *[Accepted("job-1")] * 50, verb=Verb.POLL)
        waits = []
        for _ in range(12):
            wake = (await scene.executions(task))[0]["wake_at_ms"]
            waits.append(wake - scene.clock.ms)
            await scene.later(max(0, wake - scene.clock.ms))

        assert waits[1:] == sorted(waits[1:])
        assert waits[-1] <= 10 * MINUTE * 1.25

    async def test_after_a_failed_job_the_next_candidate_is_asked(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "blind"))
        scene.network.script("job", LATER)
        scene.network.script("job", Failed("broken", charged=Decimal("0.002")), verb=Verb.POLL)
        await scene.drain()

        await scene.later(HOUR)
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert [row["cost_micro"] for row in await scene.executions(task)] == [2_000, PRICE]

    async def test_two_concurrent_workers_poll_a_job_once(self, scene: Scene) -> None:
        task, hold = await accepted_job(scene), Hold()
        scene.network.script("job", hold, verb=Verb.POLL)
        scene.clock.advance(HOUR)
        async with scene.draining():
            await hold.begun.wait()
            await scene.drain()
            hold.release()

        assert scene.network.count("job", Verb.POLL) == 1
        assert (await scene.task(task))["status"] == "completed"

    async def test_another_worker_continues_after_one_that_died_while_polling(self, scene: Scene) -> None:
        task, hold = await accepted_job(scene), Hold()
        scene.network.script("job", hold, verb=Verb.POLL)
        scene.clock.advance(HOUR)
        await scene.die(hold)

        await scene.later(LEASE_OVER)

        assert (await scene.task(task))["status"] == "completed"

    # --- cancelling and deadlines -------------------------------------------------------------------

    async def test_a_cancelled_task_cancels_its_job_at_the_provider(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        budget_free = Failed("stopped", charged=Decimal("0.001"))
        scene.network.script("job", budget_free, verb=Verb.CANCEL)

        await commands.cancel(scene.world, 1, task, "tester")
        await scene.drain()

        assert (await scene.task(task))["status"] == "cancelled"
        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost_micro"]) == ("cancelled", 1_000)
        assert [call.external_id for call in scene.network.calls("job", Verb.CANCEL)] == ["job-1"]

    async def test_a_job_is_polled_until_its_cancel_takes_effect(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        scene.network.script("job", Unknown("?"), Accepted("job-1"), verb=Verb.CANCEL)
        scene.network.script("job", Accepted("job-1"), Accepted("job-1"), verb=Verb.POLL)
        await commands.cancel(scene.world, 1, task, "tester")
        await scene.drain()
        assert await scene.states(task) == ["waiting"]

        for _ in range(2):
            await scene.later(HOUR)

        assert await scene.states(task) == ["cancelled"]
        assert scene.network.count("job", Verb.CANCEL) == 3

    async def test_a_job_done_before_its_cancel_is_paid_and_kept(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        scene.network.script("job", Succeeded({"answer": "too late"}), verb=Verb.CANCEL)

        await commands.cancel(scene.world, 1, task, "tester")
        await scene.drain()

        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["reason"]) == ("cancelled", "late")
        assert (execution["result"], execution["cost_micro"]) == ('{"answer":"too late"}', PRICE)
        assert (await scene.task(task))["status"] == "cancelled"

    async def test_a_webhook_that_comes_after_the_cancel_is_paid_and_kept(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        await commands.cancel(scene.world, 1, task, "tester")
        await scene.webhook(task, "event-1", DONE)

        await scene.drain()

        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost_micro"]) == ("cancelled", PRICE)

    async def test_at_its_deadline_a_job_is_cancelled_at_the_provider(self, scene: Scene) -> None:
        task = await accepted_job(scene, ACCEPTED, job_s=3_600)

        await scene.later(HOUR)

        row, (execution,) = await scene.task(task), await scene.executions(task)
        assert scene.network.count("job", Verb.CANCEL) == 1
        assert (execution["status"], execution["reason"]) == ("failed", "deadline")
        assert (row["status"], row["reason"]) == ("failed", "deadline")

    async def test_a_job_that_was_done_just_before_its_deadline_is_used(self, scene: Scene) -> None:
        task = await accepted_job(scene, ACCEPTED, job_s=3_600)
        scene.network.script("job", Succeeded(ANSWER), verb=Verb.CANCEL)

        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_job_without_an_answer_at_its_deadline_is_unknown(self, scene: Scene) -> None:
        task = await accepted_job(scene, ACCEPTED, job_s=3_600, unknown="wait")
        scene.network.script("job", *[Unknown("?")] * 9, verb=Verb.CANCEL)
        scene.network.script("job", *[Unknown("?")] * 999, verb=Verb.POLL)
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]

        await scene.later(DAY)

        (execution,) = await scene.executions(task)
        assert (execution["reason"], execution["cost_source"]) == ("unknown_outcome: deadline", "bound")
        assert (await scene.task(task))["status"] == "failed"

    async def test_an_unknown_job_is_polled_once_more_before_it_is_given_up(self, scene: Scene) -> None:
        task = await accepted_job(scene, ACCEPTED, job_s=3_600, unknown="wait")
        scene.network.script("job", Unknown("?"), verb=Verb.CANCEL)
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]

        await scene.later(DAY)

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("job") == 1

    @pytest.mark.parametrize("profile", ["job", "evident"])
    async def test_a_job_that_never_ends_is_given_up(self, scene: Scene, profile: str) -> None:
        task = await scene.given(ai(profile), job_s=3_600, unknown="wait")
        scene.network.script(profile, ACCEPTED)
        scene.network.script(profile, *[ACCEPTED] * 999, verb=Verb.CANCEL)
        scene.network.script(profile, *[ACCEPTED] * 999, verb=Verb.POLL)
        scene.network.script(profile, *[ACCEPTED] * 999, verb=Verb.LOOKUP)
        await scene.drain()

        for _ in range(30):
            await scene.later(HOUR)
            await scene.webhook(task, f"event-{scene.clock.ms}", {"progress": 1}, profile=profile)

        assert (await scene.task(task))["status"] == "failed"
        assert (await scene.executions(task))[0]["cost_source"] == "bound"

    async def test_a_job_whose_profile_was_taken_away_is_charged_as_a_bound_at_its_time(
        self, scene: Scene
    ) -> None:
        task = await accepted_job(scene, ACCEPTED, job_s=3_600, unknown="wait")
        others = {name: one for name, one in scene.world.accounts.items() if name != "job"}
        scene.world = replace(scene.world, accounts=others)

        for _ in range(3):
            await scene.later(DAY)

        (execution,) = await scene.executions(task)
        assert (execution["reason"], execution["cost_micro"]) == ("unknown_outcome: deadline", PRICE)
        assert (await scene.task(task))["status"] == "failed"

    async def test_polls_do_not_move_the_deadline(self, scene: Scene) -> None:
        task = await accepted_job(scene, job_s=3_600)
        scene.network.script("job", *[LATER] * 4, verb=Verb.POLL)
        by = (await scene.executions(task))[0]["resolve_by_ms"]

        for _ in range(4):
            await scene.later(10 * MINUTE)

        assert (await scene.executions(task))[0]["resolve_by_ms"] == by

    async def test_the_key_of_a_job_names_its_execution(self, scene: Scene) -> None:
        task = await accepted_job(scene)

        (call,) = scene.network.calls("job")
        assert call.key == await scene.key(task)
        assert call.key.startswith(f"bizq-{execution_id(task, 1)}-")
        assert f"/webhooks/job?execution={execution_id(task, 1)}&mark=" in str(call.callback_url)
