"""Slow and late writes of the live status.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from contextlib import suppress

from consumer.core.policy import SECOND
from consumer.execution import publish
from consumer.service import commands
from tests.support.fakes import Hold
from tests.support.scene import PRICE, Scene, Suite, ai, person, until


class PublishContract(Suite):
    async def test_a_slow_write_of_an_older_status_is_repaired(self, scene: Scene) -> None:
        """A publisher without a lease publishes immediately, and again a moment later."""
        task = await scene.given(person())
        await scene.drain()
        stale = (await scene.kv.get(await scene.status_key(task))) or ""
        await commands.cancel(scene.world, 1, task, "tester")
        await scene.kv.inner.put(await scene.status_key(task), stale)
        assert (await scene.live(task))["status"] == "waiting"

        await scene.later(5 * SECOND)

        assert (await scene.live(task))["status"] == "cancelled"
        assert await scene.count("outbox") == 0

    async def test_a_slow_outbox_write_over_a_later_status_is_corrected(self, scene: Scene) -> None:
        task = await scene.given(person())
        await scene.drain()
        await scene.sql("INSERT INTO outbox (kind, task_id, due_ms) VALUES ('publish', ?1, 0)", task)

        async def end_it() -> None:  # a worker with a lease ends the task and publishes that
            await scene.sql("UPDATE tasks SET status = 'failed', version = version + 1 WHERE id = ?1", task)
            assert await publish.republish(scene.world, [task])

        scene.kv.slow = end_it
        await scene.drain()
        assert (await scene.live(task))["status"] == "waiting"

        await scene.later(5 * SECOND)

        assert (await scene.live(task))["status"] == "failed"
        assert await scene.count("outbox") == 0

    async def test_a_slow_outbox_write_is_noticed_after_another_publication(self, scene: Scene) -> None:
        """A slow publisher keeps its own outbox row, while others publish."""
        task = await scene.given(person())
        await scene.drain()
        await scene.sql("INSERT INTO outbox (kind, task_id, due_ms) VALUES ('publish', ?1, 0)", task)

        async def end_it() -> None:
            await scene.sql("UPDATE tasks SET status = 'failed', version = version + 1 WHERE id = ?1", task)
            await publish.check_later(scene.world, task, "another")
            await scene.later(5 * SECOND)
            assert await scene.count("outbox") == 1

        scene.kv.slow = end_it
        await scene.drain()
        assert (await scene.live(task))["status"] == "waiting"

        await scene.later(5 * SECOND)

        assert (await scene.live(task))["status"] == "failed"
        assert await scene.count("outbox") == 0

    async def test_a_runs_slow_write_over_a_later_status_is_corrected(self, scene: Scene) -> None:
        task = await scene.given(person())

        async def end_it() -> None:
            await commands.cancel(scene.world, 1, task, "tester")
            await scene.later(5 * SECOND)  # another worker publishes it again
            assert await scene.count("outbox") == 0

        scene.kv.slow = end_it
        await scene.drain()
        assert (await scene.live(task))["status"] == "waiting"

        await scene.later(5 * SECOND)

        assert (await scene.live(task))["status"] == "cancelled"
        assert await scene.count("outbox") == 0

    async def test_the_running_status_of_a_later_call_shows_what_the_earlier_ones_cost(
        self, scene: Scene
    ) -> None:
        task, hold = await scene.given(ai("blind"), ai("other")), Hold()
        scene.network.script("other", hold)
        scene.configure(running_snapshot_ms=0)

        async with scene.draining():
            await hold.begun.wait()
            await until(lambda: self.shows(scene, task, "running", 1))
            assert (await scene.live(task))["cost_micro"] == PRICE
            hold.release()

    async def shows(self, scene: Scene, task: int, status: str, stage: int) -> bool:
        with suppress(AssertionError):  # nothing is published yet
            live = await scene.live(task)
            return (live["status"], live["stage"]) == (status, stage)
        return False

    async def test_a_slow_write_of_a_running_status_is_corrected(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        scene.configure(running_snapshot_ms=0)

        async def end_it() -> None:
            await commands.cancel(scene.world, 1, task, "tester")
            await scene.later(5 * SECOND)
            assert await scene.count("outbox") == 0
            hold.release()

        scene.kv.slow = end_it
        await scene.drain()
        assert (await scene.live(task))["status"] == "running"

        await scene.later(5 * SECOND)

        assert (await scene.live(task))["status"] == "cancelled"
        assert await scene.count("outbox") == 0
