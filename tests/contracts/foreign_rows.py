"""Rows with values that no worker can read: whatever another application writes, other tasks are done.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import pytest

from consumer.core.errors import Conflict
from consumer.core.outcome import Accepted, Retry, Unknown
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.core.strictjson import dump_json
from consumer.ports import Refused
from consumer.provider import Verb
from consumer.service import commands, doctor, people, queries, retries, submissions
from consumer.store.schema.expected import COLUMNS
from tests.support.assignments import link
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import PRICE, Scene, Suite, ai, person, route

VALUES: Final = {
    "null": "NULL",
    "integer": "7",
    "negative": "-7",
    "large": "9223372036854775807",
    "real": "1.5",
    "huge": "1e300",
    "empty": "''",
    "words": "'words'",
    "number": "'12'",
    "json": """'{"a": 1}'""",
    "not json": "'{\"a\": '",
    "not an object": "'[1]'",
    "half a pair": '\'{"a": "\\ud800"}\'',
    "blob": "X'68656C6C6F'",
    "empty blob": "X''",
    "not utf-8": "CAST(X'22EDA08022' AS TEXT)",
    "nul": "'a' || char(0) || 'b'",
    "long ago": "'-4713-11-24'",
    "absurd date": "'9999-12-31T23:59:59.999Z'",
}
"""SQL for a value of every storage class, and for texts that are not what a column needs."""
BYTES_SHOWN: Final = "[104"
"""How a list of the bytes of `blob` begins.  No model, reader or log gets it."""


COLUMNS_WRITTEN: Final = [
    (table, column)
    for table in ("tasks", "task_templates", "organizations", "users")
    for column in COLUMNS[table].split()
    if (table, column)
    not in {(table, "id"), ("tasks", "rank(generated)"), ("tasks", "version"), ("tasks", "run_at_ms")}
]
"""Every column of these tables, the worker's own ones too: all but the fence, and the time from which a task is due."""


