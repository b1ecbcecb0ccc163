"""People who answer, reject or decline after their time.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from consumer.core.errors import Conflict
from consumer.core.outcome import Accepted
from consumer.core.policy import DAY, HOUR
from consumer.provider import Verb
from consumer.service import people, queries, receipts
from tests.support.assignments import WEEK, link
from tests.support.fakes import ANSWER
from tests.support.jobs import DONE, SILENT
from tests.support.scene import Scene, Suite, ai, person, route


class LatePeopleContract(Suite):
    async def late_review(self, scene: Scene) -> tuple[int, str]:
        task = await scene.given(ai("blind"), person("inbox", "inbox", kind="review"))
        await scene.drain()
        token = await link(scene, task, 2)
        await scene.later(WEEK)
        await scene.drain()
        assert await scene.states(task) == ["succeeded", "failed", "waiting"]
        return task, token

    async def test_a_late_rejection_is_a_conflict(self, scene: Scene) -> None:
        _, token = await self.late_review(scene)
        with pytest.raises(Conflict):
            await people.review(scene.world, token, "reject", None, "no")

    async def test_a_late_decline_is_a_conflict(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        token = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()
        with pytest.raises(Conflict):
            await people.decline(scene.world, token, "no")

    async def test_a_late_edit_of_the_old_draft_does_not_answer_the_redo(self, scene: Scene) -> None:
        task, token = await self.late_review(scene)
        await people.review(scene.world, await link(scene, task, 3), "reject", None, "shorter", redo=True)
        await scene.drain()
        assert await scene.states(task) == ["succeeded", "failed", "failed", "succeeded", "waiting"]
        with suppress(Conflict):
            receipt = await people.review(scene.world, token, "edit", {"answer": "of the first draft"})
            assert not receipt.used
        assert (await scene.task(task))["status"] == "waiting"

    async def test_receipts_of_two_late_answers_show_which_was_kept(self, scene: Scene) -> None:
        task = await scene.given(person())
        await scene.drain()
        token = await link(scene, task)
        await scene.later(WEEK)
        first = await people.submit(scene.world, token, {"answer": "first"})
        second = await people.submit(scene.world, token, {"answer": "second"})
        (execution,) = await scene.executions(task)
        assert (first.used, second.used) == (False, False)
        assert execution["note"] == f"late answer: {json.dumps(second.answer, separators=(',', ':'))}"

    async def test_the_receipt_of_an_answer_after_the_deadline_is_true(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(person()))
        (task,) = await scene.tasks(1, template, deadline_ms=scene.clock.ms + HOUR)
        await scene.drain()
        token = await link(scene, task)
        await scene.later(HOUR)
        assert (await scene.task(task))["reason"] == "deadline"

        receipt = await people.submit(scene.world, token, ANSWER)

        assert (receipt.used, receipt.message) == (False, receipts.KEPT)
        with pytest.raises(Conflict, match="it is failed: deadline"):
            await people.decline(scene.world, token, "no time")

    async def test_a_large_kept_answer_given_twice_gets_the_same_receipt(self, scene: Scene) -> None:
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

    async def test_a_question_ends_when_evidence_shows_a_rejection(self, scene: Scene) -> None:
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

    async def test_a_person_whose_answer_came_too_late_is_not_thanked(self, scene: Scene) -> None:
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

    async def test_a_used_late_answer_is_shown_again(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()
        assert (await people.submit(scene.world, late, ANSWER)).used
        shown = await people.assignment(scene.world, late)
        assert (shown.state, shown.reason) == ("answered", None)
