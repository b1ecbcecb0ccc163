"""What a run writes, publishes and acknowledges.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest

from consumer.core.money import Usage
from consumer.core.outcome import Failed, Succeeded
from consumer.core.times import iso
from consumer.run.run import Run
from consumer.store.sql import execution_id
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import PRICE, Scene, Suite, ai, route, until


class RunContract(Suite):
    async def test_a_success_writes_task_execution_cost_and_times(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        now = iso(scene.clock.ms)

        await scene.drain()

        row, (execution,) = await scene.task(task), await scene.executions(task)
        assert {
            name: row[name] for name in ("status", "version", "lease", "last_execution", "updated_at")
        } == {
            "status": "completed",
            "version": 2,
            "lease": None,
            "last_execution": execution["id"],
            "updated_at": now,
        }
        expected = {
            "id": execution_id(task, 1),
            "execution_type": "ai",
            "provider": "blind",
            "profile": "blind",
            "status": "succeeded",
            "result": json.dumps(ANSWER, separators=(",", ":")),
            "cost": 0.01,
            "cost_micro": PRICE,
            "cost_source": "declared",
            "started_at": now,
            "completed_at": now,
            "wake_at_ms": None,
        }
        assert {name: execution[name] for name in expected} == expected

    async def test_a_success_leaves_no_lease_and_no_outbox_behind(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=12)

        await scene.drain()

        assert (await scene.count("leases"), await scene.count("outbox")) == (0, 0)

    async def test_a_task_done_within_a_second_is_published_once(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))

        await scene.ring()

        ((key, _, ttl),) = scene.kv.puts
        assert (key, ttl) == (await scene.status_key(task), scene.world.config.status_ttl_s)
        shown = await scene.live(task)
        expected = {
            "task": task,
            "identity": (await scene.task(task))["identity"],
            "organization": 1,
            "status": "completed",
            "version": 2,
            "provider": "blind",
            "cost_micro": PRICE,
            "reason": None,
            "updated_at": iso(scene.clock.ms),
        }
        assert {name: shown[name] for name in expected} == expected

    async def test_a_task_that_takes_longer_is_published_as_running_too(self, scene: Scene) -> None:
        slow = await scene.given(ai("blind"), count=2)
        first, second = Hold(), Hold()

        async def is_published() -> bool:
            return (slow, "running", 1) in self._published(scene)

        scene.network.script("blind", first, second)
        async with scene.draining():
            await second.begun.wait()
            scene.clock.advance(1_000)
            second.release()  # each time a call ends, the others are checked
            await until(is_published)
            first.release()

        assert sorted(self._published(scene)) == [
            (slow, "completed", 2),
            (slow, "running", 1),
            (slow + 1, "completed", 2),
        ]

    def _published(self, scene: Scene) -> list[tuple[int, str, int]]:
        values = [json.loads(value) for _, value, _ in scene.kv.puts]
        return [(value["task"], value["status"], value["version"]) for value in values]

    async def test_each_message_is_acknowledged_exactly_once(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=3)

        messages = await scene.ring({"v": 1}, {"v": 1, "task": task}, {"v": 1, "task": 10**15})

        assert [message.verdicts for message in messages] == [["ack"]] * 3
        assert scene.network.count() == 3

    async def test_a_doorbell_with_nothing_to_do_is_acknowledged_and_writes_nothing(
        self, scene: Scene
    ) -> None:
        (message,) = await scene.ring()

        assert message.verdicts == ["ack"]
        assert await scene.count("leases") == 0
        assert scene.queue.sent == []

    async def test_a_doorbell_that_is_delivered_twice_does_the_work_once(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=5)

        await asyncio.gather(scene.ring(), scene.ring())
        await scene.ring()

        assert scene.network.count() == 5
        assert await scene.statuses() == {"completed": 5}

    async def test_one_doorbell_does_all_due_tasks(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=64)

        await scene.ring()

        assert await scene.statuses() == {"completed": 64}

    async def test_no_more_calls_are_in_flight_than_the_platform_has_connections(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=30)
        now = most = 0

        async def count(_: object) -> Succeeded:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            return Succeeded(ANSWER)

        scene.network.script("blind", *[count] * 30)

        await scene.drain()

        assert 1 < most <= scene.world.config.connections
        assert await scene.statuses() == {"completed": 30}

    async def test_a_call_is_never_sent_before_its_intent_is_written(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        seen: list[str] = []

        async def look(_: object) -> Succeeded:
            seen.extend(await scene.states(task))
            return Succeeded(ANSWER)

        scene.network.script("blind", look)

        await scene.drain()

        assert seen == ["running"]

    async def test_an_invocation_at_its_statement_limit_leaves_the_rest_to_the_next(
        self, scene: Scene
    ) -> None:
        scene.configure(statements=20)
        await scene.given(ai("blind"), count=50)

        summary = await scene.drain()

        assert summary.more
        assert 0 < (await scene.statuses())["completed"] < 50
        assert (await scene.statuses())["pending"] + (await scene.statuses())["completed"] == 50
        assert scene.queue.delays == [0]

    async def test_a_worker_that_is_stopped_ends_its_calls_as_unknown(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), unknown="wait")
        hold, stopped = Hold(), False
        scene.network.script("blind", hold)
        run = Run(scene.world, stopping=lambda: stopped)
        working = asyncio.create_task(run.drain())
        await hold.begun.wait()
        stopped = True
        run.flight.wake.set()

        await asyncio.wait_for(working, 10)

        assert (await scene.task(task))["status"] == "waiting"
        assert await scene.states(task) == ["unknown"]
        assert await scene.count("leases") == 0

    # --- money --------------------------------------------------------------------------------------

    async def test_a_charge_reported_by_the_provider_replaces_the_price(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        usage = Usage(3, 4, raw={"prompt_tokens": 3})
        scene.network.script("blind", Succeeded(ANSWER, usage=usage, charged=Decimal("0.0000011")))

        await scene.drain()

        (execution,) = await scene.executions(task)
        assert (execution["cost_micro"], execution["cost_source"]) == (2, "provider")
        assert json.loads(execution["usage"]) == {"prompt_tokens": 3}

    async def test_an_unknown_price_is_null_and_not_zero(self, scene: Scene) -> None:
        task = await scene.given(ai("unpriced"))

        await scene.drain()

        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost"], execution["cost_micro"]) == ("succeeded", None, None)
        assert (await scene.live(task))["cost_micro"] is None

    async def test_the_cost_of_a_charged_failure_is_recorded(self, scene: Scene) -> None:
        task = await scene.given(ai("blind", "other"))
        scene.network.script("blind", Failed("no", charged=Decimal("0.5")))

        await scene.drain()

        assert [row["cost_micro"] for row in await scene.executions(task)] == [500_000, PRICE]
        assert (await scene.live(task))["cost_micro"] == 500_000 + PRICE

    # --- the status store ---------------------------------------------------------------------------

    async def test_an_outage_of_the_status_store_fails_no_task_and_is_caught_up(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=3)
        scene.kv.down = True
        (message,) = await scene.ring()
        assert message.verdicts == ["ack"]
        assert await scene.statuses() == {"completed": 3}
        assert await scene.count("leases") == 0

        scene.kv.down = False
        await scene.later(5_000)

        assert [(await scene.live(one))["status"] for one in range(task, task + 3)] == ["completed"] * 3
        assert await scene.count("outbox") == 0

    async def test_a_status_that_cannot_be_written_stays_in_the_outbox(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        scene.kv.down = True
        await scene.drain()

        await scene.later(5_000)
        await scene.later(600_000)

        assert await scene.count("outbox") == 1

    async def test_a_queue_that_is_down_fails_no_task(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.queue.down = True

        await scene.ring()
        await scene.tick()

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_templates_own_prompt_is_sent(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")), prompt="Is {{input.what}} so?")
        await scene.tasks(1, template, input='{"what": "{{title}}"}')

        await scene.drain()

        assert [call.prompt for call in scene.network.calls("blind")] == ["Is {{title}} so?"]

    @pytest.mark.parametrize("title", ["naïve 🧠", "'; DROP TABLE tasks; --", "\u2028", "x" * 500])
    async def test_any_title_reaches_the_provider_unchanged(self, scene: Scene, title: str) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("echo")), schema={"type": "object"})
        (task,) = await scene.tasks(1, template, title=title)

        await scene.drain()

        (execution,) = await scene.executions(task)
        assert json.loads(execution["result"])["title"] == title