class ForeignRowContract(Suite):
    async def test_a_row_that_cannot_be_read_is_set_aside_and_runs_once_it_is_corrected(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql("UPDATE tasks SET title = X'68656C6C6F' WHERE id = ?1", task)

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["blocked_by"]) == ("pending", "bad_row:title is not text")
        assert (await queries.task(scene.world, None, task))["title"] == "X'68656C6C6F'"
        assert "title is not text" in await scene.why(task)
        found = [one for one in await doctor.examine(scene.world) if "cannot be read" in one.what]
        assert [one.level for one in found] == ["error"]
        await scene.sql("UPDATE tasks SET title = 'hello' WHERE id = ?1", task)
        await scene.later(0)
        assert (await scene.task(task))["status"] == "completed"
        assert [call.title for call in scene.network.calls("blind")] == ["hello"]

    async def test_a_row_that_is_corrected_while_a_worker_holds_it_runs(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql("UPDATE tasks SET title = X'68656C6C6F' WHERE id = ?1", task)

        async def correct() -> None:
            await scene.sql("UPDATE tasks SET title = 'hello' WHERE id = ?1", task)

        scene.database.between(1, correct)
        await scene.drain()
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert [call.title for call in scene.network.calls("blind")] == ["hello"]

    @pytest.mark.parametrize("inserted", [{}, {"input": '{"other": 1}'}, {"input": "[]"}])
    async def test_an_input_that_does_not_fit_is_never_paid_for(
        self, scene: Scene, inserted: dict[str, Any]
    ) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        needs = '{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}'
        await scene.sql("UPDATE task_templates SET input_schema = ?1", needs)
        (task,) = await scene.tasks(1, template, **inserted)
        (right,) = await scene.tasks(1, template, input='{"text": "hello"}')

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], str(row["reason"]).partition(" ")[0]) == ("failed", "bad_input:")
        assert "input" in str(row["reason"])
        assert [call.value for call in scene.network.calls("blind")] == [{"text": "hello"}]
        assert (await scene.task(right))["status"] == "completed"

    async def test_an_input_schema_that_is_changed_later_ends_no_task_that_has_an_answer(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"), person())
        await scene.drain()
        await scene.sql("UPDATE task_templates SET input_schema = ?1", '{"required": ["text"]}')
        await scene.sql("UPDATE tasks SET status = 'pending'")
        await scene.drain()

        assert (await scene.task(task))["status"] == "waiting"

    async def test_a_task_that_an_application_left_as_running_is_taken_back_after_a_day(
        self, scene: Scene
    ) -> None:
        """An ORM saves all columns of a row, among them a status that it read long ago."""
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Retry("busy", MINUTE))
        await scene.drain()
        await scene.sql("UPDATE tasks SET status = 'running' WHERE id = ?1", task)
        await scene.sql("UPDATE tasks SET run_at_ms = ?1 WHERE id = ?2", scene.clock.ms, task)

        await scene.later(DAY - MINUTE)
        assert (await scene.task(task))["status"] == "running"
        assert "Another application set it to running; a worker takes it back at" in await scene.why(task)
        found = [one for one in await doctor.examine(scene.world) if "set to running" in one.what]
        assert [one.level for one in found] == ["warning"]
        await scene.later(MINUTE)

        assert (await scene.task(task))["status"] == "completed"
        history = await queries.history(scene.world, None, task)
        assert [(entry["actor"], entry["event"]) for entry in history["audit"]] == [
            ("another application", "edited"),
            ("worker", "taken back"),
        ]

    async def test_a_task_that_an_application_left_as_running_ends_at_its_deadline(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"))
        deadline = scene.clock.ms + HOUR
        await scene.sql("UPDATE tasks SET status = 'running' WHERE id = ?1", task)
        edit = "UPDATE tasks SET run_at_ms = ?1, deadline_ms = ?2 WHERE id = ?3"
        await scene.sql(edit, scene.clock.ms, deadline, task)

        await scene.later(HOUR - MINUTE)
        assert (await scene.task(task))["status"] == "running"
        await scene.later(2 * MINUTE)

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "deadline")
        assert scene.network.count() == 0

    async def test_a_task_under_a_lease_is_never_taken_back(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.sql("UPDATE tasks SET run_at_ms = 0")
            await scene.tick()
            assert (await scene.task(task))["status"] == "running"
            hold.release()

        assert await scene.states(task) == ["succeeded"]

    async def test_a_call_is_not_repeated_with_a_title_that_cannot_be_read(self, scene: Scene) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", Unknown("lost"))
        await scene.drain()
        await scene.sql("UPDATE tasks SET title = X'68656C6C6F' WHERE id = ?1", task)

        await scene.later(MINUTE)
        await scene.later(DAY)

        assert scene.network.count() == 1

    @pytest.mark.parametrize("input_", ["'{'", "X'7B'", "CAST(X'22EDA08022' AS TEXT)"])
    async def test_a_job_is_polled_and_its_webhook_is_read_although_the_input_cannot_be_read(
        self, scene: Scene, input_: str
    ) -> None:
        by_poll = await scene.given(ai("job"), count=2)
        by_webhook = by_poll + 1
        scene.network.script("job", Accepted("job-1", HOUR), Accepted("job-2", DAY))
        await scene.drain()
        await scene.sql(f"UPDATE tasks SET input = {input_}")

        await scene.webhook(by_webhook, "event-1", {"output": ANSWER})
        await scene.later(HOUR)

        for task in (by_poll, by_webhook):
            assert (await scene.task(task))["status"] == "completed"
            assert [row["cost_micro"] for row in await scene.executions(task)] == [PRICE]

    async def test_a_job_of_a_cancelled_task_is_cancelled_although_its_input_cannot_be_read(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()
        await scene.sql("UPDATE tasks SET input = '{', status = 'cancelled'")

        await scene.later(MINUTE)

        assert scene.network.count("job", Verb.CANCEL) == 1
        assert (await scene.executions(task))[0]["status"] != "waiting"

    async def test_a_finished_task_that_cannot_be_read_is_not_retried(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.drain()
        await scene.sql("UPDATE tasks SET title = X'68656C6C6F' WHERE id = ?1", task)

        with pytest.raises(Conflict, match="title is not text"):
            await retries.retry(scene.world, None, task)

    @pytest.mark.parametrize("limits", ["'{'", "X'7B'", """'{"task_s": "soon"}'"""])
    async def test_a_template_with_limits_that_cannot_be_read_keeps_no_caller_from_submitting(
        self, scene: Scene, limits: str
    ) -> None:
        await scene.organization(1)
        good, bad = await scene.template(route(ai("blind"))), await scene.template(route(ai("blind")))
        await scene.sql(f"UPDATE task_templates SET limits = {limits} WHERE id = ?1", bad)

        tasks = [{"organization": 1, "template": number, "title": "t"} for number in (good, bad)]
        first, second = await submissions.submit(scene.world, None, tasks)
        await scene.finish()

        assert (await scene.task(first.id))["status"] == "completed"
        assert str((await scene.task(second.id))["blocked_by"]).startswith(f"no_route:{bad}:limits")

    @pytest.mark.parametrize(
        "column", ["title", "description", "input", "due_date", "assigned_to", "priority"]
    )
    async def test_a_person_answers_a_task_of_which_a_value_cannot_be_read(
        self, scene: Scene, column: str
    ) -> None:
        task = await scene.given(person())
        await scene.drain()
        token = await link(scene, task)
        for value in VALUES.values():
            with suppress(Refused):
                await scene.sql(f"UPDATE tasks SET {column} = {value} WHERE id = ?1", task)
            shown = await people.assignment(scene.world, token)
            assert BYTES_SHOWN not in f"{shown.title} {shown.description} {shown.instructions} {shown.value}"

        await people.submit(scene.world, token, ANSWER)

        assert (await scene.task(task))["status"] == "completed"

    async def rows_with(self, scene: Scene, table: str, column: str) -> list[int]:
        """A task for each value: the value is in the column of its row, its template, its organization or its user."""
        tasks = []
        await scene.sql("INSERT INTO organizations (id, name) VALUES (1, 'healthy')")
        for place, value in enumerate(VALUES.values(), 100):
            await scene.organization(place)
            (user,) = await scene.sql(
                "INSERT INTO users (organization_id, email) VALUES (?1, 'a@b.c') RETURNING id", place
            )
            template = await scene.template(route(ai("blind")), organization=place)
            (task,) = await scene.tasks(1, template, place, assigned_to=user["id"], created_by=user["id"])
            ids = {"tasks": task, "task_templates": template, "organizations": place, "users": user["id"]}
            try:
                await scene.sql(f"UPDATE {table} SET {column} = {value} WHERE id = ?1", ids[table])
            except Refused:  # the schema keeps such a value out
                continue
            tasks.append(task)
        return tasks

    async def everything_answers(self, scene: Scene, tasks: list[int]) -> None:
        """Each question about these tasks has an answer that is JSON."""
        world = scene.world
        shown: list[Any] = [
            await queries.task_list(world, None),
            await queries.inbox(world, None),
            await queries.counts(world, None),
            await queries.organizations(world, None, None),
            await queries.templates(world, None, None),
            [finding.what for finding in await doctor.examine(world)],
            *[await queries.costs(world, None, by) for by in queries.COSTS_KEYS],
        ]
        for task in tasks:
            history = await queries.history(world, None, task)
            shown += [history, await queries.status(world, None, task)]
        for row in await scene.sql("SELECT id FROM task_templates"):
            shown.append(await queries.template(world, None, int(str(row["id"]))))
        assert BYTES_SHOWN not in dump_json(shown)

    @pytest.mark.parametrize(("table", "column"), COLUMNS_WRITTEN)
    async def test_a_row_that_cannot_be_read_keeps_no_other_task_from_being_done(
        self, scene: Scene, table: str, column: str
    ) -> None:
        broken = await self.rows_with(scene, table, column)
        template = await scene.template(route(ai("blind"), person()))
        healthy = await scene.tasks(3, template)

        await scene.finish()
        await scene.tick()
        await scene.finish()

        assert [(await scene.task(task))["status"] for task in healthy] == ["waiting"] * 3
        for call in scene.network.calls("blind"):
            assert BYTES_SHOWN not in f"{call.prompt} {call.title} {call.description} {call.value}"
        await self.everything_answers(scene, broken)
        for task in [*broken, *healthy]:
            try:
                await commands.cancel(scene.world, None, task, "a test")
            except Conflict:  # it has ended
                continue
        await scene.finish()
        await self.everything_answers(scene, broken)
        left = await scene.sql(
            "SELECT id FROM tasks WHERE status NOT IN ('completed', 'failed', 'cancelled')"
        )
        assert left == []
