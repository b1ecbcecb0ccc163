"""Ids that come back: nothing that carries an id belongs to a later task.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.core.errors import NotFound
from consumer.core.outcome import Accepted, Succeeded
from consumer.core.policy import HOUR, MINUTE
from consumer.execution import webhooks
from consumer.execution.webhooks import Named
from consumer.ports import Refused
from consumer.service import commands, people, queries, retries
from consumer.store.sql import execution_id
from tests.support.assignments import link
from tests.support.fakes import ANSWER, Hold
from tests.support.restores import copied, restored
from tests.support.scene import Scene, Suite, ai, person, route


async def by_restore(scene: Scene, make: Any) -> int:
    """Make a task, and take the database back to the time before it."""
    before = await copied(scene.database.inner)
    task: int = await make()
    await restored(scene.database.inner, before)
    return task


async def by_deletion(scene: Scene, make: Any) -> int:
    """Make a task, and delete it from a table that gives ids again."""
    (known,) = await scene.sql("SELECT COALESCE(max(id), 0) AS id FROM tasks")
    task: int = await make()
    await scene.sql("DELETE FROM task_executions WHERE task_id = ?1", task)
    await scene.sql("DELETE FROM tasks WHERE id = ?1", task)
    await scene.sql("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'tasks'", known["id"])
    return task


REUSES = pytest.mark.parametrize("reuse", [by_restore, by_deletion])


class ReusedIdContract(Suite):
    """An id comes back, and no operator has done anything about it."""

    @pytest.fixture(autouse=True)
    async def two_organizations(self, scene: Scene) -> None:
        await scene.organization(1, 2)

    async def task(self, scene: Scene, stage: dict[str, Any], organization: int) -> int:
        template = await scene.template(route(stage), organization=organization)
        (task,) = await scene.tasks(1, template, organization)
        await scene.drain()
        return task

    @REUSES
    async def test_a_link_opens_no_later_task(self, scene: Scene, reuse: Any) -> None:
        links: list[str] = []

        async def make() -> int:
            task = await self.task(scene, person(), 1)
            links.append(await link(scene, task))
            return task

        old = await reuse(scene, make)
        new = await self.task(scene, person(), 2)
        assert new == old

        with pytest.raises(NotFound):
            await people.submit(scene.world, links[0], ANSWER)
        assert (await people.submit(scene.world, await link(scene, new), ANSWER)).used

    @REUSES
    async def test_a_provider_gets_another_key_and_another_address(self, scene: Scene, reuse: Any) -> None:
        scene.network.script("job", *[Accepted("job-1", HOUR), Accepted("job-2", HOUR)])

        old = await reuse(scene, lambda: self.task(scene, ai("job"), 1))
        new = await self.task(scene, ai("job"), 2)
        assert new == old

        first, second = scene.network.calls("job")
        assert (first.execution_id, first.key != second.key) == (second.execution_id, True)
        assert first.callback_url != second.callback_url

    @REUSES
    async def test_a_callback_for_an_earlier_call_is_kept_and_ends_no_later_one(
        self, scene: Scene, reuse: Any
    ) -> None:
        scene.network.script("job", *[Accepted("job-1", HOUR), Accepted("job-2", HOUR)])
        marks: list[str] = []

        async def make() -> int:
            task = await self.task(scene, ai("job"), 1)
            marks.append(await scene.mark(task))
            return task

        await reuse(scene, make)
        new = await self.task(scene, ai("job"), 2)

        body = json.dumps({"answer": "of another"})
        for external in (None, "job-1"):
            found = await webhooks.present(scene.world, Named(execution_id(new, 1), marks[0]), external)
            await webhooks.receive(scene.world, "job", *(found[0], f"event-{external}", found[1], body))
        await scene.later(MINUTE)

        assert await scene.states(new) == ["waiting"]
        rows = await scene.sql("SELECT handled_ms FROM webhooks")
        assert [row["handled_ms"] for row in rows] == [None, None]

    @REUSES
    async def test_a_webhook_that_was_not_handled_yet_ends_no_later_execution(
        self, scene: Scene, reuse: Any
    ) -> None:
        scene.network.script("job", *[Accepted("job-1", HOUR), Accepted("job-2", HOUR)])

        async def make() -> int:
            task = await self.task(scene, ai("job"), 1)
            await scene.webhook(task, "event-1", {"answer": "of another"})
            return task

        await reuse(scene, make)
        new = await self.task(scene, ai("job"), 2)
        await scene.later(MINUTE)

        assert await scene.states(new) == ["waiting"]

    @REUSES
    async def test_the_live_status_is_not_that_of_an_earlier_task(self, scene: Scene, reuse: Any) -> None:
        stored: list[str] = []

        async def make() -> int:
            task = await self.task(scene, ai("blind"), 1)
            stored.append(await scene.status_key(task))
            return task

        await reuse(scene, make)
        (new,) = await scene.tasks(1, await scene.template(route(ai("blind")), organization=2), 2)

        assert json.loads(await scene.kv.get(stored[0]) or "")["status"] == "completed"
        assert await scene.kv.get(await scene.status_key(new)) is None
        assert (await queries.status(scene.world, 2, new))["status"] == "pending"

    @REUSES
    async def test_an_answer_in_flight_settles_no_later_task(self, scene: Scene, reuse: Any) -> None:
        hold = Hold(Succeeded({"answer": "of another"}))
        scene.network.script("blind", hold)
        template = await scene.template(route(ai("blind")))
        second = await scene.template(route(person()), organization=2)

        async with scene.draining():

            async def make() -> int:
                (task,) = await scene.tasks(1, template)
                await hold.begun.wait()
                return task

            old = await reuse(scene, make)
            (new,) = await scene.tasks(1, second, 2)
            assert new == old
            await scene.drain()
            hold.release()

        assert (await scene.task(new))["status"] == "waiting"
        (execution,) = await scene.executions(new)
        assert (execution["status"], execution["cost_micro"]) == ("waiting", None)

    async def test_a_later_task_has_no_history_of_an_earlier_one(self, scene: Scene) -> None:
        async def make() -> int:
            task = await self.task(scene, person(), 1)
            await commands.cancel(scene.world, 1, task, "the boss of organization 1")
            await scene.drain()
            return task

        await by_deletion(scene, make)
        new = await self.task(scene, person(), 2)

        history = await queries.history(scene.world, 2, new)
        assert "organization 1" not in json.dumps(history)
        await commands.cancel(scene.world, 2, new, "the boss")
        assert "the boss" in json.dumps(await queries.history(scene.world, 2, new))

    async def test_a_retry_of_a_later_task_is_not_the_retry_of_an_earlier_one(self, scene: Scene) -> None:
        made: list[int] = []

        async def make() -> int:
            task = await self.task(scene, person(), 1)
            await commands.cancel(scene.world, 1, task, "tester")
            return task

        async def retry() -> int:
            task = await make()
            made.append((await retries.retry(scene.world, 1, task)).id)
            return task

        first = await scene.tasks(1, None)
        old = await retry()
        await scene.sql("DELETE FROM task_executions WHERE task_id = ?1", old)
        await scene.sql("DELETE FROM tasks WHERE id = ?1", old)
        await scene.sql("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'tasks'", first[0])
        await scene.sql(
            "INSERT INTO tasks (id, template_id, organization_id, title) VALUES (?1, 1, 1, 'x')", old
        )
        await commands.cancel(scene.world, 1, old, "tester")

        again = await retries.retry(scene.world, 1, old)

        assert again.created
        assert again.id not in made

    async def test_a_task_is_not_deleted_before_its_executions(self, scene: Scene) -> None:
        task = await self.task(scene, ai("blind"), 1)
        with pytest.raises(Refused):
            await scene.sql("DELETE FROM tasks WHERE id = ?1", task)
        assert await scene.states(task) == ["succeeded"]
