"""Other applications write the public columns, at any moment.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json

import pytest

from consumer.core.outcome import Accepted, Failed, Retry, Succeeded
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.ports import Refused
from consumer.service import admin, organizations, people, queries
from tests.support.assignments import link
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person, route

INSERT = (
    "INSERT INTO tasks (template_id, title, description, created_by) VALUES (?1, ?2, ?3, ?4) RETURNING id"
)


class ForeignContract(Suite):
    async def insert(self, scene: Scene, template: int | None, created_by: int | None = None) -> int:
        (row,) = await scene.sql(INSERT, template, "Theirs", "As they know it", created_by)
        return int(str(row["id"]))

    # --- inserting ----------------------------------------------------------------------------------

    async def test_a_task_with_only_the_public_columns_is_done(self, scene: Scene) -> None:
        await scene.organization(1)
        task = await self.insert(scene, await scene.template(route(ai("blind"))))

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["organization_id"], row["priority"]) == ("completed", 1, "medium")
        assert [call.value for call in scene.network.calls("blind")] == [
            {"title": "Theirs", "description": "As they know it"}
        ]

    async def test_its_result_can_be_read_from_the_public_columns(self, scene: Scene) -> None:
        await scene.organization(1)
        task = await self.insert(scene, await scene.template(route(ai("blind"))))

        await scene.drain()

        (read,) = await scene.sql(
            "SELECT tasks.status, e.status AS ended, e.result, e.cost, e.execution_type, e.provider"
            " FROM tasks JOIN task_executions e ON e.task_id = tasks.id WHERE tasks.id = ?1",
            task,
        )
        assert json.loads(str(read["result"])) == ANSWER
        assert (read["status"], read["ended"], read["cost"]) == ("completed", "succeeded", 0.01)

    async def test_its_organization_may_come_from_its_creator(self, scene: Scene) -> None:
        await scene.organization(1)
        user = await organizations.create_user(scene.world, 1, "a@example.com", "A")
        template = await scene.template(route(ai("blind")), organization=None)
        task = await self.insert(scene, template, user)

        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize("columns", ["route = NULL", "organization_id = NULL"])
    async def test_an_incomplete_task_names_what_it_lacks_and_is_not_claimed(
        self, scene: Scene, columns: str
    ) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        await scene.sql(f"UPDATE task_templates SET {columns}")
        task = await self.insert(scene, template)

        summary = await scene.drain()

        assert summary.claimed == 0
        assert ("no_route" if "route" in columns else "no_organization") in str(
            (await scene.task(task))["blocked_by"]
        )

    async def test_a_task_that_lacked_a_route_runs_when_its_template_gets_one(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        await scene.sql("UPDATE task_templates SET route = NULL")
        task = await self.insert(scene, template)
        value = {
            "id": template,
            "name": "t",
            "output_schema": {"type": "object"},
            "route": route(ai("blind")),
        }

        await admin.put_template(scene.world, 1, value)
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"

    async def test_an_unknown_status_is_refused(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))

        with pytest.raises(Refused):
            await scene.sql("UPDATE tasks SET status = 'done' WHERE id = ?1", task)
        with pytest.raises(Refused):
            await scene.sql("INSERT INTO tasks (title, status) VALUES ('x', 'done')")

    # --- editing ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
    async def test_a_pending_task_that_they_end_is_never_run(self, scene: Scene, status: str) -> None:
        task = await scene.given(ai("blind"))

        await scene.sql("UPDATE tasks SET status = ?1 WHERE id = ?2", status, task)
        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["version"]) == (status, 1)
        assert scene.network.count() == 0
        assert ((await scene.live(task))["status"], (await scene.live(task))["version"]) == (status, 1)

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
    async def test_a_running_task_that_they_end_is_not_overwritten(self, scene: Scene, status: str) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.sql("UPDATE tasks SET status = ?1 WHERE id = ?2", status, task)
            hold.release()

        row, (execution,) = await scene.task(task), await scene.executions(task)
        assert (row["status"], row["last_execution"]) == (status, None)
        assert (execution["status"], execution["cost_micro"]) == ("cancelled", PRICE)
        assert execution["result"] is not None
        await scene.drain()
        assert (await scene.live(task))["status"] == status

    async def test_a_task_set_to_pending_during_its_call_is_not_run_twice(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.sql("UPDATE tasks SET status = 'pending' WHERE id = ?1", task)
            await scene.drain()
            assert (await scene.task(task))["status"] == "waiting"
            hold.release()

        assert scene.network.count() == 1
        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["succeeded"]

    @pytest.mark.parametrize(
        "outcome", [Failed("no"), Retry("busy"), Succeeded({"answer": 7})], ids=["failed", "retry", "invalid"]
    )
    async def test_a_task_set_back_to_pending_goes_on_when_its_call_fails(
        self, scene: Scene, outcome: Failed | Retry | Succeeded
    ) -> None:
        task, hold = await scene.given(ai("blind", "other")), Hold(outcome)
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.sql("UPDATE tasks SET status = 'pending' WHERE id = ?1", task)
            await scene.drain()
            hold.release()
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["failed", "succeeded"]

    async def test_a_task_set_back_to_pending_just_before_its_answer_is_completed(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.sql("UPDATE tasks SET status = 'pending' WHERE id = ?1", task)
            hold.release()
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count() == 1

    async def test_a_task_set_back_to_pending_after_its_worker_died_is_not_run_twice(
        self, scene: Scene
    ) -> None:
        task, hold = await scene.given(ai("evident")), Hold()
        scene.network.script("evident", hold)
        await scene.die(hold)
        await scene.sql("UPDATE tasks SET status = 'pending' WHERE id = ?1", task)
        await scene.drain()
        assert (await scene.task(task))["status"] == "waiting"

        await scene.later(LEASE_OVER)
        await scene.later(10 * MINUTE)

        assert scene.network.count("evident") == 1
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_waiting_task_set_back_to_pending_goes_on_waiting_for_its_job(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()

        await scene.sql("UPDATE tasks SET status = 'pending' WHERE id = ?1", task)
        await scene.drain()
        assert (await scene.task(task))["status"] == "waiting"
        await scene.later(HOUR)

        assert scene.network.count("job") == 1
        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "running", "unknown"])
    async def test_another_application_cannot_move_an_open_execution(self, scene: Scene, status: str) -> None:
        edit = "UPDATE task_executions SET status = ?1 WHERE task_id = ?2 AND status <> ?1"
        task, hold = await scene.given(ai("job")), Hold(Accepted("job-1", HOUR))
        budget = await scene.budget(1_000_000)
        scene.network.script("job", hold)
        async with scene.draining():
            await hold.begun.wait()
            if status != "running":
                with pytest.raises(Refused, match="cancel the task instead"):
                    await scene.sql(edit, status, task)
            hold.release()
        if status != "unknown":  # the task waits now, and the unknown outcome does not change that
            with pytest.raises(Refused, match="cancel the task instead"):
                await scene.sql(edit, status, task)

        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["succeeded"]
        assert await scene.books(budget) == (PRICE, 0)

    async def test_a_task_that_they_complete_frees_its_person(self, scene: Scene) -> None:
        task = await scene.given(person())
        await scene.drain()

        await scene.sql("UPDATE tasks SET status = 'completed' WHERE id = ?1", task)
        await scene.drain()

        assert (await scene.states(task))[0] in ("failed", "cancelled")
        assert (await scene.task(task))["status"] == "completed"

    async def test_an_answer_after_another_application_completed_the_task_is_unused(
        self, scene: Scene
    ) -> None:
        task = await scene.given(person())
        await scene.drain()
        token = await link(scene, task)
        await scene.sql("UPDATE tasks SET status = 'completed' WHERE id = ?1", task)

        receipt = await people.submit(scene.world, token, ANSWER)

        assert not receipt.used
        assert (await queries.task(scene.world, 1, task))["outcome"] is None

    @pytest.mark.parametrize(("status", "hold"), [("running", DAY - MINUTE), ("waiting", 100 * DAY)])
    async def test_a_task_that_another_application_runs_is_left_to_it(
        self, scene: Scene, status: str, hold: int
    ) -> None:
        """A task may stay `waiting` for any time, and `running` for a day."""
        task = await scene.given(ai("blind"))

        await scene.sql("UPDATE tasks SET status = ?1 WHERE id = ?2", status, task)
        await scene.sql("UPDATE tasks SET run_at_ms = ?1 WHERE id = ?2", scene.clock.ms, task)
        await scene.drain()
        await scene.later(hold)

        assert (await scene.task(task))["status"] == status
        assert scene.network.count() == 0
        assert await scene.why(task)

    @pytest.mark.parametrize("batch", range(1, 5))
    async def test_a_cancel_between_any_two_batches_of_a_run_is_not_overwritten(
        self, scene: Scene, batch: int
    ) -> None:
        task = await scene.given(ai("blind"), count=3)

        async def cancel() -> None:
            await scene.sql(
                "UPDATE tasks SET status = 'cancelled' WHERE id = ?1 AND status <> 'completed'", task
            )

        scene.database.between(batch, cancel)

        await scene.drain()

        row = await scene.task(task)
        assert row["status"] == ("cancelled" if batch < 3 else "completed")
        assert (await scene.statuses())["completed"] >= 2
        assert scene.network.count() <= 3
        assert await scene.count("leases") == 0

    async def test_title_and_description_may_be_edited_until_the_call(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql("UPDATE tasks SET title = 'New', priority = 'urgent' WHERE id = ?1", task)

        await scene.drain()

        assert [call.title for call in scene.network.calls("blind")] == ["New"]
        assert (await scene.task(task))["version"] == 2

    async def test_a_cancel_during_a_status_write_is_published_at_the_next_doorbell(
        self, scene: Scene
    ) -> None:
        """The publisher of the older status leaves the edit's outbox row unchanged, so it stays due."""
        task = await scene.given(person())

        async def end_it() -> None:
            await scene.sql("UPDATE tasks SET status = 'cancelled' WHERE id = ?1", task)

        scene.kv.slow = end_it
        await scene.drain()
        await scene.drain()

        assert (await scene.live(task))["status"] == "cancelled"
