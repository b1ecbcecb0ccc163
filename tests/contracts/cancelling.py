"""A task is cancelled at any moment.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from consumer.core.errors import Conflict, NotFound
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.policy import DAY, MINUTE
from consumer.ports import Result, Statement
from consumer.run.run import Run
from consumer.service import commands, queries
from consumer.store import begin
from tests.support.fakes import ANSWER, Hold
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person

Cancel = Callable[[Scene, int], Awaitable[object]]


async def by_command(scene: Scene, task: int) -> None:
    await commands.cancel(scene.world, 1, task, "tester")


async def by_another_application(scene: Scene, task: int) -> None:
    await scene.sql("UPDATE tasks SET status = 'cancelled' WHERE id = ?1", task)


@contextmanager
def late_reply(scene: Scene, act: Callable[[], Awaitable[object]]) -> Iterator[None]:
    """Something happens between the commit of a begin and its reply, which comes when the time of its run is over."""

    async def batch(statements: Sequence[Statement]) -> list[Result]:
        results = await scene.database.inner.batch(statements)
        if any(one.sql == begin.BEGIN.sql for one in statements):
            await act()
            scene.clock.advance(scene.world.config.invocation_ms)
        return results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.database, "batch", batch)
        yield


@pytest.mark.parametrize("cancel", [by_command, by_another_application])
class CancelContract(Suite):
    async def test_a_pending_task_is_never_run(self, scene: Scene, cancel: Cancel) -> None:
        task = await scene.given(ai("blind"))

        await cancel(scene, task)
        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["version"], row["lease"]) == ("cancelled", 1, None)
        assert scene.network.count() == 0
        assert (await scene.live(task))["status"] == "cancelled"

    async def test_a_task_that_waits_for_its_retry_is_never_run_again(
        self, scene: Scene, cancel: Cancel
    ) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Retry("busy", MINUTE))
        await scene.drain()

        await cancel(scene, task)
        await scene.later(DAY)

        assert (await scene.task(task))["status"] == "cancelled"
        assert scene.network.count() == 1

    async def test_a_begin_whose_reply_came_too_late_leaves_no_open_execution(
        self, scene: Scene, cancel: Cancel
    ) -> None:
        """The reply comes after an outage, when the run may send nothing more, and the task is cancelled by then."""
        task = await scene.given(ai("blind"))
        budget = await scene.budget(9 * PRICE)

        with late_reply(scene, lambda: cancel(scene, task)):
            await scene.drain()

        assert scene.network.count() == 0
        (unsent,) = await scene.executions(task)
        assert (unsent["status"], unsent["reason"], unsent["cost_micro"]) == ("cancelled", "never_sent", 0)
        assert await scene.books(budget) == (0, 0)

    async def test_a_claim_whose_only_task_is_gone_when_it_is_repeated_leaves_no_lease_and_no_due_task(
        self, scene: Scene, cancel: Cancel
    ) -> None:
        """The reply to the claim is lost, and the task is cancelled before the claim is sent again."""
        scene.configure(batch_size=1)
        first = await scene.given(ai("blind"), count=3)
        scene.database.fail(1, after=True)
        scene.database.between(1, lambda: cancel(scene, first))

        summary = await scene.drain()

        assert await scene.statuses() == {"cancelled": 1, "completed": 2}
        assert (summary.left, await scene.count("leases")) == (0, 0)

    async def test_a_call_in_flight_ends_by_itself_and_its_answer_and_cost_are_kept(
        self, scene: Scene, cancel: Cancel
    ) -> None:
        task, hold = await scene.given(ai("blind"), ai("other")), Hold()
        budget = await scene.budget(1_000_000)
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await cancel(scene, task)
            assert await scene.states(task) == ["running"]
            hold.release()

        (execution,) = await scene.executions(task)
        assert (await scene.task(task))["status"] == "cancelled"
        assert (execution["status"], execution["reason"], execution["cost_micro"]) == (
            "cancelled",
            "late",
            PRICE,
        )
        assert execution["result"] == '{"answer":"yes"}'
        assert await scene.books(budget) == (PRICE, 0)
        assert scene.network.count("other") == 0
        assert await scene.count("leases") == 0

    @pytest.mark.parametrize(
        "outcome", [Failed("no"), Retry("busy"), Succeeded({"answer": 7})], ids=["failed", "retry", "invalid"]
    )
    async def test_a_call_in_flight_that_fails_is_not_followed_by_another(
        self, scene: Scene, cancel: Cancel, outcome: Failed | Retry | Succeeded
    ) -> None:
        task, hold = await scene.given(ai("blind", "other")), Hold(outcome)
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await cancel(scene, task)
            hold.release()
        await scene.later(DAY)

        assert (await scene.task(task))["status"] == "cancelled"
        assert await scene.states(task) == ["cancelled"]
        assert scene.network.count() == 1

    async def test_a_call_in_flight_that_is_accepted_is_cancelled_at_the_provider(
        self, scene: Scene, cancel: Cancel
    ) -> None:
        task, hold = await scene.given(ai("job")), Hold(Accepted("job-1"))
        scene.network.script("job", hold)
        async with scene.draining():
            await hold.begun.wait()
            await cancel(scene, task)
            hold.release()

        await scene.later(MINUTE)

        assert await scene.states(task) == ["cancelled"]
        assert (await scene.task(task))["status"] == "cancelled"

    async def test_a_call_in_flight_that_is_lost_is_charged_at_its_time_and_not_repeated(
        self, scene: Scene, cancel: Cancel
    ) -> None:
        task, hold = await scene.given(ai("blind")), Hold(Unknown("lost"))
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await cancel(scene, task)
            hold.release()

        await scene.later(DAY)

        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost_source"]) == ("cancelled", "bound")
        assert scene.network.count() == 1

    async def test_a_waiting_job_is_cancelled_at_the_provider(self, scene: Scene, cancel: Cancel) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1"))
        await scene.drain()

        await cancel(scene, task)
        await scene.drain()

        assert await scene.states(task) == ["cancelled"]
        assert (await scene.live(task))["status"] == "cancelled"

    async def test_a_waiting_person_is_not_asked_any_more(self, scene: Scene, cancel: Cancel) -> None:
        task = await scene.given(person())
        await scene.drain()

        await cancel(scene, task)
        await scene.drain()

        assert await scene.states(task) == ["cancelled"]
        assert await queries.inbox(scene.world, 1) == []

    async def test_a_cancel_is_in_the_audit_log_once(self, scene: Scene, cancel: Cancel) -> None:
        task = await scene.given(ai("blind"))

        await cancel(scene, task)
        await scene.drain()

        (entry,) = (await queries.history(scene.world, 1, task))["audit"]
        assert entry["event"] in ("cancelled", "edited")


class CancelCommandContract(Suite):
    async def test_cancelling_twice_changes_nothing(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await by_command(scene, task)
        before = await scene.task(task)

        assert await commands.cancel(scene.world, None, task, "another") == "cancelled"

        assert await scene.task(task) == before
        assert await scene.count("audit_log") == 1

    @pytest.mark.parametrize("status", ["completed", "failed"])
    async def test_a_finished_task_is_not_cancelled(self, scene: Scene, status: str) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Succeeded(ANSWER) if status == "completed" else Failed("no"))
        await scene.drain()

        with pytest.raises(Conflict, match=status):
            await by_command(scene, task)

        assert (await scene.task(task))["status"] == status
        assert await scene.count("audit_log") == 0

    async def test_no_organization_cancels_a_task_of_another(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))

        for organization, number in ((2, task), (1, task + 1)):
            with pytest.raises(NotFound):
                await commands.cancel(scene.world, organization, number, "tester")

        assert (await scene.task(task))["status"] == "pending"

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("batch", range(1, 6))
    async def test_a_cancel_whose_server_dies_is_complete_or_absent(
        self, scene: Scene, batch: int, *, after: bool
    ) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1"))
        await scene.drain()
        scene.database.fail(batch, after=after, error=Crash())
        died = False
        try:
            await by_command(scene, task)
        except Crash:
            died = True
        scene.database.heal()

        await scene.later(MINUTE)

        status = (await scene.task(task))["status"]
        assert status == "cancelled" or (died and batch == 1 and not after)
        assert await scene.states(task) == (["cancelled"] if status == "cancelled" else ["waiting"])

    async def test_a_cancel_while_its_worker_dies_ends_both(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        await scene.die(hold)

        await by_command(scene, task)
        await scene.later(LEASE_OVER)
        await scene.later(DAY)

        assert (await scene.task(task))["status"] == "cancelled"
        assert await scene.states(task) == ["cancelled"]
        assert scene.network.count() == 1
        assert await scene.count("leases") == 0

    async def test_a_task_that_was_set_to_pending_before_a_late_reply_goes_on(self, scene: Scene) -> None:
        """Another worker claims it, and lets it wait for the execution that the first one never sends."""
        task = await scene.given(ai("blind"))

        async def taken() -> None:
            await scene.sql("UPDATE tasks SET status = 'pending' WHERE id = ?1", task)
            await Run(replace(scene.world, database=scene.database.inner)).drain()

        with late_reply(scene, taken):
            await scene.drain()
        assert (await scene.task(task))["status"] == "waiting"
        for _ in range(3):
            await scene.later(MINUTE)

        assert (await scene.task(task))["status"] == "completed"
