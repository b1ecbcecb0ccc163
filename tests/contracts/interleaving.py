"""Moments at which two things happen at once, and answers that come when nobody expects them any more.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from consumer.core.errors import Conflict
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.core.profile import accounts
from consumer.execution import follow_up, webhooks
from consumer.ports import Refused, Unavailable
from consumer.provider import Abilities, Settings, Verb
from consumer.run.run import Run
from consumer.service import people, queries
from consumer.store import begin
from consumer.store.sql import execution_id
from tests.contracts.people import WEEK, link
from tests.support.fakes import ANSWER, Fake, Hold, Job
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person, route

DONE = {"output": ANSWER}
LATER = Accepted("job-1", 10 * MINUTE)
SILENT = Unknown("no answer")


class PollOnly(Fake):
    """Asynchronous, and all it can do is be polled."""

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
    """One more provider, under its own name."""
    extra = {
        fake.name: {"provider": fake.name, "base_url": "http://fake.test", "price": {"per_task": "0.01"}}
    }
    scene.world = replace(
        scene.world,
        providers={**scene.world.providers, fake.name: fake(scene.network)},
        accounts={**scene.world.accounts, **accounts(extra, {})},
    )


@contextmanager
def instead(scene: Scene, batch: Any) -> Iterator[None]:
    """Batches go through this first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.database, "batch", batch)
        yield


