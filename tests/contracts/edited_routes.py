"""Templates that change while their tasks are on their way.  Fixtures: `database`, `kv`, `blobs`.

Two rules hold for every change: the last answer given is never thrown away, and no task ends because of an edit while
an answer is there that can be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.core.outcome import Accepted, Retry, Succeeded
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.service import admin, people
from tests.support.assignments import link
from tests.support.fakes import ANSWER
from tests.support.scene import Scene, Suite, ai, person

if TYPE_CHECKING:
    from collections.abc import Mapping

DRAFT: Final = {"answer": "draft"}
TWO_STAGES: Final = (ai("blind"), person(kind="review"))


class EditedRouteContract(Suite):
    async def edit(self, scene: Scene, *stages: Mapping[str, Any]) -> None:
        await scene.sql("UPDATE task_templates SET route = ?1", json.dumps({"stages": stages}))

    async def result(self, scene: Scene, task: int) -> Any:
        row = await scene.task(task)
        (last,) = await scene.sql("SELECT result FROM task_executions WHERE id = ?1", row["last_execution"])
        return json.loads(str(last["result"]))

    async def at_review(self, scene: Scene) -> tuple[int, str]:
        """A task whose draft waits for a review, and the token of its link."""
        task = await scene.given(*TWO_STAGES)
        scene.network.script("blind", Succeeded(DRAFT))
        await scene.drain()
        return task, await link(scene, task, 2)

    async def answer(self, scene: Scene, token: str) -> None:
        """Answer an assignment, whatever kind it is by now."""
        if (await people.assignment(scene.world, token)).kind == "review":
            await people.review(scene.world, token, "edit", ANSWER)
        else:
            await people.submit(scene.world, token, ANSWER)

    # --- the route is shortened -------------------------------------------------------------------------------------

    async def test_a_pending_task_whose_stage_is_removed_completes_with_the_answer_before(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"), ai("other"))
        scene.network.script("blind", Succeeded(DRAFT))
        scene.network.script("other", Retry("busy", MINUTE))
        await scene.drain()
        await self.edit(scene, ai("blind"))

        await scene.later(HOUR)

        row = await scene.task(task)
        assert (row["status"], str(row["reason"]).partition(":")[0]) == ("completed", "route_shortened")
        assert await self.result(scene, task) == DRAFT
        assert (await scene.live(task))["status"] == "completed"

    async def test_a_draft_that_no_longer_fits_is_no_result(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("other"))
        scene.network.script("other", Retry("busy", MINUTE))
        await scene.drain()
        await self.edit(scene, ai("blind"))
        await scene.sql("UPDATE task_templates SET output_schema = ?1", '{"required": ["more"]}')

        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "failed"

    async def test_an_answer_of_a_stage_beyond_the_route_completes_the_task(self, scene: Scene) -> None:
        task, token = await self.at_review(scene)
        await self.edit(scene, ai("blind"))

        await people.submit(scene.world, token, ANSWER)

        assert (await scene.task(task))["status"] == "completed"
        assert await self.result(scene, task) == ANSWER

    async def test_a_removed_review_that_brings_no_answer_leaves_the_draft_as_the_result(
        self, scene: Scene
    ) -> None:
        task, token = await self.at_review(scene)
        await self.edit(scene, ai("blind"))

        await people.decline(scene.world, token, "")
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
        assert await self.result(scene, task) == DRAFT

    async def test_a_job_of_a_removed_stage_still_counts(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("job"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()
        await self.edit(scene, ai("blind"))

        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert await self.result(scene, task) == ANSWER

    # --- the route is replaced, reordered or cannot be read ----------------------------------------------------------

    @pytest.mark.parametrize(
        "stages", [(ai("other"), person(kind="review")), (person(), ai("blind")), (person(), person())]
    )
    async def test_an_answer_counts_for_its_stage_whatever_the_route_has_become(
        self, scene: Scene, stages: tuple[dict[str, Any], ...]
    ) -> None:
        task, token = await self.at_review(scene)
        await self.edit(scene, *stages)

        await self.answer(scene, token)

        assert (await scene.task(task))["status"] == "completed"
        assert await self.result(scene, task) == ANSWER

    async def test_a_longer_route_continues_with_the_answer(self, scene: Scene) -> None:
        task, token = await self.at_review(scene)
        await self.edit(scene, *TWO_STAGES, ai("other"))

        await self.answer(scene, token)
        await scene.drain()

        assert [call.value for call in scene.network.calls("other")] == [ANSWER]
        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize("broken", ["NULL", "'{'", "X'00'", "'{}'"])
    async def test_no_review_is_skipped_because_the_route_cannot_be_read(
        self, scene: Scene, broken: str
    ) -> None:
        task = await scene.given(ai("job"), person(kind="review"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()
        await scene.sql(f"UPDATE task_templates SET route = {broken}")
        await scene.webhook(task, "event-1", {"output": DRAFT})
        await scene.later(DAY)
        assert (await scene.task(task))["status"] != "completed"

        await self.edit(scene, ai("job"), person(kind="review"))
        await scene.sql("UPDATE tasks SET template_id = template_id")
        await scene.later(DAY)
        await scene.drain()

        assert (await scene.task(task))["status"] == "waiting"
        assert await scene.states(task) == ["succeeded", "waiting"]

    async def test_a_route_that_is_corrected_while_a_worker_holds_the_task_is_followed(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"))
        (row,) = await scene.sql("SELECT id, name FROM task_templates")
        await scene.sql("UPDATE task_templates SET route = '{'")

        async def correct() -> None:
            value = {"id": row["id"], "name": row["name"], "output_schema": {"type": "object"}}
            await admin.put_template(scene.world, 1, {**value, "route": {"stages": [ai("blind")]}})

        scene.database.between(1, correct)
        await scene.drain()
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"

    # --- limits and schema -------------------------------------------------------------------------------------------

    async def test_an_answer_in_flight_is_checked_against_the_schema_it_was_asked_for(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"))

        async def edit() -> None:
            await scene.sql("UPDATE task_templates SET output_schema = ?1", '{"required": ["more"]}')

        scene.database.between(2, edit)
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"

    async def test_lower_limits_end_no_task_that_has_another_candidate(self, scene: Scene) -> None:
        task = await scene.given(ai("blind", "other"), attempts=4)
        scene.network.script("blind", *[Retry("busy", MINUTE)] * 9)
        await scene.drain()
        await scene.sql("""UPDATE task_templates SET limits = '{"attempts": 1}'""")

        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("blind") == 2
