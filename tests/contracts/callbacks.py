"""Webhooks about jobs: early, late, twice, in any order.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from consumer.core.outcome import Accepted, Outcome, Unknown
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.execution import webhooks
from consumer.provider import Verb
from tests.support.fakes import Hold
from tests.support.jobs import ACCEPTED, DONE, accepted_job
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai


class CallbackContract(Suite):
    async def test_a_webhook_ends_its_job(self, scene: Scene) -> None:
        task = await accepted_job(scene)

        await scene.webhook(task, "event-1", DONE)
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
        assert (await scene.executions(task))[0]["cost_micro"] == PRICE
        assert (await scene.live(task))["status"] == "completed"
        assert scene.network.count(verb=Verb.POLL) == 0
        assert (await scene.sql("SELECT handled_ms FROM webhooks"))[0]["handled_ms"] == scene.clock.ms

    async def test_a_webhook_about_a_failure_ends_its_job(self, scene: Scene) -> None:
        task = await accepted_job(scene)

        await scene.webhook(task, "event-1", {"error": "no such city"})
        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "no such city")

    async def test_a_webhook_that_comes_before_the_reply_is_not_lost(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("job")), Hold(ACCEPTED)
        scene.network.script("job", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", DONE)
            hold.release()
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize("reply", [Unknown("lost"), httpx2.ReadError("reset")], ids=["unknown", "reset"])
    async def test_a_webhook_that_comes_before_a_lost_reply_is_evidence(
        self, scene: Scene, reply: Outcome | Exception
    ) -> None:
        task, hold = await scene.given(ai("job")), Hold(reply)
        scene.network.script("job", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", DONE)
            hold.release()

        await scene.later(MINUTE)

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("job") == 1

    async def test_an_early_webhook_survives_the_death_of_the_submitting_worker(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("job")), Hold(ACCEPTED)
        scene.network.script("job", hold)
        await scene.die(hold)
        await scene.webhook(task, "event-1", DONE)

        await scene.later(LEASE_OVER)

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("job") == 1

    async def test_a_webhook_that_is_delivered_twice_counts_once(self, scene: Scene) -> None:
        task = await accepted_job(scene)

        await scene.webhook(task, "event-1", DONE)
        await scene.webhook(task, "event-1", {"error": "a forged repeat"})
        await scene.drain()
        await scene.webhook(task, "event-1", DONE)
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.count("webhooks") == 1
        assert await scene.states(task) == ["succeeded"]

    @pytest.mark.parametrize("others", [[{"progress": 50}], [{}], [{"error": "and now?"}]], ids=json.dumps)
    async def test_webhooks_after_the_answer_change_nothing(
        self, scene: Scene, others: list[dict[str, Any]]
    ) -> None:
        task = await accepted_job(scene)

        await scene.webhook(task, "event-1", DONE)
        for number, said in enumerate(others):
            scene.clock.advance(1)
            await scene.webhook(task, f"event-{number + 2}", said)
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"

    async def test_an_older_progress_report_that_comes_late_changes_nothing(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        await scene.webhook(task, "event-2", DONE)
        await scene.drain()

        await scene.webhook(task, "event-1", {"progress": 50})
        await scene.later(HOUR)

        assert await scene.states(task) == ["succeeded"]

    async def test_a_webhook_without_a_result_makes_the_worker_poll(self, scene: Scene) -> None:
        task = await accepted_job(scene)

        await scene.webhook(task, "event-1", {})
        await scene.drain()

        assert scene.network.count("job", Verb.POLL) == 1
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_webhook_about_a_missing_task_changes_nothing(self, scene: Scene) -> None:
        await scene.webhook(12_345, "event-1", DONE)

        await scene.later(HOUR)

        assert await scene.count("task_executions") == 0

    async def test_a_webhook_that_comes_after_the_deadline_is_kept_with_its_cost(self, scene: Scene) -> None:
        task = await accepted_job(scene, ACCEPTED, job_s=3_600, unknown="wait")
        scene.network.script("job", *[Unknown("?")] * 100, verb=Verb.CANCEL)
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]

        await scene.webhook(task, "event-1", DONE)
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
        assert (await scene.executions(task))[0]["cost_micro"] == PRICE

    async def test_a_webhook_that_comes_after_the_bound_was_charged_corrects_the_bill(
        self, scene: Scene
    ) -> None:
        task = await accepted_job(scene, ACCEPTED, job_s=3_600, unknown="wait")
        for verb in (Verb.CANCEL, Verb.POLL, Verb.LOOKUP):
            scene.network.script("job", *[Unknown("?")] * 100, verb=verb)
        await scene.later(HOUR)
        for _ in range(2):
            await scene.later(DAY)
        assert [row["cost_source"] for row in await scene.executions(task)] == ["bound"]

        await scene.webhook(task, "event-1", DONE)

        (execution,) = await scene.executions(task)
        assert (execution["cost_source"], execution["cost_micro"]) == ("declared", PRICE)
        assert (await scene.task(task))["status"] == "failed"
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []

    async def test_a_webhook_after_the_end_that_knows_only_the_external_id_corrects_the_bill(
        self, scene: Scene
    ) -> None:
        task = await accepted_job(scene, Accepted("job-7"), job_s=3_600, unknown="wait")
        for verb in (Verb.CANCEL, Verb.POLL, Verb.LOOKUP):
            scene.network.script("job", *[Unknown("?")] * 100, verb=verb)
        await scene.later(HOUR)
        for _ in range(2):
            await scene.later(DAY)
        assert [row["cost_source"] for row in await scene.executions(task)] == ["bound"]

        for profile, external in (("job", "job-8"), ("other", "job-7"), ("job", "job-7")):
            await webhooks.receive(
                scene.world, profile, None, f"{profile} {external}", external, json.dumps(DONE)
            )

        (execution,) = await scene.executions(task)
        assert execution["cost_source"] == "declared"
        unhandled = await scene.sql(
            "SELECT external_id FROM webhooks WHERE handled_ms IS NULL ORDER BY profile"
        )
        assert [row["external_id"] for row in unhandled] == ["job-8", "job-7"]

    async def test_an_answer_that_does_not_fit_is_repaired_by_a_new_job(self, scene: Scene) -> None:
        task = await accepted_job(scene)

        await scene.webhook(task, "event-1", {"output": {"answer": 7}})
        await scene.finish()

        assert await scene.states(task) == ["failed", "succeeded"]
        assert scene.network.calls("job")[1].feedback is not None

    async def test_a_job_whose_template_stays_broken_is_charged_as_a_bound_at_its_time(
        self, scene: Scene
    ) -> None:
        task = await accepted_job(scene, ACCEPTED, job_s=3_600)
        await scene.sql("UPDATE task_templates SET route = 'no json'")

        await scene.later(HOUR)
        for _ in range(9):
            await scene.later(DAY)

        assert (await scene.task(task))["status"] == "failed"
        assert [row["cost_source"] for row in await scene.executions(task)] == ["bound"]

    async def test_a_job_whose_template_became_invalid_keeps_its_webhooks(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        (template,) = await scene.sql("SELECT id, route FROM task_templates")
        await scene.sql("UPDATE task_templates SET route = 'no json'")
        await scene.webhook(task, "event-1", DONE)
        await scene.finish()
        assert await scene.states(task) == ["waiting"]
        assert scene.queue.delays == [600]  # the doorbell of the scheduled poll

        await scene.sql("UPDATE task_templates SET route = ?1", template["route"])
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("job", Verb.POLL) == 0
