"""Two people with one link: the first answer counts, and receipts compare what was sent with what is stored.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.errors import Conflict, NotFound, NotStored
from consumer.core.outcome import Succeeded
from consumer.core.policy import DAY
from consumer.execution import settle
from consumer.ports import Refused
from consumer.service import commands, people, queries, receipts
from tests.support.assignments import link
from tests.support.fakes import ANSWER
from tests.support.scene import Scene, Suite, ai, person, route

DRAFT = {"answer": "draft"}


class TwoPeopleContract(Suite):
    async def asked(self, scene: Scene) -> tuple[int, str]:
        """A task that waits for a person, and the person's token."""
        task = await scene.given(person())
        await scene.drain()
        return task, await link(scene, task)

    async def drafted(self, scene: Scene, **limits: Any) -> tuple[int, str]:
        """A task whose draft waits for its reviewer, and the reviewer's token."""
        task = await scene.given(ai("blind"), person(kind="review"), **limits)
        scene.network.script("blind", Succeeded(DRAFT))
        await scene.drain()
        return task, await link(scene, task, 2)

    async def test_another_answer_is_kept_and_its_sender_reads_who_decided(self, scene: Scene) -> None:
        task, token = await self.asked(scene)
        await people.submit(scene.world, token, ANSWER, by="Anna")
        other = {"answer": "something else"}

        second = await people.submit(scene.world, token, other, by="Bob")

        assert (second.used, second.answer, second.sent) == (False, ANSWER, other)
        assert second.decision is not None
        assert second.message.startswith('a person with the link ("Anna") answered this on 20')
        assert second.message.endswith("It was kept with the task.")
        audit = (await queries.history(scene.world, 1, task))["audit"]
        assert [(entry["event"], entry["actor"].partition('"')[2]) for entry in audit] == [
            ("answered", 'Anna")'),
            ("answer not used", 'Bob")'),
        ]
        assert "something else" in str(audit[1]["detail"])
        assert await people.submit(scene.world, token, other, by="Bob") == second
        assert await scene.count("audit_log") == 2

    async def test_the_user_who_was_asked_is_recorded_with_the_answer(self, scene: Scene) -> None:
        await scene.organization(1)
        await scene.sql("INSERT INTO users (id, organization_id, email, name) VALUES (5, 1, 'a@b.c', 'Anna')")
        template = await scene.template(route(person()))
        await scene.tasks(1, template, assigned_to=5)
        await scene.drain()
        (asked,) = await queries.inbox(scene.world, 1)
        token = str(asked["link"]).rpartition("/")[2]

        receipt = await people.submit(scene.world, token, ANSWER, by="Bob")

        assert receipt.decision is not None
        assert receipt.decision.by == "user 5 (Anna)"

    async def test_what_is_sent_after_the_end_is_kept(self, scene: Scene) -> None:
        task, token = await self.asked(scene)
        await commands.cancel(scene.world, 1, task, "the boss")

        with pytest.raises(Conflict, match="It was kept with the task"):
            await people.submit(scene.world, token, {"answer": "hard work"})

        audit = (await queries.history(scene.world, 1, task))["audit"]
        assert "hard work" in str(audit[-1]["detail"])

    async def test_more_than_is_kept_is_not_called_kept(self, scene: Scene) -> None:
        """Everybody who has the link can send anything."""
        _, token = await self.asked(scene)
        await people.submit(scene.world, token, ANSWER)
        for number in range(receipts.MAX_NOT_USED):
            assert "kept with" in (await people.submit(scene.world, token, {"answer": str(number)})).message

        last = await people.submit(scene.world, token, {"answer": "one more"})

        assert "it was not kept" in last.message
        assert await scene.count("audit_log") == receipts.MAX_NOT_USED + 1

    async def test_a_large_answer_that_is_not_used_is_kept_in_the_blobs(self, scene: Scene) -> None:
        task, token = await self.asked(scene)
        await people.submit(scene.world, token, ANSWER)

        await people.submit(scene.world, token, {"answer": "x" * 70_000})

        audit = (await queries.history(scene.world, 1, task))["audit"]
        key = str(audit[-1]["detail"]).rpartition(" ")[2]
        assert b"x" * 70_000 in (await scene.world.blobs.get(key) or b"")

    async def test_an_answer_that_the_database_refuses_can_be_sent_again(self, scene: Scene) -> None:
        task, token = await self.asked(scene)
        scene.database.fail(2, error=Refused("too big"))

        with pytest.raises(NotStored, match="nothing was stored"):
            await people.submit(scene.world, token, ANSWER)

        assert (await scene.task(task))["status"] == "waiting"
        assert (await people.submit(scene.world, token, ANSWER)).used

    async def test_a_task_that_is_deleted_while_it_is_answered_is_reported(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task, token = await self.asked(scene)
        original = settle.settle_without_lease

        async def deleted(*arguments: Any, **named: Any) -> Any:
            await scene.sql("DELETE FROM task_executions WHERE task_id = ?1", task)
            await scene.sql("DELETE FROM tasks WHERE id = ?1", task)
            return await original(*arguments, **named)

        monkeypatch.setattr(people, "settle_without_lease", deleted)
        with pytest.raises(NotFound, match="deleted"):
            await people.submit(scene.world, token, ANSWER)

    async def test_an_approval_cannot_be_changed_and_the_words_of_a_rejection_are_kept(
        self, scene: Scene
    ) -> None:
        task, token = await self.drafted(scene)
        await people.review(scene.world, token, "approve", None, by="Anna")

        receipt = await people.review(scene.world, token, "reject", None, "it is wrong", by="Bob")

        assert (await scene.task(task))["status"] == "completed"
        assert (receipt.used, receipt.answer) == (False, DRAFT)
        assert '("Anna") approved this on' in receipt.message
        audit = (await queries.history(scene.world, 1, task))["audit"]
        assert [entry["event"] for entry in audit] == ["approved", "answer not used"]
        assert "it is wrong" in str(audit[1]["detail"])

    async def test_an_approval_of_a_draft_that_another_reviewer_edited_is_not_used(
        self, scene: Scene
    ) -> None:
        _, token = await self.drafted(scene)
        await people.review(scene.world, token, "edit", {"answer": "better"})

        assert not (await people.review(scene.world, token, "approve", None)).used

    async def test_the_note_of_an_approval_is_recorded(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        await people.review(scene.world, token, "approve", None, "just in time")

        (entry,) = (await queries.history(scene.world, 1, task))["audit"]
        assert (entry["event"], str(entry["detail"]).endswith(": just in time")) == ("approved", True)

    async def test_a_rejection_while_the_task_is_cancelled_is_kept_and_not_used(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)

        async def cancel() -> None:
            await commands.cancel(scene.world, 1, task, "the boss")

        scene.database.between(1, cancel)

        receipt = await people.review(scene.world, token, "reject", None, "no good")

        assert (receipt.used, receipt.message) == (False, receipts.KEPT)
        assert '"no good"' in str((await scene.executions(task))[1]["result"])
        again = await people.review(scene.world, token, "reject", None, "no good")
        assert (again.used, again.message) == (False, receipts.KEPT)

    async def test_a_rejection_at_the_deadline_is_kept_or_used(self, scene: Scene) -> None:
        """The receipt says `kept` only when the words are stored."""
        task, token = await self.drafted(scene, person_s=86_400)
        scene.database.between(1, lambda: scene.later(DAY))

        with pytest.raises(Conflict, match="It was kept with the task"):
            await people.review(scene.world, token, "reject", None, "no good")

        audit = (await queries.history(scene.world, 1, task))["audit"]
        assert "no good" in str(audit[-1]["detail"])

    async def test_the_review_after_a_redo_shows_the_rounds_before(self, scene: Scene) -> None:
        task, token = await self.drafted(scene)
        await people.review(scene.world, token, "reject", None, "shorter", redo=True, by="Anna")
        await scene.drain()
        second = await link(scene, task, 4)
        shown = await people.assignment(scene.world, second)
        assert [(one.note, one.by) for one in shown.rounds] == [
            ("shorter", 'a person with the link ("Anna")')
        ]
        await people.review(scene.world, second, "reject", None, "kinder", redo=True)
        await scene.drain()

        shown = await people.assignment(scene.world, await link(scene, task, 6))

        assert [one.note for one in shown.rounds] == ["shorter", "kinder"]
