"""One action on all tasks that fit a filter.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from consumer.core.outcome import Accepted, Failed
from consumer.provider import Verb
from consumer.service import bulk, queries, retries
from consumer.service.bulk import BulkAction, act
from consumer.service.task_filter import SomeTasks
from tests.support.fakes import LOST
from tests.support.jobs import SILENT
from tests.support.scene import PRICE, Scene, Suite, ai, person

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Statement
    from consumer.service.bulk import BulkResult


async def ask(
    scene: Scene, verb: Any, *, act_now: bool = False, cursor: int | None = None, **fields: Any
) -> BulkResult:
    """An action of organization 1: a dry run, unless `act_now`."""
    questions = fields.pop("questions", False)
    action = BulkAction(
        verb=verb, filter=SomeTasks(**fields), dry_run=not act_now, questions=questions, cursor=cursor
    )
    return await act(scene.world, 1, action, "tester")


async def rows_of(scene: Scene) -> list[Any]:
    tables = ("tasks", "task_executions", "audit_log", "outbox", "budget_periods")
    return [await scene.sql(f"SELECT * FROM {table}") for table in tables]


class BulkContract(Suite):
    @pytest.mark.parametrize("verb", ["retry", "cancel", "release"])
    async def test_a_dry_run_changes_nothing(self, scene: Scene, verb: str) -> None:
        await self.with_every_state(scene)
        before = await rows_of(scene)

        dry = await ask(scene, verb, submitted_after="2000-01-01")

        assert (dry["tasks"] > 0, dry["changed"], dry["skipped"]) == (True, 0, [])
        assert (dry["left"], dry["cursor"]) == (dry["tasks"], None)
        assert await rows_of(scene) == before

    async def with_every_state(self, scene: Scene) -> None:
        """Tasks that are completed, failed, pending, and waiting for a person or for evidence."""
        await scene.given(ai("blind"))
        scene.network.script("other", Failed("http_400: no"))
        await scene.given(ai("other"))
        await scene.given(person())
        scene.network.script("evident", LOST)
        scene.network.script("evident", *[SILENT] * 1_000, verb=Verb.LOOKUP)
        await scene.given(ai("evident"))
        await scene.drain()
        await scene.given(ai("blind"))

    async def test_a_cancel_ends_the_tasks_that_fit_and_no_others(self, scene: Scene) -> None:
        first, other = await scene.given(ai("blind"), count=3), await scene.given(ai("blind"))
        template = (await scene.task(first))["template_id"]

        done = await ask(scene, "cancel", act_now=True, template=template)

        assert (done["tasks"], done["changed"], done["left"], done["cursor"]) == (3, 3, 0, None)
        assert await scene.statuses() == {"cancelled": 3, "pending": 1}
        assert (await scene.task(other))["status"] == "pending"

    async def test_a_cancel_shows_the_money_that_open_calls_hold(self, scene: Scene) -> None:
        budget = await scene.budget(1_000_000)
        await scene.given(ai("job"), count=3)
        scene.network.script("job", *[Accepted("a job")] * 3)
        await scene.drain()

        dry = await ask(scene, "cancel", profile="job")
        await ask(scene, "cancel", act_now=True, profile="job")
        await scene.drain()

        assert (dry["tasks"], dry["executions"], dry["money_micro"]) == (3, 3, 3 * PRICE)
        assert await scene.books(budget) == (0, 0)

    async def test_a_retry_covers_failed_tasks_unless_the_filter_names_another_state(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("other", *[Failed("http_400: no")] * 2)
        await scene.given(ai("other"), count=2)
        await scene.drain()

        dry = await ask(scene, "retry", submitted_after="2000-01-01")
        done = await ask(scene, "retry", act_now=True, submitted_after="2000-01-01")

        assert (dry["tasks"], dry["money_micro"], dry["unpriced"]) == (2, 2 * PRICE, 0)
        assert done["changed"] == 2
        assert [(await scene.task(n))["retry_of"] for n in (task + 3, task + 4)] == [task + 2, task + 1]
        assert (await ask(scene, "retry", status="completed"))["tasks"] == 1

    async def test_a_retried_task_is_not_covered_again_but_its_failed_retry_is(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", *[Failed("http_400: no")] * 2)
        await scene.drain()
        retried = await retries.retry(scene.world, 1, task)
        assert (await ask(scene, "retry", reason="http_400"))["tasks"] == 0
        await scene.drain()

        done = await ask(scene, "retry", act_now=True, reason="http_400")

        assert done["changed"] == 1
        (made,) = await scene.sql("SELECT retry_of FROM tasks WHERE id > ?1", retried.id)
        assert made["retry_of"] == retried.id

    async def test_a_task_that_cannot_be_retried_is_named_with_the_reason(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Failed("http_400: no"))
        await scene.drain()
        await scene.sql("UPDATE task_templates SET route = NULL")

        done = await ask(scene, "retry", act_now=True, status="failed")

        (skipped,) = done["skipped"]
        assert (done["changed"], skipped["task"]) == (0, task)
        assert "its template has no route" in skipped["why"]

    async def test_an_action_goes_on_with_its_cursor_until_none_is_left(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=120)
        dry = await ask(scene, "cancel", status="pending")
        await scene.given(ai("blind"))  # after the count: it stays as it is
        cursor, seen = dry["start"], []

        while cursor is not None:
            done = await ask(scene, "cancel", act_now=True, status="pending", cursor=cursor)
            seen.append((done["tasks"], done["changed"], done["left"]))
            cursor = done["cursor"]

        assert seen == [(50, 50, 70), (50, 50, 20), (20, 20, 0)]
        assert await scene.statuses() == {"cancelled": 120, "pending": 1}

    async def test_one_request_reads_a_limited_number_of_tasks(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "MAX_READ", 30)
        await scene.given(ai("blind"), count=20)
        await scene.given(person(), count=50)
        template = (await scene.task(1))["template_id"]
        cursor, counted = None, []

        while True:
            dry = await ask(scene, "cancel", template=template, cursor=cursor)
            counted.append(dry["tasks"])
            cursor = dry["cursor"]
            if cursor is None:
                break

        assert counted == [0, 10, 10]

    @pytest.mark.parametrize("verb", ["retry", "cancel", "release"])
    async def test_a_full_page_stays_below_the_limits_of_the_database(self, scene: Scene, verb: str) -> None:
        """D1 takes 1,000 statements in an invocation, and 100 parameters in each."""
        sent: list[Statement] = []

        def watch(statements: Sequence[Statement]) -> None:
            sent.extend(statements)

        scene.network.script("evident", *[LOST] * 60)
        scene.network.script("evident", *[SILENT] * 1_000, verb=Verb.LOOKUP)
        await scene.given(ai("evident"), count=60)
        while await scene.sql("SELECT id FROM tasks WHERE status = 'pending'"):
            await scene.drain()
            await scene.sql("DELETE FROM rests")  # the profile rests after three calls without a reply
            await scene.sql(
                "UPDATE tasks SET blocked_by = NULL, run_at_ms = 0 WHERE blocked_by = 'rest:evident'"
            )
        if verb == "retry":
            await scene.sql("UPDATE tasks SET status = 'failed', version = version + 1")
        scene.database.watch = watch

        done = await ask(scene, verb, act_now=True, submitted_after="2000-01-01")

        assert (done["changed"], done["left"]) == (50, 10)
        assert len(sent) < 500
        assert max(len(one.parameters) for one in sent) <= 30

    async def test_an_action_is_recorded_without_payloads(self, scene: Scene) -> None:
        budget = await scene.given(ai("blind"), count=2)
        assert budget

        await ask(scene, "cancel", act_now=True, status="pending")
        await ask(scene, "cancel", act_now=True, status="pending")  # covers no task: no record

        (row,) = await scene.sql("SELECT * FROM audit_log WHERE event = 'bulk cancel'")
        assert (row["actor"], row["organization_id"], row["task_id"]) == ("tester", 1, None)
        assert json.loads(str(row["detail"])) == {
            "filter": {"status": "pending"}, "tasks": 2, "executions": 0, "money_micro": 0,
        }  # fmt: skip

    async def test_a_task_that_ends_in_between_is_skipped(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=2)

        async def complete() -> None:
            await scene.sql("UPDATE tasks SET status = 'completed' WHERE id = ?1", task)

        scene.database.between(1, complete)
        done = await ask(scene, "cancel", act_now=True, status="pending")

        assert (done["changed"], done["skipped"]) == (
            1,
            [{"task": task, "why": f"task {task} has already ended: it is completed"}],
        )


class FilterContract(Suite):
    @pytest.mark.parametrize(
        ("fields", "fits"),
        [
            ({}, "abcd"),
            ({"status": "failed"}, "a"),
            ({"reason": "http_401"}, "a"),
            ({"reason": "http_40"}, ""),
            ({"reason": "no_route"}, "d"),
            ({"profile": "other"}, "a"),
            ({"profile": "job"}, "c"),
            ({"submitted_after": "2030-01-02"}, "bcd"),
            ({"submitted_before": "2030-01-02T00:00:00.001+00:00"}, "ab"),
            ({"submitted_before": "2030-01-02"}, "a"),
            ({"key_prefix": "day-1-"}, "ab"),
            ({"key_prefix": "day-1-", "status": "pending"}, "b"),
            ({"template": 1}, "a"),
            ({"template": "2"}, "bcd"),
            ({"template": "template"}, "abcd"),
            ({"template": "another"}, ""),
        ],
    )
    async def test_a_list_and_an_action_cover_the_same_tasks(
        self, scene: Scene, fields: dict[str, Any], fits: str
    ) -> None:
        scene.network.script("other", Failed("http_401 invalid_api_key: no"))
        a = await scene.given(ai("other"))
        await scene.drain()
        b = await scene.given(ai("blind"), count=3)
        names = {a: "a", b: "b", b + 1: "c", b + 2: "d"}
        day = {a: "2030-01-01T10:00:00.000Z", b: "2030-01-02 00:00:00"}
        for task in names:
            await scene.sql(
                "UPDATE tasks SET created_at = ?2, idempotency_key = ?3 WHERE id = ?1",
                *(task, day.get(task, "2030-01-03T10:00:00.000Z"), f"day-{1 if task in day else 3}-{task}"),
            )
        await scene.sql("UPDATE tasks SET blocked_by = 'rest:job' WHERE id = ?1", b + 1)
        await scene.sql("UPDATE tasks SET blocked_by = 'no_route:2' WHERE id = ?1", b + 2)

        wanted = SomeTasks(**(fields or {"submitted_after": "2000-01-01"}))
        listed = await queries.task_list(scene.world, 1, wanted)

        assert "".join(sorted(names[task["id"]] for task in listed["tasks"])) == fits
        covered = await act(scene.world, 1, BulkAction(verb="cancel", filter=wanted), "tester")
        assert covered["tasks"] == len(fits.replace("a", ""))  # a has ended
        assert (await queries.task_list(scene.world, 2, wanted))["tasks"] == []
        assert (await act(scene.world, 2, BulkAction(verb="cancel", filter=wanted), "x"))["tasks"] == 0
