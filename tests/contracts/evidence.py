"""Unknown calls that can be resolved: by a repetition under their key, a query at the provider, or a late reply.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from decimal import Decimal

from consumer.core.outcome import Accepted, Failed, Retry, Succeeded
from consumer.core.policy import DAY
from consumer.provider import Verb
from consumer.service import commands
from tests.support.fakes import LOST, LOST_REASON, Hold
from tests.support.jobs import SILENT
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai


class EvidenceContract(Suite):
    async def test_an_unknown_call_is_repeated_under_its_key_where_keys_are_honoured(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", LOST)
        await scene.drain()
        assert (await scene.task(task))["status"] == "waiting"

        await scene.later(10_000)

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["succeeded"]
        assert [call.key for call in scene.network.calls("keyed")] == [await scene.key(task)] * 2
        assert (await scene.executions(task))[0]["cost_micro"] == PRICE

    async def test_a_refused_repetition_is_no_evidence_about_the_first_call(self, scene: Scene) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", LOST, Failed("already seen"), Retry("busy"), LOST)
        await scene.drain()
        for _ in range(3):
            await scene.later(60_000)
            assert await scene.states(task) == ["unknown"]

        await scene.later(60_000)

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_call_of_a_cancelled_task_is_not_repeated(self, scene: Scene) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", LOST)
        await scene.drain()

        await commands.cancel(scene.world, 1, task, "tester")
        await scene.later(DAY)

        assert scene.network.count("keyed") == 1
        assert (await scene.executions(task))[0]["cost_source"] == "bound"

    async def test_a_repeated_call_that_is_never_answered_is_charged_at_its_bound(self, scene: Scene) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", *[LOST] * 100)
        await scene.drain()
        for _ in range(10):
            await scene.later(60_000)

        (execution,) = await scene.executions(task)
        assert (execution["reason"], execution["cost_source"]) == (f"unknown_outcome: {LOST_REASON}", "bound")
        assert (await scene.task(task))["status"] == "failed"

    async def test_a_call_whose_worker_died_is_looked_up(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("evident")), Hold()
        scene.network.script("evident", hold)
        scene.network.script("evident", Succeeded({"answer": "found"}), verb=Verb.LOOKUP)
        await scene.die(hold)
        await scene.later(LEASE_OVER)

        await scene.later(120_000)

        assert (await scene.task(task))["status"] == "completed"
        assert (await scene.executions(task))[0]["result"] == '{"answer":"found"}'
        assert scene.network.count("evident") == 1

    async def test_a_call_that_never_arrived_is_tried_again(self, scene: Scene) -> None:
        task = await scene.given(ai("evident"))
        scene.network.script("evident", LOST)
        scene.network.script("evident", Retry("unknown here"), verb=Verb.LOOKUP)
        await scene.drain()
        await scene.later(10_000)
        await scene.finish()

        assert await scene.states(task) == ["failed", "succeeded"]
        assert [row["cost_micro"] for row in await scene.executions(task)] == [0, PRICE]

    async def test_a_lookup_that_finds_a_running_job_waits_for_it(self, scene: Scene) -> None:
        task = await scene.given(ai("evident"))
        scene.network.script("evident", LOST)
        scene.network.script("evident", Accepted("e-1", 1_000), verb=Verb.LOOKUP)
        await scene.drain()

        await scene.later(10_000)

        assert await scene.states(task) == ["waiting"]
        assert (await scene.executions(task))[0]["external_id"] == "e-1"

    async def test_without_evidence_after_a_day_the_bound_is_charged(self, scene: Scene) -> None:
        task = await scene.given(ai("evident"))
        budget = await scene.budget(1_000_000)
        scene.network.script("evident", LOST)
        scene.network.script("evident", *[SILENT] * 1_000, verb=Verb.LOOKUP)
        await scene.drain()
        await scene.later(DAY // 2)
        assert (await scene.task(task))["status"] == "waiting"
        assert await scene.books(budget) == (0, PRICE)

        await scene.later(DAY // 2)

        assert (await scene.task(task))["status"] == "failed"
        assert await scene.books(budget) == (PRICE, 0)
        assert (await scene.executions(task))[0]["cost_source"] == "bound"

    async def test_an_unknown_call_is_looked_up_even_after_its_task_moved_on(self, scene: Scene) -> None:
        """Its answer is no longer needed, but its cost is."""
        task = await scene.given(ai("evident"), unknown="retry")
        scene.network.script("evident", LOST)
        scene.network.script(
            "evident", Succeeded({"answer": "late"}, charged=Decimal("0.03")), verb=Verb.LOOKUP
        )
        await scene.finish()
        assert (await scene.task(task))["status"] == "completed"

        await scene.later(60_000)

        late, used = await scene.executions(task)
        assert (late["status"], late["reason"], late["cost_micro"]) == ("cancelled", "late", 30_000)
        assert late["result"] == '{"answer":"late"}'
        assert (await scene.task(task))["last_execution"] == used["id"]
