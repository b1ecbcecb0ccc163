"""Two things happen at the same moment: webhooks, polls, claims, settles, and answers that come late.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from consumer.core.outcome import Accepted, Failed, Unknown
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.execution import follow_up
from consumer.ports import Refused
from consumer.provider import Verb
from consumer.run.run import Run
from consumer.service import people, queries
from consumer.store import begin
from consumer.store.sql import execution_id
from tests.support.assignments import WEEK, link
from tests.support.fakes import ANSWER, Hold
from tests.support.jobs import DONE, LATER, SILENT
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person


@contextmanager
def instead(scene: Scene, batch: Any) -> Iterator[None]:
    """Send every batch of the scene through this function first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.database, "batch", batch)
        yield


class InterleavingContract(Suite):
    async def charged_as_bound(self, scene: Scene) -> int:
        """A job without any answer, whose bound is charged at the next follow-up."""
        task = await scene.given(ai("job", "other"), job_s=3_600, unknown="wait")
        scene.network.script("job", Accepted("job-1"))
        for verb in (Verb.POLL, Verb.CANCEL):
            scene.network.script("job", *[SILENT] * 1_000, verb=verb)
        await scene.drain()
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]
        scene.clock.advance(DAY)
        await scene.tick()
        return task

    async def test_a_late_answer_does_not_settle_a_call_that_has_just_begun(self, scene: Scene) -> None:
        task = await self.charged_as_bound(scene)
        await follow_up.follow_up(scene.world, execution_id(task, 1))
        assert (await scene.task(task))["status"] == "pending"
        hold, read = Hold(Accepted("other-1")), asyncio.Event()
        scene.network.script("other", hold)
        telling: list[asyncio.Task[None]] = []

        async def begun_first() -> (
            None
        ):  # the webhook's handler has read the situation, and is about to use the answer
            read.set()
            await hold.begun.wait()

        async def claimed() -> None:  # a worker has claimed the task and is about to begin it
            scene.database.between(3, begun_first)
            telling.append(
                asyncio.create_task(scene.webhook(task, "event-1", {"output": {"answer": "late"}}))
            )
            await read.wait()

        scene.database.between(1, claimed)
        async with scene.draining():
            await asyncio.wait_for(hold.begun.wait(), 5)
            await telling[0]
            second = (await scene.executions(task))[1]
            hold.release()

        assert (second["profile"], second["status"]) == ("other", "running")

    async def test_a_late_answer_is_used_although_the_fence_moved(self, scene: Scene) -> None:
        task = await self.charged_as_bound(scene)
        await follow_up.follow_up(scene.world, execution_id(task, 1))
        assert (await scene.task(task))["status"] == "pending"

        hold = Hold(Accepted("other-1"))
        scene.network.script("other", hold)

        async def claimed() -> (
            None
        ):  # a worker claims the task between the read and the use of the late answer
            working.append(asyncio.create_task(scene.drain()))
            await hold.begun.wait()

        working: list[Any] = []
        scene.database.between(3, claimed)  # RECEIVE, SITUATIONS, UNHANDLED | USE_LATE_ANSWER
        await scene.webhook(task, "event-1", {"output": {"answer": "late"}})
        hold.release()
        await working[0]
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert (await queries.task(scene.world, 1, task))["outcome"] == {"answer": "late"}

    async def test_a_receipt_is_true_although_the_fence_moved(self, scene: Scene) -> None:
        task = await scene.given(person("inbox", "inbox"))
        await scene.drain()
        late = await link(scene, task)
        scene.clock.advance(WEEK)
        await scene.tick()
        await follow_up.follow_up(scene.world, execution_id(task, 1))
        assert (await scene.task(task))["status"] == "pending"

        async def taken() -> None:  # a worker claims the task between the read and the answer
            await scene.drain()

        scene.database.between(1, taken)
        receipt = await people.submit(scene.world, late, ANSWER)

        assert receipt.used, (receipt, (await scene.task(task))["status"])

    async def test_giving_up_does_not_charge_a_job_that_failed(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "free"), job_s=3_600, unknown="wait")
        budget = await scene.budget(1_000_000)
        scene.network.script("job", Accepted("job-1"))
        scene.network.script("job", SILENT, verb=Verb.CANCEL)
        await scene.drain()
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]
        await scene.sql("UPDATE task_executions SET wake_at_ms = resolve_by_ms")
        hold = Hold(SILENT)
        scene.network.script("job", hold, verb=Verb.POLL)
        scene.clock.advance(DAY)
        async with scene.draining():  # the last poll is slow
            await hold.begun.wait()
            await scene.webhook(task, "event-1", {"error": "it broke"})
            await scene.drain()  # another worker handles the webhook
            await scene.drain()  # and the next candidate begins
            execution, _ = await scene.executions(task)
            assert (execution["status"], execution["cost_micro"], execution["cost_source"]) == (
                "failed",
                0,
                "none",
            )
            hold.release()

        execution, _ = await scene.executions(task)
        assert (execution["reason"], execution["cost_micro"], execution["cost_source"]) == (
            "it broke",
            0,
            "none",
        )
        assert await scene.books(budget) == (0, 0)

    async def test_a_person_is_asked_although_the_worker_died_before_the_settle(self, scene: Scene) -> None:
        task = await scene.given(person())
        inner = scene.database.batch

        async def batch(statements: Any) -> Any:
            begins = any("INSERT INTO task_executions" in s.sql for s in statements)
            settles = any(
                "last_execution = value" in s.sql and s.sql.startswith("UPDATE tasks") for s in statements
            )
            if begins and settles:
                raise Refused("some neighbour's row")
            if settles:
                raise Crash
            return await inner(statements)

        with instead(scene, batch), pytest.raises(Crash):
            await scene.drain()
        assert await scene.states(task) == ["running"]
        await scene.later(LEASE_OVER)
        await scene.later(HOUR)
        assert len(await queries.inbox(scene.world, 1)) == 1, await scene.states(task)

    async def test_a_moved_fence_loses_no_webhook(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", DONE)

        async def bump() -> None:
            await scene.sql("UPDATE tasks SET version = version + 1 WHERE id = ?1", task)

        inner = scene.database.batch
        moved = 0

        async def batch(statements: Any) -> Any:
            nonlocal moved
            if (
                any("INSERT INTO outbox" in one.sql and "last_execution" in one.sql for one in statements)
                and moved < 5
            ):
                moved += 1
                await bump()
            return await inner(statements)

        with instead(scene, batch):
            await scene.drain()
        await scene.later(5 * MINUTE)
        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("job", Verb.POLL) == 0

    async def test_an_answer_is_used_although_its_execution_has_just_ended(self, scene: Scene) -> None:
        """A follow-up that cancels at the deadline settles between a webhook's read and its settle."""
        task = await scene.given(ai("job", "other"), job_s=3_600)
        scene.network.script("job", Accepted("job-1"))
        hold = Hold(Failed("stopped"))
        scene.network.script("job", hold, verb=Verb.CANCEL)
        await scene.drain()
        scene.clock.advance(HOUR)
        looking = asyncio.create_task(follow_up.follow_up(scene.world, execution_id(task, 1)))
        await hold.begun.wait()
        await scene.webhook(task, "event-1", DONE)

        async def ended() -> None:
            hold.release()
            await looking

        scene.database.between(2, ended)  # reads the facts and the webhooks | settles
        await follow_up.follow_up(scene.world, execution_id(task, 1))
        await scene.finish()
        assert scene.network.count("other") == 0

    async def test_a_run_that_is_overtaken_twice_takes_no_other_task_along(self, scene: Scene) -> None:
        """The run's own answer comes after it lost its lease, when a webhook has just ended the execution."""
        task, hold, neighbour = await scene.given(ai("job", "other")), Hold(), Hold()
        innocent = await scene.given(ai("blind"))
        scene.network.script("blind", neighbour)
        scene.network.script("job", hold)
        scene.configure(lease_ms=MINUTE)
        inner, overtaken = scene.database.batch, asyncio.Event()

        async def batch(statements: Any) -> Any:
            results = await inner(statements)
            settles = any("WITH" not in s.sql and "last_execution = value" in s.sql for s in statements)
            if settles and not overtaken.is_set():
                overtaken.set()
                await scene.webhook(task, "event-1", {"error": "broken"})
                await follow_up.follow_up(scene.world, execution_id(task, 1))
            return results

        async with scene.draining():
            await hold.begun.wait()
            await neighbour.begun.wait()
            scene.clock.advance(2 * MINUTE)
            await scene.tick()
            with instead(scene, batch):
                hold.release()
                await asyncio.wait_for(overtaken.wait(), 10)
            neighbour.release()
        await scene.finish()

        assert (await scene.executions(task))[0]["reason"] == "broken"
        assert (await scene.task(innocent))["status"] == "completed"

    async def test_an_answer_during_the_cancel_at_the_deadline_is_handled_once(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600)
        scene.network.script("job", Accepted("job-1"))
        hold = Hold(Failed("stopped"))
        scene.network.script("job", hold, verb=Verb.CANCEL)
        await scene.drain()
        scene.clock.advance(HOUR)
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", {"output": ANSWER, "charged": 1})
            hold.release()
        await scene.later(HOUR)
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
        assert scene.network.count("other") == 0

    async def test_webhooks_are_handled_although_the_worker_died_after_its_settle(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        await scene.webhook(task, "event-1", DONE)
        inner = scene.database.batch

        async def batch(statements: Any) -> Any:
            if (
                any(s.sql.startswith("UPDATE webhooks SET handled_ms") for s in statements)
                and len(statements) == 1
            ):
                raise Crash
            return await inner(statements)

        with instead(scene, batch), suppress(Crash):
            await follow_up.follow_up(scene.world, execution_id(task, 1))
        await scene.later(LEASE_OVER)
        assert (await scene.task(task))["status"] == "completed"
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []

    async def test_a_follow_up_released_by_a_stopped_worker_is_not_counted(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", LATER)
        await scene.drain()
        scene.clock.advance(HOUR)
        for _ in range(4):  # claimed, and stopped before anything was started
            stop = asyncio.Event()

            async def now(stop: asyncio.Event = stop) -> None:
                stop.set()

            scene.database.between(1, now)
            await Run(scene.world, stop.is_set).drain()
            scene.clock.advance(5 * MINUTE)
        assert scene.network.count("job", Verb.POLL) == 0

        await scene.later(HOUR)
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"

    async def refused_and_late(self, scene: Scene) -> int:
        """Let a run repeat a refused begin; room appears for a moment, in which the first copy is applied late."""
        (budget,) = await scene.sql("SELECT id, cap_micro FROM budgets")
        inner, begins = scene.database.batch, list[Any]()

        async def batch(statements: Any) -> Any:
            results = await inner(statements)
            if any(one.sql == begin.BEGIN.sql for one in statements):
                begins.append(statements)
            elif begins and any(one.sql == begin.FULL_PERIODS.sql for one in statements):
                await scene.sql("UPDATE budgets SET cap_micro = cap_micro + ?1", PRICE)
                await scene.database.inner.batch(begins[0])
                await scene.sql("UPDATE budgets SET cap_micro = ?1", budget["cap_micro"])
            return results

        with instead(scene, batch):
            await scene.drain()
        return int(str(budget["id"]))

    async def test_a_repeat_whose_begin_was_taken_back_is_not_repeated_once_more(self, scene: Scene) -> None:
        """The execution that was never sent takes the id after the unknown one, so the repeat gets the next."""
        task = await scene.given(ai("blind"))
        await scene.budget(PRICE, period="total")
        scene.network.script("blind", Unknown("lost"), Unknown("lost again"))
        await scene.drain()
        scene.clock.advance(MINUTE)
        await self.refused_and_late(scene)
        assert await scene.states(task) == ["unknown", "cancelled"]

        await scene.sql("UPDATE budgets SET cap_micro = ?1", 9 * PRICE)
        for _ in range(3):
            await scene.later(MINUTE)

        assert await scene.states(task) == ["unknown", "cancelled", "unknown"]
        assert scene.network.count() == 2

    async def test_a_begin_that_commits_after_its_refusal_is_taken_back(self, scene: Scene) -> None:
        """The batch is given up and repeated.  The repetition finds no room; the first copy commits later."""
        task = await scene.given(ai("blind"))
        await scene.budget(0, period="total")
        budget = await self.refused_and_late(scene)
        assert scene.network.count() == 0
        (unsent,) = await scene.executions(task)
        assert (unsent["status"], unsent["reason"], unsent["cost_micro"]) == ("cancelled", "never_sent", 0)
        assert await scene.books(budget) == (0, 0)
        await scene.sql("UPDATE budgets SET cap_micro = ?1", PRICE)
        await scene.later(MINUTE)

        assert await scene.states(task) == ["cancelled", "succeeded"]
        assert await scene.statuses() == {"completed": 1}

    async def test_a_slow_publisher_keeps_its_outbox_row(self, scene: Scene) -> None:
        """Two publishers moved a task without a lease.  The put of the second one is slow, and it dies."""
        task = await scene.given(person("inbox"), ai("blind"))
        await scene.drain()
        token = await link(scene, task)
        stale = (await scene.kv.get(await scene.status_key(task))) or ""
        await scene.sql(
            "INSERT INTO outbox (kind, task_id, holder, due_ms) VALUES ('publish', ?1, 'slow', ?2)",
            *(task, scene.clock.ms + LEASE_OVER),
        )

        await people.submit(scene.world, token, ANSWER)
        await scene.finish()
        await scene.later(MINUTE)
        assert (await scene.live(task))["status"] == "completed"
        await scene.kv.inner.put(await scene.status_key(task), stale)
        await scene.later(LEASE_OVER)

        assert (await scene.live(task))["status"] == "completed"
        assert await scene.count("outbox") == 0
