"""Time that is over, and services that fail or hang: no paid answer is lost.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from consumer import app
from consumer.core.checker import RUN_WORK
from consumer.core.outcome import Accepted, Succeeded
from consumer.core.policy import HOUR, LEASE, MINUTE, SECOND
from consumer.ports import PortError, Statement, Unavailable
from consumer.provider import Verb
from consumer.run.run import Run
from consumer.run.schema import SchemaTrust
from tests.support.fakes import ANSWER, Hold
from tests.support.ports import RecordingMessage
from tests.support.scene import PRICE, Scene, Suite, ai, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumer.run.summary import Summary
    from consumer.world import World

LARGE = {"answer": "x" * 70_000}
STORAGE_S = 0.4
"""The time limit of storage in these tests: longer than the loop waits for a write."""


@asynccontextmanager
async def calling(scene: Scene, *holds: Hold) -> AsyncIterator[Run]:
    """A run whose calls are in flight while the body runs; then it ends."""
    scene.network.script("blind", *holds)
    run = Run(scene.world)
    working = asyncio.create_task(run.drain())
    for hold in holds:
        await asyncio.wait_for(hold.begun.wait(), 10)
    yield run
    await asyncio.wait_for(working, 20)


class TimeContract(Suite):
    async def pass_time(self, scene: Scene, run: Run, ms: int) -> None:
        """Let time pass, and let the run notice it."""
        scene.clock.advance(ms)
        for _ in range(20):
            run.flight.wake.set()
            await asyncio.sleep(0.001)

    async def test_a_run_whose_time_is_over_lets_its_calls_finish_and_starts_nothing_new(
        self, scene: Scene
    ) -> None:
        await scene.given(ai("blind"), count=20)
        holds = [Hold() for _ in range(4)]  # the last connection is kept for another profile
        async with calling(scene, *holds) as run:
            await self.pass_time(scene, run, scene.world.config.invocation_ms)
            assert await scene.statuses() == {"running": 4, "pending": 16}
            assert scene.queue.delays == [0]  # another run does the rest now
            for hold in holds:
                hold.release()

        assert await scene.statuses() == {"completed": 4, "pending": 16}
        assert scene.network.count() == 4
        assert scene.queue.delays == [0]
        assert await scene.count("leases") == 0

    async def test_the_time_before_a_run_counts_as_its_time(self, scene: Scene) -> None:
        """A database that answers slowly delays the check of the schema, and the platform counts that time too."""

        class Slow(SchemaTrust):
            async def check(self, world: World) -> None:
                scene.clock.advance(world.config.invocation_ms)

        await scene.given(ai("blind"))
        message = RecordingMessage({"v": 1})

        await app.App(scene.world, trust=Slow()).on_messages([message])

        assert await scene.statuses() == {"pending": 1}
        assert message.verdicts == ["ack"]
        assert scene.queue.delays == [0]

    async def test_a_run_that_has_used_up_its_work_for_checks_leaves_the_rest_to_another_run(
        self, scene: Scene
    ) -> None:
        """Each answer in flight is still checked and settled, because it is paid for."""
        await scene.given(ai("blind"), count=20)
        run = Run(scene.world)
        assert run.work.left == RUN_WORK
        run.work.left = 1

        await run.drain()

        assert run.work.left <= 0
        assert await scene.statuses() == {"completed": 4, "pending": 16}
        assert scene.network.count() == 4
        assert scene.queue.delays == [0]
        await scene.finish()
        assert await scene.statuses() == {"completed": 20}

    async def test_a_lease_is_renewed_while_a_call_outlasts_the_time(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        async with calling(scene, hold) as run:
            await self.pass_time(scene, run, scene.world.config.invocation_ms)
            for _ in range(4):
                await self.pass_time(scene, run, MINUTE)
                (lease,) = await scene.sql("SELECT until_ms FROM leases")
                assert lease["until_ms"] == scene.clock.ms + LEASE
                await scene.tick()
            hold.release()

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count() == 1

    async def test_a_task_that_goes_on_after_the_time_is_left_to_another_run(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind"), ai("other")), Hold()
        async with calling(scene, hold) as run:
            await self.pass_time(scene, run, scene.world.config.invocation_ms)
            hold.release()

        assert await scene.states(task) == ["succeeded"]
        assert (await scene.task(task))["status"] == "pending"
        assert scene.queue.delays == [0]
        await scene.finish()
        assert await scene.states(task) == ["succeeded", "succeeded"]

    async def test_at_the_hard_limit_a_call_is_cut_and_settled_as_unknown(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind"), unknown="wait"), Hold()
        async with calling(scene, hold) as run:
            await self.pass_time(scene, run, scene.world.config.cut_ms)

        assert await scene.states(task) == ["unknown"]
        assert await scene.count("leases") == 0

    async def test_a_begin_that_is_committed_after_the_time_sends_no_call(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))

        async def time_passes() -> None:
            scene.clock.advance(scene.world.config.invocation_ms)

        scene.database.between(2, time_passes)
        await scene.drain()

        assert (scene.network.count(), await scene.states(task)) == (0, ["cancelled"])
        await scene.finish()
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_follow_up_after_the_time_sends_no_request(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", 1_000))
        await scene.drain()
        scene.clock.advance(HOUR)

        async def time_passes() -> None:
            scene.clock.advance(scene.world.config.invocation_ms)

        scene.database.between(2, time_passes)
        await scene.drain()
        assert scene.network.count("job", Verb.POLL) == 0

        await scene.later(LEASE)
        assert (await scene.task(task))["status"] == "completed"

    async def test_many_polls_stay_within_the_statements_of_an_invocation(self, scene: Scene) -> None:
        count = 120
        await scene.given(ai("job"), count=count)
        scene.network.script("job", *[Accepted(f"job-{n}", 1_000) for n in range(count)])
        await scene.finish()
        scene.clock.advance(HOUR)
        rung = len(scene.queue.sent)
        scene.configure(statements=300, all_statements=400)

        sent: list[int] = []
        while True:
            run = Run(scene.world)
            summary = await run.drain()
            sent.append(run.meter.sent)
            if not summary.more:
                break

        assert await scene.statuses() == {"completed": count}
        assert scene.network.count("job", Verb.POLL) == count
        assert len(sent) > 2
        assert max(sent) <= 400
        assert len(scene.queue.sent) - rung >= len(sent) - 1

    async def test_what_an_invocation_sends_before_its_run_counts_among_its_statements(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The check of the schema, and messages that are stored as dead letters."""
        before = len(scene.database.ran)
        counted: list[int] = []

        class Counting(Run):
            async def drain(self) -> Summary:
                counted.append(self.meter.sent)
                return await super().drain()

        monkeypatch.setattr(app, "Run", Counting)
        await app.App(scene.world).on_messages([RecordingMessage("?"), RecordingMessage({"v": 1})])

        sent = [len(statements) for statements, _ in scene.database.ran[before:]]
        assert counted == [sum(sent[:2])]
        assert counted[0] > 2


