"""Executions whose follow-up kills its worker.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from consumer.core.outcome import Unknown
from consumer.core.policy import DAY, HOUR, LEASE, MINUTE
from consumer.execution import webhooks
from consumer.provider import Verb
from consumer.store import claim as claim_sql
from consumer.store.batch import commit
from consumer.store.sql import execution_id
from tests.support.scene import Scene, Suite, ai


class LostFollowUpContract(Suite):
    async def lost_follow_up(self, scene: Scene) -> list[int]:
        """A worker claims the due follow-ups and dies; return their executions."""
        until = scene.clock.ms + LEASE
        statement = claim_sql.CLAIM_FOLLOW_UPS(until=until, now=scene.clock.ms, size=10)
        (taken,) = await commit(scene.database, scene.entropy, [statement])
        return sorted(int(str(row["id"])) for row in taken.rows)

    async def doubts(self, scene: Scene) -> list[int]:
        """Three executions of unknown outcome, all due for a follow-up."""
        task = await scene.given(ai("evident"), count=3)
        scene.network.script("evident", *[Unknown("lost")] * 3)
        scene.network.script("evident", *[Unknown("?")] * 999, verb=Verb.LOOKUP)
        await scene.drain()
        scene.clock.advance(MINUTE)
        return [execution_id(task + number, 1) for number in range(3)]

    async def test_an_execution_whose_follow_up_was_lost_is_claimed_alone(self, scene: Scene) -> None:
        first, second, third = await self.doubts(scene)

        assert await self.lost_follow_up(scene) == [first, second, third]
        scene.clock.advance(LEASE)

        assert await self.lost_follow_up(scene) == [first]
        assert await self.lost_follow_up(scene) == [second]
        assert await self.lost_follow_up(scene) == [third]

    async def test_after_many_lost_follow_ups_few_are_done_before_its_deadline(self, scene: Scene) -> None:
        first, *_ = await self.doubts(scene)
        await scene.sql("UPDATE task_executions SET follow_ups = 4 WHERE id = ?1", first)

        await scene.later(HOUR)
        asked = {call.execution_id for call in scene.network.calls("evident", Verb.LOOKUP)}
        assert first not in asked
        assert len(asked) == 2

        await scene.later(DAY)
        (row,) = await scene.sql("SELECT reason, cost_source FROM task_executions WHERE id = ?1", first)
        assert (row["reason"], row["cost_source"]) == ("unknown_outcome: lost", "bound")

    async def test_after_lost_follow_ups_an_answer_waits_for_as_long_again_at_most(
        self, scene: Scene
    ) -> None:
        """The workers may have died of another cause."""
        first, *_ = await self.doubts(scene)
        await scene.sql("UPDATE task_executions SET follow_ups = 4 WHERE id = ?1", first)

        for _ in range(4):
            assert first not in {call.execution_id for call in scene.network.calls("evident", Verb.LOOKUP)}
            await scene.later(LEASE)

        assert first in {call.execution_id for call in scene.network.calls("evident", Verb.LOOKUP)}

    async def test_a_webhook_is_read_although_follow_ups_were_lost_before(self, scene: Scene) -> None:
        first, *_ = await self.doubts(scene)
        await scene.sql("UPDATE task_executions SET follow_ups = 9 WHERE id = ?1", first)

        said = '{"output": {"answer": "late"}}'
        await webhooks.receive(scene.world, "evident", first, "event-1", None, said)
        await scene.drain()

        (row,) = await scene.sql("SELECT status FROM task_executions WHERE id = ?1", first)
        assert row["status"] == "succeeded"

    async def test_a_call_whose_every_follow_up_kills_its_worker_still_ends(self, scene: Scene) -> None:
        first, *_ = await self.doubts(scene)
        await scene.sql(
            "UPDATE task_executions SET follow_ups = 9, resolve_by_ms = NULL WHERE id = ?1", first
        )

        await scene.later(HOUR)
        await scene.sql("UPDATE task_executions SET follow_ups = 9 WHERE id = ?1", first)
        await scene.later(DAY)
        await scene.later(DAY)

        (row,) = await scene.sql("SELECT reason, cost_source FROM task_executions WHERE id = ?1", first)
        assert (row["reason"], row["cost_source"]) == ("unknown_outcome: lost", "bound")

    async def test_a_charge_reported_by_webhook_is_billed_although_follow_ups_are_lost(
        self, scene: Scene
    ) -> None:
        first, *_ = await self.doubts(scene)
        said = '{"output": {"answer": "late"}}'
        await webhooks.receive(scene.world, "evident", first, "event-1", None, said)
        await scene.sql("UPDATE task_executions SET follow_ups = 9 WHERE id = ?1", first)

        await scene.later(DAY)

        (row,) = await scene.sql("SELECT reason, cost_source FROM task_executions WHERE id = ?1", first)
        assert (row["reason"], row["cost_source"]) == ("unknown_outcome: lost", "declared")
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
