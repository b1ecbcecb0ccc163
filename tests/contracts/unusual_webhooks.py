"""Webhooks that come early, have no result, or arrive while the template cannot be used.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.core.profile import accounts
from consumer.execution import webhooks
from consumer.ports import Unavailable
from consumer.provider import Abilities, Settings, Verb
from consumer.service import queries
from consumer.store.sql import execution_id
from tests.support.fakes import ANSWER, Fake, Hold, Job
from tests.support.jobs import DONE, LATER, SILENT
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, route


class PollOnly(Fake):
    """Asynchronous, and can only be polled."""

    name = "pollonly"
    abilities = Abilities(poll=True)


class Model(Settings):
    """A setting that a route may have."""

    model: str = "small"


class Tuned(Job):
    """A job with settings of its own."""

    name = "tuned"
    settings = Model


def with_fake(scene: Scene, fake: type[Fake]) -> None:
    """Add a provider to the scene, under its own name."""
    extra = {
        fake.name: {"provider": fake.name, "base_url": "http://fake.test", "price": {"per_task": "0.01"}}
    }
    scene.world = replace(
        scene.world,
        providers={**scene.world.providers, fake.name: fake(scene.network)},
        accounts={**scene.world.accounts, **accounts(extra, {})},
    )


class UnusualWebhookContract(Suite):
    async def test_progress_does_not_end_polling(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", {"progress": 50})
        await scene.drain()
        await scene.later(HOUR)
        await scene.later(HOUR)
        assert scene.network.count("job", Verb.POLL) > 0
        assert (await scene.task(task))["status"] == "completed"

    async def test_an_end_without_a_result_after_progress_makes_the_worker_poll(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", {"progress": 50})
        await scene.webhook(task, "event-2", {})
        await scene.drain()
        await scene.later(HOUR)
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_webhook_without_a_result_after_the_end_makes_the_worker_poll(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600, unknown="wait")
        scene.network.script("job", Accepted("job-1"))
        scene.network.script("job", *[SILENT] * 50, verb=Verb.POLL)
        scene.network.script("job", SILENT, verb=Verb.CANCEL)
        scene.network.script("other", Accepted("other-1"))
        await scene.drain()
        await scene.later(HOUR)
        await scene.later(DAY)
        await scene.finish()
        assert await scene.states(task) == ["failed", "waiting"]
        scene.network._scripts["job", Verb.POLL].clear()  # from now on a poll finds the answer
        await scene.webhook(task, "event-1", {})
        await scene.finish()
        await scene.later(HOUR)
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize(
        "reply", [Retry("busy"), Failed("no"), Succeeded({"answer": 7})], ids=["retry", "failed", "invalid"]
    )
    async def test_an_early_answer_counts_for_every_kind_of_reply(self, scene: Scene, reply: Any) -> None:
        task, hold = await scene.given(ai("job", "other")), Hold(reply)
        scene.network.script("job", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", {"output": {"answer": "early"}})
            hold.release()
        await scene.later(HOUR)
        states = [(r["profile"], r["status"], r["result"]) for r in await scene.executions(task)]
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
        # the answer was there when the reply came, and was still needed: nothing is paid again
        assert scene.network.count() == 1, states

    async def test_a_repaired_template_is_noticed(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        (template,) = await scene.sql("SELECT id, route FROM task_templates")
        await scene.sql("UPDATE task_templates SET route = 'no json'")
        for _ in range(6):
            await scene.later(10 * MINUTE)
        await scene.sql("UPDATE task_templates SET route = ?1", template["route"])
        await scene.webhook(task, "event-1", DONE)
        await scene.later(HOUR)
        await scene.later(HOUR)
        assert (await scene.task(task))["status"] == "completed"

    async def test_an_outage_of_the_blobs_does_not_end_polling(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("job"))
        scene.network.script("blind", Succeeded({"answer": "x" * 70_000}))
        scene.network.script("job", LATER)
        await scene.drain()
        assert await scene.states(task) == ["succeeded", "waiting"]
        scene.blobs.down = True
        for _ in range(6):
            await scene.later(10 * MINUTE)
        scene.blobs.down = False
        await scene.later(HOUR)
        await scene.later(HOUR)
        assert (await scene.task(task))["status"] == "completed"

    async def test_an_answer_counts_although_its_candidate_left_the_route(self, scene: Scene) -> None:
        with_fake(scene, Tuned)
        task = await scene.given(ai("other", "tuned"))
        scene.network.script("other", Failed("no"))
        scene.network.script("tuned", LATER)
        await scene.drain()
        assert await scene.states(task) == ["failed", "waiting"]
        await scene.sql("UPDATE task_templates SET route = ?1", json.dumps(route(ai("other"))))
        await scene.webhook(task, "event-1", DONE, number=2, profile="tuned")
        for _ in range(3):
            await scene.later(DAY)
        row = await scene.task(task)
        assert row["status"] == "completed", row

    async def test_an_accepted_job_is_polled_at_its_deadline_and_not_repeated(self, scene: Scene) -> None:
        with_fake(scene, PollOnly)
        await scene.given(ai("pollonly"), job_s=3_600)
        scene.network.script("pollonly", Accepted("job-1"))
        await scene.drain()
        await scene.later(HOUR)
        await scene.finish()
        await scene.later(15 * MINUTE)
        await scene.finish()
        assert scene.network.count("pollonly") == 1
        assert scene.network.count("pollonly", Verb.POLL) >= 1

    async def test_the_live_status_shows_the_final_cost(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Unknown("lost"))
        await scene.finish()
        await scene.later(6 * MINUTE)
        await scene.later(HOUR)
        truth = (await queries.task(scene.world, 1, task))["cost_micro"]
        assert truth == 2 * PRICE
        assert (await queries.status(scene.world, 1, task))["cost_micro"] == truth

    async def test_a_webhook_that_crashes_its_adapter_makes_the_worker_poll(self, scene: Scene) -> None:
        task = await scene.given(ai("job"), unknown="retry")
        scene.network.script("job", LATER)
        await scene.drain()
        await webhooks.receive(scene.world, "job", execution_id(task, 1), "event-1", None, "3")
        await scene.finish()
        assert scene.network.count("job") == 1

    async def test_an_unreadable_webhook_is_sent_again_and_then_read(self, scene: Scene) -> None:
        task = await scene.given(ai("job"), job_s=3_600, unknown="wait")
        scene.network.script("job", Accepted("job-1"))
        for verb in (Verb.CANCEL, Verb.POLL):
            scene.network.script("job", *[SILENT] * 100, verb=verb)
        await scene.drain()
        await scene.later(HOUR)
        await scene.later(DAY)
        (template,) = await scene.sql("SELECT id, route FROM task_templates")
        await scene.sql("UPDATE task_templates SET route = 'no json'")
        with pytest.raises(Unavailable):
            await scene.webhook(task, "event-1", DONE)
        await scene.sql("UPDATE task_templates SET route = ?1", template["route"])

        await scene.webhook(task, "event-1", DONE)

        assert [row["cost_source"] for row in await scene.executions(task)] == ["declared"]

    async def test_of_two_answers_by_webhook_the_one_that_fits_counts(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", {"output": {"answer": 7}})
        scene.clock.advance(1)
        await scene.webhook(task, "event-2", DONE)
        await scene.finish()
        assert scene.network.count("job") == 1

    async def test_the_job_named_by_a_webhook_is_polled(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("job")), Hold()
        scene.network.script("job", hold)
        await scene.die(hold)
        await webhooks.receive(
            scene.world, "job", execution_id(task, 1), "e1", "job-9", json.dumps({"progress": 1})
        )
        await scene.later(LEASE_OVER)
        await scene.later(HOUR)
        await scene.later(DAY)
        assert None not in [c.external_id for c in scene.network.calls("job", Verb.POLL)]

    async def ended_job(self, scene: Scene) -> int:
        """A task that another candidate completed after its first one had failed."""
        task = await scene.given(ai("job", "blind"))
        scene.network.script("job", Failed("no"))
        await scene.drain()
        assert (await scene.task(task))["status"] == "completed"
        return task

    @pytest.mark.parametrize("output", [{"answer": "late"}, {"answer": 7}, {"answer": "x" * 70_000}])
    async def test_an_answer_that_no_task_needs_any_more_is_kept_with_its_execution(
        self, scene: Scene, output: dict[str, Any]
    ) -> None:
        task = await self.ended_job(scene)

        await scene.webhook(task, "event-1", {"output": output})
        await scene.webhook(task, "event-2", {"output": {"answer": "later still"}})

        first, _ = (await queries.history(scene.world, None, task))["executions"]
        assert (first["status"], first["note"]) == ("failed", "late answer, not used")
        assert (first["result"], first["used"]) == (output, False)
        assert (await queries.task(scene.world, None, task))["result"] == ANSWER

    async def test_a_webhook_is_not_forgotten_when_its_profile_is_removed_at_the_end(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()
        known = scene.world
        scene.world = replace(known, accounts={k: v for k, v in known.accounts.items() if k != "job"})
        await scene.webhook(task, "event-1", DONE)
        for _ in range(10):
            await scene.later(DAY)
        assert await scene.states(task) == ["failed"]

        scene.world = known
        await scene.later(HOUR)

        (execution,) = await scene.executions(task)
        assert (execution["note"], execution["result"] is not None) == ("late answer, not used", True)
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
        assert await scene.sql("SELECT 1 FROM outbox WHERE kind = 'webhook'") == []

    async def test_a_webhook_that_cannot_be_read_at_the_end_is_handled_once_it_can(
        self, scene: Scene
    ) -> None:
        task, hold = await scene.given(ai("job", "other")), Hold(Failed("no"))
        scene.network.script("job", hold)
        scene.network.script("other", Accepted("other-1"))
        (template,) = await scene.sql("SELECT route FROM task_templates")
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", DONE)
            await scene.sql("UPDATE task_templates SET route = 'no json'")
            hold.release()
        assert await scene.states(task) == ["failed", "waiting"]
        await scene.later(HOUR)
        await scene.sql("UPDATE task_templates SET route = ?1", template["route"])
        await scene.later(HOUR)
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
        assert await scene.sql("SELECT 1 FROM outbox WHERE kind = 'webhook'") == []
        assert (await scene.task(task))["status"] == "completed"
