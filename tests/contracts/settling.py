"""The database fails before or after any batch of a run: nothing is lost, and nothing is done or charged twice.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from consumer.core.outcome import Accepted, Failed, Retry, Succeeded
from consumer.core.policy import HOUR, LEASE
from consumer.ports import PortError
from consumer.provider import Verb
from consumer.run.run import Run
from tests.support.fakes import ANSWER, Hold
from tests.support.invariants import broken
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person

Story = Callable[[Scene], Awaitable[int]]


async def idle(_: Scene) -> int:
    """No work: every batch only reads."""
    return 0


async def simple(scene: Scene) -> int:
    return await scene.given(ai("blind"), count=3)


async def crowded(scene: Scene) -> int:
    return await scene.given(ai("blind"), count=23)


async def immediate_outcome(scene: Scene) -> int:
    """No call is sent: begun and settled in one batch, and then another stage."""
    return await scene.given(ai("echo", output=ANSWER), ai("echo", output=ANSWER), ai("blind"), count=3)


async def people(scene: Scene) -> int:
    return await scene.given(ai("blind"), person(kind="review"), count=3)


async def winding(scene: Scene) -> int:
    """A retry, a repair, the next candidate, and the next stage."""
    scene.network.script("blind", Retry("busy"), Succeeded({"answer": 7}), Failed("no"))
    return await scene.given(ai("blind", "other"), ai("other"))


async def hopeless(scene: Scene) -> int:
    scene.network.script("blind", Failed("no"))
    return await scene.given(ai("blind"))


async def job(scene: Scene) -> int:
    scene.network.script("job", Accepted("job-1", 1_000))
    return await scene.given(ai("job"))


async def limited(scene: Scene) -> int:
    task = await scene.given(ai("blind"), ai("echo", output=ANSWER), count=4)
    await scene.budget(3 * PRICE)
    return task


STORIES: list[Story] = [idle, simple, crowded, immediate_outcome, people, winding, hopeless, job, limited]


async def ending(scene: Scene) -> dict[str, Any]:
    """Everything that must be the same after every kind of failure."""
    tasks = await scene.sql(
        "SELECT id, status, reason, version, stage, candidate, last_execution, blocked_by IS NULL AS free, lease"
        " FROM tasks ORDER BY id"
    )
    executions = await scene.sql(
        "SELECT id, status, result, cost_micro, reason, external_id FROM task_executions ORDER BY id"
    )
    periods = await scene.sql("SELECT spent_micro, reserved_micro FROM budget_periods")
    return {
        "tasks": [dict(row) for row in tasks],
        "executions": [dict(row) for row in executions],
        "periods": [dict(row) for row in periods],
        "calls": scene.network.count(),
        "leases": await scene.count("leases"),
    }


async def play(scene: Scene) -> dict[str, Any]:
    """Work until nothing changes; tasks of a claim whose reply was lost come back after its lease."""
    for wait in (0, 10_000, LEASE_OVER):
        scene.clock.advance(wait)
        await scene.tick()
        await scene.finish()
    return await ending(scene)


class _Faults(Suite):
    """`after`: the batch was committed nevertheless, and its caller cannot know."""

    after: bool

    @pytest.mark.parametrize("story", STORIES)
    async def test_a_batch_that_fails_once_changes_nothing(self, scene: Scene, story: Story) -> None:
        """Each batch of the story in turn fails once: every one of them may be sent again.

        A claim that finds nothing is the same in all stories, and fails in the idle one."""
        await play(scene)
        checks = {statements for statements, _ in scene.database.ran} if story is not idle else set()
        first = await scene.anew()
        await story(first)
        expected, ran = await play(first), first.database.ran
        assert expected["leases"] == 0
        for batch, (statements, changed) in enumerate(ran, 1):
            if statements in checks and not changed:
                continue
            fresh = await scene.anew()
            await story(fresh)
            fresh.database.fail(batch, after=self.after)

            found = await play(fresh)

            assert found == expected, f"batch {batch} of {len(ran)}"
            assert await broken(fresh.database.inner) == []

    @pytest.mark.parametrize("story", [simple, winding, immediate_outcome, limited])
    async def test_each_batch_can_fail_once_without_an_effect(self, scene: Scene, story: Story) -> None:
        await story(scene)
        expected, batches = await play(scene), scene.database.batches
        fresh = await scene.anew()
        await story(fresh)
        for batch in range(1, 2 * batches, 2):
            fresh.database.fail(batch, after=self.after)

        assert await play(fresh) == expected

    @pytest.mark.parametrize("story", [simple, winding, immediate_outcome, people])
    async def test_a_worker_that_dies_at_any_batch_repeats_only_the_calls_in_flight(
        self, scene: Scene, story: Story
    ) -> None:
        await story(scene)
        expected = await play(scene)
        first = await scene.anew()
        await story(first)
        await first.drain()
        batches = first.database.batches
        for batch in range(1, batches + 1):
            fresh = await scene.anew()
            await story(fresh)
            fresh.database.fail(batch, after=self.after, error=Crash())
            with suppress(Crash):
                await fresh.drain()
            in_flight = await fresh.sql("SELECT id FROM task_executions WHERE status = 'running'")
            fresh.database.heal()
            assert await broken(fresh.database.inner) == []

            for _ in range(5):
                await fresh.later(LEASE_OVER)

            found = await ending(fresh)
            ends = [row["status"] for row in found["tasks"]]
            assert ends == [row["status"] for row in expected["tasks"]], f"batch {batch} of {batches}"
            assert found["calls"] <= expected["calls"] + len(in_flight)
            assert found["leases"] == 0


class OutageContract(_Faults):
    """Nothing of the batch was committed."""

    after = False


class AmbiguousCommitContract(_Faults):
    """The batch was committed, and then raised an error."""

    after = True


class SettleContract(Suite):
    async def test_two_workers_settle_an_unsettled_answer_once(self, scene: Scene) -> None:
        """A webhook and a poll bring answers at the same moment."""
        task, hold = await scene.given(ai("job")), Hold()
        scene.network.script("job", Accepted("job-1", 1_000))
        scene.network.script("job", hold, verb=Verb.POLL)
        await scene.drain()
        scene.clock.advance(HOUR)
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", {"output": {"answer": "by webhook"}})
            await scene.drain()
            hold.release()

        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost_micro"]) == ("succeeded", PRICE)
        assert execution["result"] == '{"answer":"by webhook"}'
        assert (await scene.task(task))["version"] == 3

    async def test_the_answer_of_a_worker_given_up_too_early_is_used(self, scene: Scene) -> None:
        """Its lease expired while it slept; its answer is used, and the repetition's answer is kept."""
        task, slow, repeated = await scene.given(ai("blind")), Hold(), Hold(Succeeded({"answer": "second"}))
        scene.network.script("blind", slow, repeated)
        sleeping = asyncio.create_task(scene.drain())
        await slow.begun.wait()
        scene.clock.advance(LEASE_OVER)
        await scene.tick()
        await scene.drain()  # finds that its worker is gone, and asks for another one
        async with scene.draining():
            await repeated.begun.wait()
            slow.release()
            await sleeping
            assert (await scene.task(task))["status"] == "completed"
            repeated.release()

        first, second = await scene.executions(task)
        assert (first["status"], first["result"]) == ("succeeded", '{"answer":"yes"}')
        assert (second["status"], second["reason"], second["cost_micro"]) == ("cancelled", "late", PRICE)
        assert (await scene.task(task))["last_execution"] == first["id"]
        assert await scene.count("leases") == 0

    async def test_a_long_call_keeps_its_lease(self, scene: Scene) -> None:
        task, hold, run = await scene.given(ai("blind")), Hold(), Run(scene.world)
        scene.network.script("blind", hold)
        working = asyncio.create_task(run.drain())
        await hold.begun.wait()
        for _ in range(9):
            scene.clock.advance(60_000)
            while (await scene.sql("SELECT until_ms FROM leases"))[0]["until_ms"] != scene.clock.ms + LEASE:
                run.flight.wake.set()
                await asyncio.sleep(0.001)
            await scene.tick()
        assert (await scene.task(task))["status"] == "running"
        hold.release()
        await working

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count() == 1

    async def test_a_task_finished_by_another_worker_leaves_the_lease_of_the_others(
        self, scene: Scene
    ) -> None:
        quick = await scene.given(ai("echo", output=ANSWER))
        slow, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)

        async def take_over() -> None:
            await scene.sql("UPDATE tasks SET status = 'pending' WHERE id = ?1", quick)
            await scene.drain()

        scene.database.between(1, take_over)
        async with scene.draining():
            await hold.begun.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            assert (await scene.task(quick))["status"] == "completed"
            assert (await scene.task(slow))["status"] == "running"
            assert await scene.count("leases") == 1
            hold.release()

        assert await scene.statuses() == {"completed": 2}
        assert await scene.states(quick) == ["succeeded"]
        assert await scene.count("leases") == 0

    async def test_the_first_of_two_answers_wins_and_both_costs_are_recorded(self, scene: Scene) -> None:
        task = await scene.given(ai("evident"), unknown="retry")
        scene.network.script("evident", Retry("lost"), Succeeded({"answer": "first"}))
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert [row["cost_micro"] for row in await scene.executions(task)] == [0, PRICE]

    async def test_an_outage_in_the_middle_of_a_run_ends_it_and_is_repaired(self, scene: Scene) -> None:
        await scene.given(ai("keyed"), count=4)
        scene.network.script("keyed", *[self._outage(scene)] * 4)

        with pytest.raises(PortError):
            await scene.drain()
        scene.database.heal()
        for _ in range(3):
            await scene.later(LEASE_OVER)

        assert await scene.statuses() == {"completed": 4}
        assert {row["cost_micro"] for row in await scene.sql("SELECT cost_micro FROM task_executions")} == {
            PRICE
        }

    def _outage(self, scene: Scene) -> Callable[[object], Succeeded]:
        def answer(_: object) -> Succeeded:
            scene.database.down = True
            return Succeeded(ANSWER)

        return answer