class OutageOfServicesContract(Suite):
    @pytest.mark.parametrize("tries", [6, 40])
    async def test_answers_outlast_an_outage_of_the_database(self, scene: Scene, tries: int) -> None:
        await scene.given(ai("blind"), count=4)
        holds = [Hold() for _ in range(4)]
        async with calling(scene, *holds):
            for batch in range(1, tries + 1):
                scene.database.fail(batch)
            for hold in holds:
                hold.release()

        assert await scene.statuses() == {"completed": 4}
        assert scene.network.count() == 4

    async def test_an_outage_of_the_database_cancels_no_call(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=2)
        first, second = Hold(), Hold()
        async with calling(scene, first, second):
            for batch in range(1, 30):
                scene.database.fail(batch)
            first.release()
            await until(lambda: self._failed(scene, 20))
            assert not second.released.is_set()
            second.release()

        assert await scene.statuses() == {"completed": 2}
        assert scene.network.count() == 2

    async def _failed(self, scene: Scene, batches: int) -> bool:
        return scene.database.batches >= batches

    async def test_the_answer_of_a_poll_outlasts_an_outage(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))

        def answer(_: object) -> Succeeded:
            for batch in range(1, 20):
                scene.database.fail(batch)
            return Succeeded(ANSWER)

        scene.network.script("job", Accepted("job-1", 1_000))
        scene.network.script("job", answer, verb=Verb.POLL)
        await scene.drain()
        await scene.later(HOUR)

        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost_micro"]) == ("succeeded", PRICE)

    async def test_a_caller_of_the_api_gets_an_error_after_five_tries(self, scene: Scene) -> None:
        for batch in range(1, 6):
            scene.database.fail(batch)
        before = scene.database.batches

        with pytest.raises(Unavailable):
            await scene.world.rows(Statement("SELECT 1"))

        assert scene.database.batches == before + 5

    async def test_a_run_with_nothing_in_hand_does_not_wait_for_the_database(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        scene.database.down = True

        with pytest.raises(PortError):
            await scene.drain()

        assert scene.network.count() == 0

    async def test_a_status_store_that_hangs_holds_up_no_settle(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=25)
        scene.configure(storage_s=STORAGE_S)
        scene.kv.hangs = True

        async def is_done() -> bool:
            return await scene.statuses() == {"completed": 25}

        async with scene.draining():
            await until(is_done)
            assert await scene.count("leases") > 0  # until the statuses are left to the outbox

        assert await scene.count("leases") == 0
        assert scene.kv.tried < 25  # after the first writes without an answer, it is tried with one at a time
        scene.kv.hangs = False
        for wait in (5 * SECOND, 5 * SECOND, MINUTE):
            await scene.later(wait)
        assert [(await scene.live(one))["status"] for one in range(task, task + 25)] == ["completed"] * 25
        assert await scene.count("outbox") == 0

    async def test_a_status_that_lands_after_its_time_limit_is_corrected(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.configure(storage_s=0.01, running_snapshot_ms=0)
        scene.kv.hangs = True
        async with calling(scene, hold) as run:
            while not scene.kv.tried:
                run.flight.wake.set()
                await asyncio.sleep(0.001)
            scene.kv.hangs = False
            hold.release()
        scene.configure(storage_s=10.0)  # a write that works may take longer than the hanging one was given
        await scene.later(5 * SECOND)
        shown = await scene.live(task)
        assert shown["status"] == "completed"

        late = json.dumps({**shown, "status": "running", "version": 1})
        await scene.kv.inner.put(f"status:{task}", late)
        await scene.later(MINUTE)

        assert await scene.live(task) == shown
        assert await scene.count("outbox") == 0

    async def test_a_running_status_that_hangs_holds_up_no_settle(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.configure(storage_s=STORAGE_S, running_snapshot_ms=0)
        scene.kv.hangs = True

        async def is_done() -> bool:
            return bool((await scene.task(task))["status"] == "completed")

        async with calling(scene, hold) as run:
            run.flight.wake.set()
            await asyncio.sleep(0.01)
            hold.release()
            await until(is_done)
        assert await scene.count("leases") == 0

    async def test_a_blob_store_that_hangs_holds_up_no_other_answer_and_loses_none(
        self, scene: Scene
    ) -> None:
        large = await scene.given(ai("blind"), count=2)
        scene.configure(storage_s=STORAGE_S)
        scene.blobs.hangs = True
        scene.network.script("blind", Succeeded(LARGE), Succeeded(ANSWER))

        async def is_done() -> bool:
            return bool((await scene.task(large + 1))["status"] == "completed")

        async with scene.draining():
            await until(is_done)
            assert (await scene.task(large))["status"] == "running"

        (execution,) = await scene.executions(large)
        assert (execution["status"], len(execution["result"])) == ("succeeded", 70_013)

    async def test_a_queue_that_hangs_holds_up_no_run_for_long(self, scene: Scene) -> None:
        task = await scene.given(ai("job"))
        scene.configure(storage_s=0.01)
        scene.network.script("job", Accepted("job-1", 1_000))
        scene.queue.hangs = True

        (message,) = await scene.ring()
        await scene.tick()

        assert message.verdicts == ["ack"]
        assert (await scene.task(task))["status"] == "waiting"
