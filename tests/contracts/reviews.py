"""Hybrid routes: an AI drafts, a person approves, edits, rejects, or asks for a redo.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from consumer.core.errors import BadInput
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.policy import DAY
from consumer.execution.settle import INLINE_RESULT_MAX
from consumer.provider import Verb
from consumer.service import people, queries, receipts
from tests.support.assignments import link
from tests.support.scene import PRICE, Scene, Suite, ai, person

DRAFT = {"answer": "draft"}


class ReviewContract(Suite):
    async def drafted(self, scene: Scene, **limits: Any) -> tuple[int, str]:
        """A task whose draft waits for its reviewer, and the reviewer's token."""
        task = await scene.given(ai("blind"), person(kind="review"), **limits)
        scene.network.script("blind", Succeeded(DRAFT))
        await scene.drain()
        assert await scene.states(task) == ["succeeded", "waiting"]
        return task, await link(scene, task, 2)

    async def test_a_reviewer_sees_the_draft_and_the_input(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        shown = await people.assignment(scene.world, token)

        assert (shown.kind, shown.draft) == ("review", DRAFT)
        assert shown.value == {"title": "A task", "description": ""}
        assert (await scene.executions(task))[1]["execution_type"] == "hybrid"

    async def test_approving_makes_the_draft_the_result(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        receipt = await people.review(scene.world, token, "approve", None)

        assert receipt.used
        assert (await queries.task(scene.world, 1, task))["outcome"] == DRAFT
        row = await scene.task(task)
        assert (row["status"], row["last_execution"]) == (
            "completed",
            (await scene.executions(task))[1]["id"],
        )

    async def test_approving_a_large_draft_reads_it_from_the_blobs(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), person(kind="review"))
        large = {"answer": "x" * (INLINE_RESULT_MAX + 1)}
        scene.network.script("blind", Succeeded(large))
        await scene.drain()

        await people.review(scene.world, await link(scene, task, 2), "approve", None)

        assert (await queries.task(scene.world, 1, task))["outcome"] == large

    async def test_an_edited_draft_is_the_result(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        await people.review(scene.world, token, "edit", {"answer": "better"})

        assert (await queries.task(scene.world, 1, task))["outcome"] == {"answer": "better"}

    async def test_an_edit_of_the_wrong_type_is_refused(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        with pytest.raises(BadInput):
            await people.review(scene.world, token, "edit", {"answer": 7})

        assert (await scene.task(task))["status"] == "waiting"

    async def test_a_rejected_draft_fails_the_task_and_shows_it(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        receipt = await people.review(scene.world, token, "reject", None, "no good")

        assert receipt.used
        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "rejected")
        assert (await scene.executions(task))[1]["result"] == (
            '{"decision":"reject","note":"no good","redo":false}'
        )
        assert (await scene.live(task))["cost_micro"] == PRICE

    async def test_a_redo_goes_back_to_the_ai_with_the_note(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        await people.review(scene.world, token, "reject", None, "shorter", redo=True)
        await scene.drain()

        first, second = scene.network.calls("blind")
        assert (first.feedback, second.feedback) == (None, "shorter")
        assert await scene.states(task) == ["succeeded", "failed", "succeeded", "waiting"]
        await people.review(scene.world, await link(scene, task, 4), "approve", None)
        assert (await queries.task(scene.world, 1, task))["outcome"] == {"answer": "yes"}

    @pytest.mark.parametrize(
        "accident", [Retry("busy", 1_000), Unknown("lost"), Failed("no")], ids=["retry", "unknown", "failed"]
    )
    async def test_the_note_of_a_redo_reaches_the_candidate_that_finally_does_it(
        self, scene: Scene, accident: Retry | Unknown | Failed
    ) -> None:
        task = await scene.given(ai("blind", "other"), person(kind="review"))
        scene.network.script("blind", Succeeded(DRAFT), accident)
        await scene.drain()

        await people.review(scene.world, await link(scene, task, 2), "reject", None, "shorter", redo=True)
        await scene.finish()
        await scene.later(2_000)

        last = scene.network.asked[-1].call
        assert (last.feedback, last.account.name) == (
            "shorter", "other" if isinstance(accident, Failed) else "blind",
        )  # fmt: skip
        assert (await scene.executions(task))[-1]["status"] == "waiting"

    async def test_the_third_redo_is_a_rejection(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)
        for number in (2, 4):
            token = await link(scene, task, number)
            await people.review(scene.world, token, "reject", None, "again", redo=True)
            await scene.drain()

        await people.review(scene.world, await link(scene, task, 6), "reject", None, "again", redo=True)

        row = await scene.task(task)
        assert (row["status"], row["reason"], row["redos"]) == ("failed", "rejected", 2)
        assert scene.network.count("blind") == 3

    async def test_a_redo_needs_a_note(self, scene: Scene) -> None:
        _, token = await self.drafted(scene)

        with pytest.raises(BadInput, match="note"):
            await people.review(scene.world, token, "reject", None, " ", redo=True)

    @pytest.mark.parametrize("decision", ["", "maybe", "APPROVE"])
    async def test_a_decision_is_one_of_three(self, scene: Scene, decision: str) -> None:
        _, token = await self.drafted(scene)

        with pytest.raises(BadInput, match="approve, edit or reject"):
            await people.review(scene.world, token, decision, None)

    async def test_a_decision_that_is_given_twice_gets_the_same_receipt(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        first = await people.review(scene.world, token, "reject", None, "again", redo=True)
        second = await people.review(scene.world, token, "reject", None, "again", redo=True)

        assert second == first
        assert (await scene.task(task))["redos"] == 1

    async def test_one_of_several_simultaneous_decisions_is_used_and_all_receipts_name_it(
        self, scene: Scene
    ) -> None:
        task, token = await self.drafted(scene)

        given = await asyncio.gather(
            *(
                people.review(scene.world, token, "reject", None, f"note {number}", redo=True)
                for number in range(3)
            )
        )

        (stored,) = [row["result"] for row in await scene.executions(task) if row["status"] == "failed"]
        assert [receipt.answer for receipt in given] == [json.loads(stored)] * 3
        assert (await scene.task(task))["redos"] == 1
        assert (await scene.task(task))["feedback"] == json.loads(stored)["note"]

    async def test_a_simultaneous_approval_and_rejection_are_not_both_used(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        ends = await asyncio.gather(
            people.review(scene.world, token, "approve", None),
            people.review(scene.world, token, "reject", None, "no"),
            return_exceptions=True,
        )

        status = (await scene.task(task))["status"]
        taken = [isinstance(end, receipts.Receipt) and end.used for end in ends]
        assert taken == [status == "completed", status == "failed"]

    async def test_a_decision_cannot_be_changed(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)
        await people.review(scene.world, token, "reject", None, "no", by="Anna")

        for decision, output in (("approve", None), ("edit", {"answer": "x"})):
            receipt = await people.review(scene.world, token, decision, output)
            assert not receipt.used
            assert '("Anna") rejected this on' in receipt.message

        assert (await scene.task(task))["status"] == "failed"

    async def test_a_review_and_an_answer_cannot_replace_each_other(self, scene: Scene) -> None:
        _, token = await self.drafted(scene)
        with pytest.raises(BadInput, match="review"):
            await people.submit(scene.world, token, DRAFT)
        task = await scene.given(person())
        await scene.drain()

        with pytest.raises(BadInput, match="submit"):
            await people.review(scene.world, await link(scene, task), "approve", None)

    async def test_a_missing_review_fails_at_its_deadline(self, scene: Scene) -> None:
        task, token = await self.drafted(scene, person_s=86_400)

        await scene.later(DAY)

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "deadline")
        assert not (await people.review(scene.world, token, "approve", None)).used

    async def test_a_redo_of_a_later_stage_starts_with_that_stages_input(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("other"), person(kind="review"))
        scene.network.script("blind", Succeeded({"answer": "facts"}))
        scene.network.script("other", Succeeded(DRAFT))
        await scene.drain()

        await people.review(scene.world, await link(scene, task, 3), "reject", None, "shorter", redo=True)
        await scene.drain()

        first, second = scene.network.calls("other")
        assert (first.value, second.value) == ({"answer": "facts"}, {"answer": "facts"})
        assert second.feedback == "shorter"
        assert scene.network.count("blind") == 1

    async def test_a_redo_may_go_to_a_person(self, scene: Scene) -> None:
        task = await scene.given(person(), person(kind="review"))
        await scene.drain()
        await people.submit(scene.world, await link(scene, task), DRAFT)
        await scene.drain()

        await people.review(scene.world, await link(scene, task, 2), "reject", None, "shorter", redo=True)
        await scene.drain()

        assert (await people.assignment(scene.world, await link(scene, task, 3))).feedback == "shorter"

    async def test_after_a_review_an_ai_may_go_on(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), person(kind="review"), ai("other"))
        scene.network.script("blind", Succeeded(DRAFT))
        await scene.drain()

        await people.review(scene.world, await link(scene, task, 2), "edit", {"answer": "better"})
        await scene.drain()

        assert [call.value for call in scene.network.calls("other")] == [{"answer": "better"}]
        assert (await scene.task(task))["status"] == "completed"
        assert [row["execution_type"] for row in await scene.executions(task)] == ["ai", "hybrid", "ai"]

    async def test_a_late_answer_from_before_a_redo_does_not_answer_the_redo(self, scene: Scene) -> None:
        """That answer was written without the reviewer's note."""
        task = await scene.given(ai("evident"), person(kind="review"), unknown="retry")
        scene.network.script("evident", Unknown("lost"), Succeeded(DRAFT), Accepted("redo", DAY))
        scene.network.script("evident", *[Unknown("?")] * 2, verb=Verb.LOOKUP)
        await scene.finish()
        token = await link(scene, task, 3)
        await people.review(scene.world, token, "reject", None, "shorter", redo=True)
        await scene.drain()
        assert await scene.states(task) == ["unknown", "succeeded", "failed", "waiting"]

        await scene.webhook(task, "event-1", {"output": {"answer": "of before"}}, profile="evident")
        await scene.drain()

        first, *_, redo = await scene.executions(task)
        assert (first["status"], first["reason"], first["cost_micro"]) == ("cancelled", "late", PRICE)
        assert (redo["status"], (await scene.task(task))["stage"]) == ("waiting", 0)
