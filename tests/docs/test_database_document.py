"""The statements and the rules of docs/database.md hold."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from consumer.core.outcome import Accepted, Failed
from consumer.core.policy import HOUR, MINUTE, SECOND
from consumer.core.times import parse_time
from consumer.ports import Refused
from consumer.service import admin
from tests.local import host
from tests.support.documents import DATABASE, blocks
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import Scene, Suite, ai, person, route

if TYPE_CHECKING:
    from consumer.ports import Value

migrated, database = host.migrated, host.database
kv, blobs = host.kv, host.blobs

SQL = "sql offline"
EXECUTIONS = "SELECT * FROM task_executions ORDER BY id"


PAST, FUTURE = "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"
"""Long before and long after the time that a database knows."""


class TestTheDocument(Suite):
    async def test_what_the_document_hands_in_is_done_and_can_be_read(self, scene: Scene) -> None:
        await scene.organization(1)
        assert await scene.template(route(ai("blind"))) == 1
        (insert, _), (outcome, bill) = blocks(DATABASE, "Insert tasks", SQL), blocks(DATABASE, "Read", SQL)

        (made,) = await scene.sql(insert)
        await scene.drain()

        (read,) = await scene.sql(outcome, made["id"])
        assert (read["status"], json.loads(str(read["result"])), read["cost"]) == ("completed", ANSWER, 0.01)
        assert await scene.sql(bill, made["id"]) == [{"dollars": 0.01, "not_known_yet": 0}]

    async def test_what_the_document_cancels_is_not_begun(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        (cancel,) = blocks(DATABASE, "Change", SQL)

        await scene.sql(cancel, task)
        await scene.drain()

        assert ((await scene.task(task))["status"], scene.network.count()) == ("cancelled", 0)

    async def test_what_the_document_says_is_refused_is(self, scene: Scene) -> None:
        done, job = await scene.given(ai("blind")), await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()
        assert await scene.statuses() == {"completed": 1, "waiting": 1}
        before = [await scene.task(task) for task in (done, job)], await scene.sql(EXECUTIONS)

        refused = blocks(DATABASE, "Refused changes", "sql refused")
        assert len(refused) == 5
        for statement in refused:
            with pytest.raises(Refused):
                await scene.sql(statement)

        assert ([await scene.task(task) for task in (done, job)], await scene.sql(EXECUTIONS)) == before

    # --- the columns of an insert -------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("priority", "rank"),
        [("urgent", 0), ("high", 1), ("medium", 2), ("low", 3), ("soon", 2), (None, 2)],
    )
    async def test_any_other_priority_counts_as_medium(
        self, scene: Scene, priority: str | None, rank: int
    ) -> None:
        task = await self.insert(scene, priority=priority)

        assert (await scene.task(task))["rank"] == rank

    async def test_a_due_date_raises_the_rank_and_ends_nothing(self, scene: Scene) -> None:
        late, later, none = [
            await self.insert(scene, due_date=date) for date in (PAST, FUTURE, "next Tuesday")
        ]
        scene.clock.ms = int(time.time() * 1000) + SECOND  # triggers read the database's own clock

        await scene.tick()
        assert [(await scene.task(task))["rank"] for task in (late, later, none)] == [1, 2, 2]
        await scene.drain()

        assert await scene.statuses() == {"completed": 3}

    async def test_the_last_quarter_before_the_due_date_raises_the_rank(self, scene: Scene) -> None:
        task = await self.insert(scene, due_date=FUTURE)
        now, due = int(time.time() * 1000), parse_time(FUTURE, "due_date")

        assert (await scene.task(task))["raise_at_ms"] == pytest.approx(due - (due - now) / 4, abs=MINUTE)

    async def test_a_task_inserted_by_sql_has_no_deadline(self, scene: Scene) -> None:
        task = await self.insert(scene, task_s=1)

        assert (await scene.task(task))["deadline_ms"] is None

    async def test_a_deadline_may_be_written_by_sql(self, scene: Scene) -> None:
        task = await self.insert(scene)
        await scene.sql("UPDATE tasks SET deadline_ms = ?1 WHERE id = ?2", scene.clock.ms - 1, task)

        await scene.tick()

        assert ((await scene.task(task))["status"], scene.network.count()) == ("failed", 0)

    async def test_a_task_without_a_route_runs_when_its_template_is_written(self, scene: Scene) -> None:
        task = await self.insert(scene)
        await scene.sql("UPDATE task_templates SET route = NULL")
        blocked = await self.insert(scene, template=1)
        assert (await scene.task(blocked))["blocked_by"] == "no_route:1"

        value = {"id": 1, "name": "t", "output_schema": {"type": "object"}, "route": route(ai("blind"))}
        await admin.put_template(scene.world, 1, value)
        await scene.drain()

        assert [(await scene.task(number))["status"] for number in (task, blocked)] == ["completed"] * 2

    async def test_a_task_without_an_organization_runs_after_the_update_of_the_page(
        self, scene: Scene
    ) -> None:
        task = await self.insert(scene, organization=None)
        assert (await scene.task(task))["blocked_by"] == "no_organization"

        await scene.sql("UPDATE task_templates SET organization_id = 1")
        assert (await scene.task(task))["blocked_by"] == "no_organization"
        await scene.sql(blocks(DATABASE, "Insert tasks", SQL)[1])
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_task_is_found_without_a_doorbell(self, scene: Scene) -> None:
        await self.insert(scene)

        swept = await scene.tick()

        assert (swept.due, len(scene.queue.sent)) == (1, 1)

    # --- changes ------------------------------------------------------------------------------------

    async def test_new_words_are_read_at_the_next_claim(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind", "other")), Hold(Failed("no"))
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.sql("UPDATE tasks SET title = 'New' WHERE id = ?1", task)
            hold.release()

        assert [call.title for call in scene.network.calls("other")] == ["A task"]

    async def test_the_result_of_a_task_that_is_not_completed_is_not_shown(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), person(kind="review"))
        await scene.drain()

        (read,) = await scene.sql(blocks(DATABASE, "Read", SQL)[0], task)

        assert (read["status"], read["result"], read["cost"]) == ("waiting", None, None)

    @pytest.mark.parametrize("status", ["running", "waiting"])
    async def test_the_answer_of_an_open_call_still_counts(self, scene: Scene, status: str) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()

        await scene.sql("UPDATE tasks SET status = 'pending' WHERE id = ?1", task)
        await scene.sql("UPDATE tasks SET status = ?1 WHERE id = ?2", status, task)
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_change_of_status_is_in_the_audit_log(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))

        await scene.sql(blocks(DATABASE, "Change", SQL)[0], task)

        (entry,) = await scene.sql("SELECT actor, detail FROM audit_log WHERE task_id = ?1", task)
        assert entry == {"actor": "another application", "detail": "pending -> cancelled"}

    async def test_a_row_of_their_own_is_kept_as_it_is(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        insert = (
            "INSERT INTO task_executions (task_id, execution_type, status) VALUES (?1, 'human', 'failed')"
        )
        await scene.sql(insert, task)
        before = await scene.sql(EXECUTIONS)

        await scene.later(HOUR)

        assert (await scene.sql(EXECUTIONS))[: len(before)] == before
        assert await scene.states(task) == ["failed", "succeeded"]

    async def insert(
        self,
        scene: Scene,
        *,
        organization: int | None = 1,
        template: int | None = None,
        task_s: int | None = None,
        **columns: Value,
    ) -> int:
        """A task that knows only the public columns, and where needed its organization and its template."""
        if not await scene.count("organizations"):
            await scene.organization(1)
        limits: dict[str, Any] = {} if task_s is None else {"task_s": task_s}
        number = template or await scene.template(route(ai("blind")), organization=organization, **limits)
        names = ["template_id", "title", *columns]
        slots = ", ".join(f"?{place}" for place in range(1, len(names) + 1))
        (made,) = await scene.sql(
            f"INSERT INTO tasks ({', '.join(names)}) VALUES ({slots}) RETURNING id",
            *(number, "Theirs", *columns.values()),
        )
        return int(str(made["id"]))
