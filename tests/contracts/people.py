"""Assignments: reading, accepting, answering, declining, late answers.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumer.core.errors import BadInput, Conflict, NotFound
from consumer.core.policy import HOUR
from consumer.service import commands, links, people, queries, receipts
from consumer.service.links import GRACE_MS, Expired
from consumer.store.sql import execution_id
from tests.support.assignments import WEEK, link
from tests.support.fakes import ANSWER
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, LINK_SECRET, Scene, Suite, ai, person, route


class PeopleContract(Suite):
    async def asked(self, scene: Scene, *more: dict[str, Any], **limits: Any) -> tuple[int, str]:
        """A task that waits for a person, and the person's token."""
        task = await scene.given(person(), *more, **limits)
        await scene.drain()
        return task, await link(scene, task)

    async def test_a_task_for_a_person_waits_without_any_call(self, scene: Scene) -> None:
        task, _ = await self.asked(scene)

        row, (execution,) = await scene.task(task), await scene.executions(task)
        assert (row["status"], execution["status"], execution["execution_type"]) == ("waiting",) * 2 + (
            "human",
        )
        assert execution["resolve_by_ms"] == scene.clock.ms + WEEK
        assert scene.network.asked == []
        assert "It waits for a person of its organization" in await scene.why(task)
        assert await scene.count("leases") == 0

    async def test_a_hundred_people_are_asked_in_one_run(self, scene: Scene) -> None:
        await scene.given(person(), count=100)

        await scene.drain()

        assert await scene.statuses() == {"waiting": 100}
        assert len(await queries.inbox(scene.world, 1)) == 100

    async def test_the_inbox_has_pages_and_the_number_of_all(self, scene: Scene) -> None:
        await scene.given(person(), count=5)
        await scene.drain()
        await scene.sql("UPDATE tasks SET priority = 'urgent' WHERE id = 4")
        every = [entry["task_id"] for entry in await queries.inbox(scene.world, 1)]

        found: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await queries.inbox_page(scene.world, 1, None, cursor, size=2)
            assert page["total"] == 5
            assert len(page["assignments"]) <= 2
            found += [entry["task_id"] for entry in page["assignments"]]
            cursor = page["cursor"]

        assert found == every == [4, 1, 2, 3, 5]
        assert (await queries.inbox_page(scene.world, None, size=2))["total"] == 5
        with pytest.raises(BadInput, match="cursor"):
            await queries.inbox_page(scene.world, 1, None, "1")

    async def test_an_assignment_shows_the_work(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(person()), prompt="Look at {{input.what}}")
        (task,) = await scene.tasks(1, template, title="A glance", input='{"what": "this"}')
        await scene.drain()

        shown = await people.assignment(scene.world, await link(scene, task))

        assert (shown.state, shown.kind, shown.title, shown.instructions) == (
            "open", "human", "A glance", "Look at this",
        )  # fmt: skip
        assert (shown.value, shown.accepted) == ({"what": "this"}, False)
        assert shown.output_schema["required"] == ["answer"]

    async def test_looking_changes_nothing(self, scene: Scene) -> None:
        task, token = await self.asked(scene)
        before = (await scene.task(task), await scene.executions(task))

        await people.assignment(scene.world, token)
        await people.assignment(scene.world, token)

        assert (await scene.task(task), await scene.executions(task)) == before

    async def test_an_answer_completes_the_task(self, scene: Scene) -> None:
        task, token = await self.asked(scene)

        receipt = await people.submit(scene.world, token, ANSWER)

        assert (receipt.used, receipt.answer, receipt.task) == (True, ANSWER, task)
        assert (await scene.task(task))["status"] == "completed"
        assert (await scene.live(task))["status"] == "completed"
        assert (await queries.task(scene.world, 1, task))["outcome"] == ANSWER
        assert (await people.assignment(scene.world, token)).state == "answered"
        assert await queries.inbox(scene.world, 1) == []

    async def test_an_answer_feeds_the_next_stage(self, scene: Scene) -> None:
        task, token = await self.asked(scene, ai("blind"))

        await people.submit(scene.world, token, {"answer": "by hand"})

        assert (await scene.task(task))["status"] == "pending"
        assert scene.queue.delays[-1] == 0
        await scene.drain()
        assert [call.value for call in scene.network.calls("blind")] == [{"answer": "by hand"}]
        assert (await scene.task(task))["status"] == "completed"

    async def test_accepting_is_shown_and_changes_nothing_else(self, scene: Scene) -> None:
        task, token = await self.asked(scene)

        assert (await people.accept(scene.world, token)).accepted
        assert (await people.accept(scene.world, token)).accepted

        assert (await scene.task(task))["status"] == "waiting"
        assert (await people.submit(scene.world, token, ANSWER)).used

    async def test_an_answer_that_is_given_twice_gets_the_same_receipt(self, scene: Scene) -> None:
        _, token = await self.asked(scene)

        first = await people.submit(scene.world, token, ANSWER)
        second = await people.submit(scene.world, token, ANSWER)

        assert second == first

    async def test_an_answer_that_is_given_twice_at_the_same_moment_is_used_once(self, scene: Scene) -> None:
        task, token = await self.asked(scene)

        sent = await asyncio.gather(
            *(people.submit(scene.world, token, {"answer": str(number)}) for number in range(3))
        )

        assert len({str(receipt.answer) for receipt in sent}) == 1
        assert [receipt.used for receipt in sent].count(True) == 1
        assert await scene.count("audit_log") == 3
        assert (await scene.task(task))["version"] == 3

    @pytest.mark.parametrize(
        ("output", "field"),
        [
            ({"answer": 7}, "output.answer"),
            ({}, "output"),
            ([], "output"),
            (None, "output"),
            ("yes", "output"),
            ({"answer": None}, "output.answer"),
        ],
    )
    async def test_an_answer_of_the_wrong_type_is_refused_by_field_and_changes_nothing(
        self, scene: Scene, output: Any, field: str
    ) -> None:
        task, token = await self.asked(scene)

        with pytest.raises(BadInput) as raised:
            await people.submit(scene.world, token, output)

        assert [problem.field for problem in raised.value.problems] == [field]
        assert (await scene.task(task))["status"] == "waiting"

    async def test_declining_asks_the_next_candidate_or_ends_the_task(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()

        first = await link(scene, task)
        await people.decline(scene.world, first, "on holiday")
        await people.decline(scene.world, first, "still")
        await scene.drain()
        assert await scene.states(task) == ["failed", "waiting"]
        await people.decline(scene.world, await link(scene, task, 2), "")

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "declined")
        assert (await scene.executions(task))[0]["reason"] == "declined: on holiday"

    async def test_one_of_a_simultaneous_answer_and_decline_counts(self, scene: Scene) -> None:
        task, token = await self.asked(scene)

        answer, refusal = await asyncio.gather(
            people.submit(scene.world, token, ANSWER),
            people.decline(scene.world, token, "no"),
            return_exceptions=True,
        )

        assert isinstance(answer, receipts.Receipt)
        assert isinstance(refusal, receipts.Receipt)
        assert (answer.used, refusal.used) == (True, False)
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_declined_assignment_cannot_be_answered(self, scene: Scene) -> None:
        _, token = await self.asked(scene)
        await people.decline(scene.world, token, "")

        for step in (people.submit(scene.world, token, ANSWER), people.accept(scene.world, token)):
            with pytest.raises(Conflict, match="declined"):
                await step

    # --- late ---------------------------------------------------------------------------------------

    async def test_at_the_deadline_the_next_person_is_asked_or_the_task_fails(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()

        await scene.later(WEEK)
        await scene.drain()
        assert await scene.states(task) == ["failed", "waiting"]
        await scene.later(WEEK)

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "deadline")

    async def test_a_late_answer_is_used_if_the_task_still_waits_for_one(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()

        receipt = await people.submit(scene.world, late, ANSWER)
        await scene.drain()

        assert receipt.used
        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["failed", "failed", "succeeded"]
        assert (await scene.executions(task))[2][
            "note"
        ] == f"late answer of execution {execution_id(task, 1)}"
        assert (await queries.task(scene.world, 1, task))["outcome"] == ANSWER

    async def test_a_person_replaced_by_a_late_answer_gets_a_true_receipt(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()
        second = await link(scene, task, 2)
        await people.submit(scene.world, late, ANSWER)

        receipt = await people.submit(scene.world, second, {"answer": "mine"})

        assert not receipt.used
        assert (await queries.task(scene.world, 1, task))["outcome"] == ANSWER

    async def test_a_late_answer_begins_the_next_stage_while_another_person_is_asked(
        self, scene: Scene
    ) -> None:
        task = await scene.given(person("inbox", "inbox"), ai("blind"))
        await scene.drain()
        late = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()

        await people.submit(scene.world, late, ANSWER)
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_late_answer_that_is_given_twice_gets_the_same_receipt(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()

        first = await people.submit(scene.world, late, ANSWER)

        assert await people.submit(scene.world, late, ANSWER) == first
        other = await people.submit(scene.world, late, {"answer": "again"})
        assert (other.used, other.answer, other.sent) == (False, ANSWER, {"answer": "again"})

    async def test_late_answers_at_the_same_moment_are_used_once(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        await scene.later(WEEK)
        await scene.drain()

        sent = await asyncio.gather(
            *(people.submit(scene.world, late, {"answer": str(number)}) for number in range(3))
        )

        used = (await queries.task(scene.world, 1, task))["outcome"]
        assert [receipt.answer for receipt in sent] == [used] * 3
        assert [receipt.used for receipt in sent].count(True) == 1

    async def test_a_late_answer_that_is_not_needed_is_kept(self, scene: Scene) -> None:
        task, token = await self.asked(scene)
        await scene.later(WEEK)
        assert (await scene.task(task))["status"] == "failed"

        receipt = await people.submit(scene.world, token, ANSWER)

        assert not receipt.used
        (execution,) = await scene.executions(task)
        assert execution["note"] == 'late answer: {"answer":"yes"}'
        assert (execution["status"], execution["result"]) == ("failed", None)

    @pytest.mark.parametrize("first", ["answer", "deadline"])
    async def test_an_answer_at_its_deadline_is_used_or_late(self, scene: Scene, first: str) -> None:
        task, token = await self.asked(scene)
        scene.clock.advance(WEEK)
        steps = [people.submit(scene.world, token, ANSWER), scene.drain()]
        await asyncio.gather(*(steps if first == "answer" else reversed(steps)))

        assert (await scene.task(task))["status"] in ("completed", "failed")
        assert await scene.states(task) in (["succeeded"], ["failed"])

    async def test_a_cancelled_assignment_shows_why_and_cannot_be_answered(self, scene: Scene) -> None:
        task, token = await self.asked(scene)
        await commands.cancel(scene.world, 1, task, "the boss")

        shown = await people.assignment(scene.world, token)

        assert (shown.state, shown.reason) == ("ended", "the task was cancelled by the boss")
        with pytest.raises(Conflict, match="cancelled by the boss"):
            await people.submit(scene.world, token, ANSWER)
        with pytest.raises(Conflict, match="cancelled by the boss"):
            await people.decline(scene.world, token, "")
        await scene.drain()
        assert await scene.states(task) == ["cancelled"]
        assert await queries.inbox(scene.world, 1) == []

    # --- links --------------------------------------------------------------------------------------

    async def test_a_forged_link_opens_nothing(self, scene: Scene) -> None:
        task, token = await self.asked(scene)
        execution, expires, mark, signature = token.split(".")
        forged = [
            f"{int(execution) + 1}.{expires}.{mark}.{signature}",
            f"{execution}.{int(expires) + 1}.{mark}.{signature}",
            f"{execution}.{expires}.0.{signature}",
            f"{execution}.{expires}.{signature}",
            f"{execution}.{expires}.{mark}.{signature[:-1]}{'0' if signature[-1] != '0' else '1'}",
            f"{execution}.{expires}",
            links.token("another secret", int(execution), mark, WEEK),
            "",
            "x" * 5_000,
        ]
        for value in forged:
            with pytest.raises(NotFound):
                await people.submit(scene.world, value, ANSWER)

        assert (await scene.task(task))["status"] == "waiting"

    async def test_a_link_expires_thirty_days_after_its_deadline(self, scene: Scene) -> None:
        _, token = await self.asked(scene)
        scene.clock.advance(WEEK + GRACE_MS - 1)
        assert (await people.assignment(scene.world, token)).state in ("open", "ended")
        scene.clock.advance(1)

        with pytest.raises(Expired):
            await people.assignment(scene.world, token)

    async def test_a_link_to_an_execution_without_a_person_opens_nothing(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.drain()

        with pytest.raises(NotFound):
            await people.assignment(
                scene.world,
                links.token(LINK_SECRET, execution_id(task, 1), await scene.mark(task), scene.clock.ms),
            )

    # --- dying workers -------------------------------------------------------------------------------

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("batch", range(1, 5))
    async def test_an_answer_whose_server_dies_can_be_given_again(
        self, scene: Scene, batch: int, *, after: bool
    ) -> None:
        task, token = await self.asked(scene)
        scene.database.fail(batch, after=after, error=Crash())
        try:
            await people.submit(scene.world, token, ANSWER)
        except Crash:
            assert (await people.submit(scene.world, token, ANSWER)).used
        scene.database.heal()

        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["succeeded"]
        assert (await scene.live(task))["status"] == "completed"

    async def test_a_worker_that_dies_right_after_asking_loses_nothing(self, scene: Scene) -> None:
        task = await scene.given(person())
        scene.database.fail(2, after=True, error=Crash())
        with pytest.raises(Crash):
            await scene.drain()

        await scene.later(LEASE_OVER)

        assert (await scene.task(task))["status"] == "waiting"
        assert (await people.submit(scene.world, await link(scene, task), ANSWER)).used
        assert await scene.count("leases") == 0