class InterleavingContract(Suite):
    async def charged_as_bound(self, scene: Scene) -> int:
        """A job of which nobody heard, whose bound is charged at the next look."""
        task = await scene.given(ai("job", "other"), job_s=3_600, unknown="wait")
        scene.network.script("job", Accepted("job-1"))
        for verb in (Verb.POLL, Verb.CANCEL):
            scene.network.script("job", *[SILENT] * 1_000, verb=verb)
        await scene.drain()
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]
        scene.clock.advance(DAY)
        await scene.tick()
        return task

    async def test_a_late_answer_does_not_settle_a_call_that_began_meanwhile(self, scene: Scene) -> None:
        task = await self.charged_as_bound(scene)
        await follow_up.follow_up(scene.world, execution_id(task, 1))
        assert (await scene.task(task))["status"] == "pending"
        hold, read = Hold(Accepted("other-1")), asyncio.Event()
        scene.network.script("other", hold)
        telling: list[asyncio.Task[None]] = []

        async def begun_first() -> (
            None
        ):  # the webhook has read how things stand, and is about to use its answer
            read.set()
            await hold.begun.wait()

        async def claimed() -> None:  # a worker has claimed the task, and is about to begin it
            scene.database.between(3, begun_first)
            telling.append(
                asyncio.create_task(scene.webhook(task, "event-1", {"output": {"answer": "late"}}))
            )
            await read.wait()

        scene.database.between(1, claimed)
        async with scene.draining():
            await asyncio.wait_for(hold.begun.wait(), 5)
            await telling[0]
            second = (await scene.executions(task))[1]
            hold.release()

        assert (second["profile"], second["status"]) == ("other", "running")

    async def test_late_answer_follows_a_moved_fence(self, scene: Scene) -> None:
        task = await self.charged_as_bound(scene)
        await follow_up.follow_up(scene.world, execution_id(task, 1))
        assert (await scene.task(task))["status"] == "pending"

        hold = Hold(Accepted("other-1"))
        scene.network.script("other", hold)

        async def claimed() -> None:  # a worker claims the task between the look and the use_late_answer
            working.append(asyncio.create_task(scene.drain()))
            await hold.begun.wait()

        working: list[Any] = []
        scene.database.between(3, claimed)  # RECEIVE, SITUATIONS, UNHANDLED | HARVEST
        await scene.webhook(task, "event-1", {"output": {"answer": "late"}})
        hold.release()
        await working[0]
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert (await queries.task(scene.world, 1, task))["outcome"] == {"answer": "late"}

    async def test_a_person_is_told_the_truth_though_the_fence_moved(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        scene.clock.advance(WEEK)
        await scene.tick()
        await follow_up.follow_up(scene.world, execution_id(task, 1))
        assert (await scene.task(task))["status"] == "pending"

        async def taken() -> None:  # a worker takes the task between the look and the answer
            await scene.drain()

        scene.database.between(1, taken)
        receipt = await people.submit(scene.world, late, ANSWER)

        assert receipt.used, (receipt, (await scene.task(task))["status"])

    async def test_giving_up_does_not_charge_a_job_that_was_found_to_have_failed(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "free"), job_s=3_600, unknown="wait")
        budget = await scene.budget(1_000_000)
        scene.network.script("job", Accepted("job-1"))
        scene.network.script("job", SILENT, verb=Verb.CANCEL)
        await scene.drain()
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]
        await scene.sql("UPDATE task_executions SET wake_at_ms = resolve_by_ms")
        hold = Hold(SILENT)
        scene.network.script("job", hold, verb=Verb.POLL)
        scene.clock.advance(DAY)
        async with scene.draining():  # the last look, slow
            await hold.begun.wait()
            await scene.webhook(task, "event-1", {"error": "it broke"})
            await scene.drain()  # another worker takes the webhook up
            await scene.drain()  # and the next candidate begins
            execution, _ = await scene.executions(task)
            assert (execution["status"], execution["cost_micro"], execution["cost_source"]) == (
                "failed",
                0,
                "none",
            )
            hold.release()

        execution, _ = await scene.executions(task)
        assert (execution["reason"], execution["cost_micro"], execution["cost_source"]) == (
            "it broke",
            0,
            "none",
        )
        assert await scene.books(budget) == (0, 0)

    async def late_review(self, scene: Scene) -> tuple[int, str]:
        task = await scene.given(ai("blind"), person("inbox", "inbox", kind="review"))
        await scene.drain()
        token = await link(scene, task, 2)
        await scene.later(WEEK)
        await scene.drain()
        assert await scene.states(task) == ["succeeded", "failed", "waiting"]
        return task, token

    async def test_a_late_rejection_is_no_accident(self, scene: Scene) -> None:
        _, token = await self.late_review(scene)
        with pytest.raises(Conflict):
            await people.review(scene.world, token, "reject", None, "no")

    async def test_a_late_refusal_is_no_accident(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        token = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()
        with pytest.raises(Conflict):
            await people.decline(scene.world, token, "no")

    async def test_a_late_edit_from_before_a_redo_is_not_the_redos(self, scene: Scene) -> None:
        task, token = await self.late_review(scene)
        await people.review(scene.world, await link(scene, task, 3), "reject", None, "shorter", redo=True)
        await scene.drain()
        assert await scene.states(task) == ["succeeded", "failed", "failed", "succeeded", "waiting"]
        with suppress(Conflict):
            receipt = await people.review(scene.world, token, "edit", {"answer": "of the first draft"})
            assert not receipt.used
        assert (await scene.task(task))["status"] == "waiting"

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

    async def test_a_thin_end_beside_progress_is_a_reason_to_ask(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", {"progress": 50})
        await scene.webhook(task, "event-2", {})
        await scene.drain()
        await scene.later(HOUR)
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_thin_webhook_after_the_end_is_asked_about(self, scene: Scene) -> None:
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
    async def test_an_early_answer_counts_whatever_the_reply_says(self, scene: Scene, reply: Any) -> None:
        task, hold = await scene.given(ai("job", "other")), Hold(reply)
        scene.network.script("job", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", {"output": {"answer": "early"}})
            hold.release()
        await scene.later(HOUR)
        states = [(r["profile"], r["status"], r["result"]) for r in await scene.executions(task)]
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
        # it was there when the reply came, and still needed: nothing is paid again
        assert scene.network.count() == 1, states

    async def test_a_template_that_was_mended_is_noticed(self, scene: Scene) -> None:
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

    async def test_blobs_that_were_down_end_no_polling(self, scene: Scene) -> None:
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

    async def test_an_answer_counts_though_its_candidate_was_taken_out_of_the_route(
        self, scene: Scene
    ) -> None:
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

    async def test_an_accepted_job_at_its_deadline_is_asked_about_and_not_done_again(
        self, scene: Scene
    ) -> None:
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

    async def test_of_two_late_answers_the_receipts_say_which_was_kept(self, scene: Scene) -> None:
        task = await scene.given(person())
        await scene.drain()
        token = await link(scene, task)
        await scene.later(WEEK)
        first = await people.submit(scene.world, token, {"answer": "first"})
        second = await people.submit(scene.world, token, {"answer": "second"})
        (execution,) = await scene.executions(task)
        assert (first.used, second.used) == (False, False)
        assert execution["note"] == f"late answer: {json.dumps(second.answer, separators=(',', ':'))}"

    async def test_the_live_status_shows_what_it_cost_in_the_end(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Unknown("lost"))
        await scene.finish()
        await scene.later(6 * MINUTE)
        await scene.later(HOUR)
        truth = (await queries.task(scene.world, 1, task))["cost_micro"]
        assert truth == 2 * PRICE
        assert (await queries.status(scene.world, 1, task))["cost_micro"] == truth

    async def test_who_answers_after_the_tasks_deadline_is_told_the_truth(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(person()))
        (task,) = await scene.tasks(1, template, deadline_ms=scene.clock.ms + HOUR)
        await scene.drain()
        token = await link(scene, task)
        await scene.later(HOUR)
        assert (await scene.task(task))["reason"] == "deadline"

        receipt = await people.submit(scene.world, token, ANSWER)

        assert (receipt.used, receipt.message) == (False, people.KEPT)
        with pytest.raises(Conflict, match="it is failed: deadline"):
            await people.decline(scene.world, token, "no time")

    async def test_a_webhook_that_an_adapter_stumbles_over_is_a_reason_to_ask(self, scene: Scene) -> None:
        task = await scene.given(ai("job"), unknown="retry")
        scene.network.script("job", LATER)
        await scene.drain()
        await webhooks.receive(scene.world, "job", execution_id(task, 1), "event-1", None, "3")
        await scene.finish()
        assert scene.network.count("job") == 1

    async def test_a_large_answer_that_was_kept_is_given_twice(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()
        second = await link(scene, task, 2)
        await people.submit(scene.world, late, ANSWER)
        large = {"answer": "x" * 70_000}
        first = await people.submit(scene.world, second, large)
        assert not first.used
        assert await people.submit(scene.world, second, large) == first

    async def test_a_question_settled_by_evidence_that_says_rejected(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600, person_s=7_200)
        scene.network.script("job", Accepted("job-1"))
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.POLL)
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.CANCEL)
        await scene.drain()
        await scene.later(HOUR)
        await scene.later(DAY)
        (asked,) = await queries.inbox(scene.world, 1)
        token = str(asked["link"]).rpartition("/")[2]
        await scene.webhook(task, "event-1", {"error": "rejected: content policy"})
        await scene.finish()
        assert (await people.assignment(scene.world, token)).state == "ended"

    async def test_who_was_asked_in_vain_is_not_thanked(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600, person_s=7_200)
        scene.network.script("job", Accepted("job-1"))
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.POLL)
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.CANCEL)
        await scene.drain()
        await scene.later(HOUR)
        await scene.later(DAY)
        (asked,) = await queries.inbox(scene.world, 1)
        token = str(asked["link"]).rpartition("/")[2]
        await scene.webhook(task, "event-1", DONE)
        await scene.finish()
        receipt = await people.submit(scene.world, token, {"answer": "mine"})
        assert "Your answer was recorded" not in receipt.message

    async def test_a_person_whose_worker_died_before_it_was_settled_is_asked(self, scene: Scene) -> None:
        task = await scene.given(person())
        inner = scene.database.batch

        async def batch(statements: Any) -> Any:
            begins = any("INSERT INTO task_executions" in s.sql for s in statements)
            settles = any(
                "last_execution = value" in s.sql and s.sql.startswith("UPDATE tasks") for s in statements
            )
            if begins and settles:
                raise Refused("some neighbour's row")
            if settles:
                raise Crash
            return await inner(statements)

        with instead(scene, batch), pytest.raises(Crash):
            await scene.drain()
        assert await scene.states(task) == ["running"]
        await scene.later(LEASE_OVER)
        await scene.later(HOUR)
        assert len(await queries.inbox(scene.world, 1)) == 1, await scene.states(task)

    async def test_what_nobody_can_read_now_is_sent_again_and_read_then(self, scene: Scene) -> None:
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

    async def test_who_was_late_and_used_sees_it_again(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()
        assert (await people.submit(scene.world, late, ANSWER)).used
        shown = await people.assignment(scene.world, late)
        assert (shown.state, shown.reason) == ("answered", None)

    async def test_a_moved_fence_loses_no_webhook(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", DONE)

        async def bump() -> None:
            await scene.sql("UPDATE tasks SET version = version + 1 WHERE id = ?1", task)

        inner = scene.database.batch
        moved = 0

        async def batch(statements: Any) -> Any:
            nonlocal moved
            if (
                any("INSERT INTO outbox" in one.sql and "last_execution" in one.sql for one in statements)
                and moved < 5
            ):
                moved += 1
                await bump()
            return await inner(statements)

        with instead(scene, batch):
            await scene.drain()
        await scene.later(5 * MINUTE)
        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("job", Verb.POLL) == 0

    async def test_of_two_answers_told_the_one_that_fits_counts(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", {"output": {"answer": 7}})
        scene.clock.advance(1)
        await scene.webhook(task, "event-2", DONE)
        await scene.finish()
        assert scene.network.count("job") == 1

    async def test_an_answer_whose_execution_was_ended_meanwhile_is_used(self, scene: Scene) -> None:
        """A look that cancels at the deadline settles between the facts and the settle of a webhook."""
        task = await scene.given(ai("job", "other"), job_s=3_600)
        scene.network.script("job", Accepted("job-1"))
        hold = Hold(Failed("stopped"))
        scene.network.script("job", hold, verb=Verb.CANCEL)
        await scene.drain()
        scene.clock.advance(HOUR)
        looking = asyncio.create_task(follow_up.follow_up(scene.world, execution_id(task, 1)))
        await hold.begun.wait()
        await scene.webhook(task, "event-1", DONE)

        async def ended() -> None:
            hold.release()
            await looking

        scene.database.between(2, ended)  # facts, webhooks | settle
        await follow_up.follow_up(scene.world, execution_id(task, 1))
        await scene.finish()
        assert scene.network.count("other") == 0

    async def test_the_job_that_a_webhook_names_is_the_one_that_is_polled(self, scene: Scene) -> None:
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

    async def test_a_run_that_is_overtaken_twice_takes_no_other_task_along(self, scene: Scene) -> None:
        """Its own answer comes when its lease is lost, and a webhook has just ended the execution."""
        task, hold, neighbour = await scene.given(ai("job", "other")), Hold(), Hold()
        innocent = await scene.given(ai("blind"))
        scene.network.script("blind", neighbour)
        scene.network.script("job", hold)
        scene.configure(lease_ms=MINUTE)
        inner, overtaken = scene.database.batch, asyncio.Event()

        async def batch(statements: Any) -> Any:
            results = await inner(statements)
            settles = any("WITH" not in s.sql and "last_execution = value" in s.sql for s in statements)
            if settles and not overtaken.is_set():
                overtaken.set()
                await scene.webhook(task, "event-1", {"error": "broken"})
                await follow_up.follow_up(scene.world, execution_id(task, 1))
            return results

        async with scene.draining():
            await hold.begun.wait()
            await neighbour.begun.wait()
            scene.clock.advance(2 * MINUTE)
            await scene.tick()
            with instead(scene, batch):
                hold.release()
                await asyncio.wait_for(overtaken.wait(), 10)
            neighbour.release()
        await scene.finish()

        assert (await scene.executions(task))[0]["reason"] == "broken"
        assert (await scene.task(innocent))["status"] == "completed"

    async def test_an_answer_that_comes_while_its_job_is_cancelled_at_the_deadline(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600)
        scene.network.script("job", Accepted("job-1"))
        hold = Hold(Failed("stopped"))
        scene.network.script("job", hold, verb=Verb.CANCEL)
        await scene.drain()
        scene.clock.advance(HOUR)
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", {"output": ANSWER, "charged": 1})
            hold.release()
        await scene.later(HOUR)
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
        assert scene.network.count("other") == 0

    async def test_a_worker_dies_after_its_settle(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", DONE)
        inner = scene.database.batch

        async def batch(statements: Any) -> Any:
            if (
                any(s.sql.startswith("UPDATE webhooks SET handled_ms") for s in statements)
                and len(statements) == 1
            ):
                raise Crash
            return await inner(statements)

        with instead(scene, batch), suppress(Crash):
            await follow_up.follow_up(scene.world, execution_id(task, 1))
        await scene.later(LEASE_OVER)
        assert (await scene.task(task))["status"] == "completed"
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []

    async def test_what_a_stopped_worker_gave_back_is_no_lost_look(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        scene.clock.advance(HOUR)
        for _ in range(4):  # claimed, and stopped before anything was started
            stop = asyncio.Event()

            async def now(stop: asyncio.Event = stop) -> None:
                stop.set()

            scene.database.between(1, now)
            await Run(scene.world, stop.is_set).drain()
            scene.clock.advance(5 * MINUTE)
        assert scene.network.count("job", Verb.POLL) == 0

        await scene.later(HOUR)
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_begin_that_lands_after_its_own_refusal_is_taken_back(self, scene: Scene) -> None:
        """Its first sending is given up and repeated, refused for want of room, and lands when there is some."""
        task = await scene.given(ai("blind"))
        budget = await scene.budget(0, period="total")
        inner, begins = scene.database.batch, list[Any]()

        async def batch(statements: Any) -> Any:
            results = await inner(statements)
            if any(one.sql == begin.BEGIN.sql for one in statements):
                begins.append(statements)
            elif begins and any(one.sql == begin.FULL_PERIODS.sql for one in statements):
                await scene.sql("UPDATE budgets SET cap_micro = ?1", PRICE)  # room, and what was on its way
                await scene.database.inner.batch(begins[0])
                await scene.sql("UPDATE budgets SET cap_micro = 0")
            return results

        with instead(scene, batch):
            await scene.drain()
        assert scene.network.count() == 0
        (unsent,) = await scene.executions(task)
        assert (unsent["status"], unsent["reason"], unsent["cost_micro"]) == ("cancelled", "never sent", 0)
        assert await scene.books(budget) == (0, 0)
        await scene.sql("UPDATE budgets SET cap_micro = ?1", PRICE)
        await scene.later(MINUTE)

        assert await scene.states(task) == ["cancelled", "succeeded"]
        assert await scene.statuses() == {"completed": 1}

    async def test_who_publishes_slowly_is_not_taken_off_the_list_by_another(self, scene: Scene) -> None:
        """Two have moved a task without a lease: the second one's put is slow, and it dies over it."""
        task = await scene.given(person("inbox"), ai("blind"))
        await scene.drain()
        token = await link(scene, task)
        stale = (await scene.kv.get(f"status:{task}")) or ""
        await scene.sql(
            "INSERT INTO outbox (kind, task_id, holder, due_ms) VALUES ('publish', ?1, 'slow', ?2)",
            *(task, scene.clock.ms + LEASE_OVER),
        )

        await people.submit(scene.world, token, ANSWER)
        await scene.finish()
        await scene.later(MINUTE)
        assert (await scene.live(task))["status"] == "completed"
        await scene.kv.inner.put(f"status:{task}", stale)
        await scene.later(LEASE_OVER)

        assert (await scene.live(task))["status"] == "completed"
        assert await scene.count("outbox") == 0
