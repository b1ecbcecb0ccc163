"""A person is asked what came of a call whose outcome is unknown.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import pytest

from consumer.core.errors import BadInput, Conflict
from consumer.core.outcome import Accepted
from consumer.core.policy import DAY, HOUR
from consumer.execution import webhooks
from consumer.provider import Verb
from consumer.service import commands, people, queries
from consumer.store.sql import execution_id
from tests.support.fakes import LOST
from tests.support.jobs import SILENT
from tests.support.scene import PRICE, Scene, Suite, ai


class QuestionContract(Suite):
    async def doubted(self, scene: Scene) -> tuple[int, int, str]:
        """An accepted job without any later answer; return its task, a budget and the token of the person's link."""
        task = await scene.given(ai("job", "other"), job_s=3_600, person_s=7_200)
        budget = await scene.budget(1_000_000)
        scene.network.script("job", Accepted("job-1"))
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.POLL)
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.CANCEL)
        await scene.drain()
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]
        assert await queries.inbox(scene.world, 1) == []
        await scene.later(DAY)
        (asked,) = await queries.inbox(scene.world, 1)
        assert (asked["kind"], asked["task_id"], asked["profile"]) == ("question", task, "job")
        return task, budget, str(asked["link"]).rpartition("/")[2]

    async def test_a_person_is_asked_about_a_job_without_any_answer(self, scene: Scene) -> None:
        task, budget, token = await self.doubted(scene)

        assert await scene.books(budget) == (0, PRICE)
        assert "waits for a person" in await scene.why(task)
        asked = await people.assignment(scene.world, token)
        assert (asked.kind, asked.state, asked.profile) == ("question", "open", "job")

    async def test_the_answer_that_the_person_found_is_used_without_another_call(self, scene: Scene) -> None:
        task, budget, token = await self.doubted(scene)

        receipt = await people.submit(scene.world, token, {"answer": "found"})

        assert receipt.used
        assert await people.submit(scene.world, token, {"answer": "found"}) == receipt
        assert not (await people.submit(scene.world, token, {"answer": "twice"})).used
        assert (await scene.task(task))["status"] == "completed"
        (execution,) = await scene.executions(task)
        assert (execution["result"], execution["cost_source"]) == ('{"answer":"found"}', "bound")
        assert await scene.books(budget) == (PRICE, 0)
        assert (scene.network.count("job"), scene.network.count("other")) == (1, 0)

    async def test_an_answer_that_does_not_fit_leaves_the_question_open(self, scene: Scene) -> None:
        task, _, token = await self.doubted(scene)

        with pytest.raises(BadInput, match="answer"):
            await people.submit(scene.world, token, {"answer": 7})

        assert await scene.states(task) == ["unknown"]

    async def test_a_call_that_the_person_reports_as_not_done_is_tried_again(self, scene: Scene) -> None:
        task, budget, token = await self.doubted(scene)

        assert not (await people.decline(scene.world, token, "not in their list")).used
        await people.decline(scene.world, token, "again")
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        first, second = await scene.executions(task)
        assert (first["status"], first["reason"]) == ("failed", "declined: not in their list")
        assert (first["cost_source"], second["profile"]) == ("bound", "job")
        assert await scene.books(budget) == (2 * PRICE, 0)

    async def test_an_unanswered_question_ends_with_a_charge_of_the_bound(self, scene: Scene) -> None:
        task, _, token = await self.doubted(scene)
        assert (await scene.executions(task))[0]["reason"] == "asked: deadline"

        await scene.later(2 * HOUR)
        await scene.finish()

        first, second = await scene.executions(task)
        assert (first["reason"], first["cost_source"]) == ("unknown_outcome: deadline", "bound")
        assert (second["profile"], (await scene.task(task))["status"]) == ("other", "completed")
        with pytest.raises(Conflict, match="has ended: the question's time is over"):
            await people.decline(scene.world, token, "")
        assert (await people.assignment(scene.world, token)).state == "ended"

    async def test_evidence_that_comes_while_a_person_is_asked_counts(self, scene: Scene) -> None:
        task, _, token = await self.doubted(scene)
        event = ("job", execution_id(task, 1), "event-1", None, '{"output": {"answer": "theirs"}}')

        await webhooks.receive(scene.world, *event)
        await scene.finish()

        (execution,) = await scene.executions(task)
        assert (execution["result"], execution["cost_source"]) == ('{"answer":"theirs"}', "declared")
        assert await queries.inbox(scene.world, 1) == []
        assert (await people.submit(scene.world, token, {"answer": "mine"})).answer == {"answer": "theirs"}

    @pytest.mark.parametrize(("unknown", "asked"), [("ask", 1), ("wait", 0), ("default", 0)])
    async def test_a_template_may_have_a_person_asked_about_any_call(
        self, scene: Scene, unknown: str, asked: int
    ) -> None:
        task = await scene.given(ai("evident"), unknown=unknown)
        scene.network.script("evident", LOST)
        scene.network.script("evident", *[SILENT] * 1_000, verb=Verb.LOOKUP)
        await scene.drain()

        await scene.later(DAY)

        assert len(await queries.inbox(scene.world, 1)) == asked
        assert (await scene.task(task))["status"] == ("waiting" if asked else "failed")

    async def test_no_person_is_asked_about_a_call_that_is_no_longer_needed(self, scene: Scene) -> None:
        task, _, _ = await self.doubted(scene)

        await commands.cancel(scene.world, 1, task, "tester")

        assert await queries.inbox(scene.world, 1) == []
        await scene.later(2 * HOUR)
        assert (await scene.executions(task))[0]["cost_source"] == "bound"

    async def test_an_answer_after_its_bound_was_charged_is_used_and_paid_once(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600, unknown="wait")
        budget = await scene.budget(1_000_000)
        scene.network.script("job", Accepted("job-1"))
        for verb in (Verb.POLL, Verb.CANCEL):
            scene.network.script("job", *[SILENT] * 1_000, verb=verb)
        scene.network.script("other", Accepted("other-1"))
        await scene.drain()
        await scene.later(HOUR)
        await scene.later(DAY)
        await scene.finish()
        assert await scene.states(task) == ["failed", "waiting"]
        assert await scene.books(budget) == (PRICE, PRICE)
        event = ("job", execution_id(task, 1), "event-1", None, '{"output": {"answer": "late"}}')

        await webhooks.receive(scene.world, *event)

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["failed", "waiting", "succeeded"]
        late, _, used = await scene.executions(task)
        assert used["result"] == '{"answer":"late"}'
        assert (late["cost_micro"], late["cost_source"]) == (PRICE, "declared")
        assert used["cost_micro"] == 0
