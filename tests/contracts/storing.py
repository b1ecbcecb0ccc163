"""Large results, results that a row cannot hold, and tasks whose rows the database refuses.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from consumer.core.money import Usage
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.policy import DAY, HOUR
from consumer.core.strictjson import parse_json
from consumer.execution.settle import INLINE_RESULT_MAX
from consumer.provider import Verb
from consumer.service import queries
from consumer.store.sql import execution_id
from tests.support.fakes import ANSWER, Hold
from tests.support.jobs import DONE
from tests.support.scene import PRICE, Scene, Suite, ai

LARGE = {"answer": "x" * (INLINE_RESULT_MAX + 1)}


class StoringContract(Suite):
    # --- large results ------------------------------------------------------------------------------

    async def test_a_large_output_lives_with_the_blobs(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Succeeded(LARGE))

        await scene.drain()

        (execution,) = await scene.executions(task)
        (key,) = scene.blobs.keys
        assert key.startswith(f"results/{execution_id(task, 1)}")
        assert (execution["result"], execution["result_key"]) == (None, key)
        stored = await scene.blobs.get(key)
        assert stored is not None
        assert json.loads(stored) == LARGE
        assert (await queries.task(scene.world, 1, task))["outcome"] == LARGE

    async def test_an_output_of_exactly_the_inline_limit_stays_in_its_row(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        fits = {"answer": "é" * ((INLINE_RESULT_MAX - len('{"answer":""}')) // 2)}
        scene.network.script("blind", Succeeded(fits))

        await scene.drain()

        assert (await scene.executions(task))[0]["result_key"] is None
        assert (await queries.task(scene.world, 1, task))["outcome"] == fits

    async def test_a_large_output_feeds_the_next_stage(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("other"))
        scene.network.script("blind", Succeeded(LARGE))
        scene.network.script("other", Retry("busy", 1_000))

        await scene.drain()
        await scene.later(2_000)

        assert [call.value for call in scene.network.calls("other")] == [LARGE] * 2
        assert (await scene.task(task))["status"] == "completed"

    async def test_an_answer_is_written_before_its_settle(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        scene.network.script("blind", Succeeded(LARGE))
        seen: list[bool] = []
        scene.database.watch = lambda _: seen.append(bool(scene.blobs.keys))

        await scene.drain()

        assert seen[:2] == [False, False]
        assert True in seen

    async def test_a_large_answer_that_comes_second_does_not_replace_the_first(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("job")), Hold(Succeeded({"answer": "b" * 100_000}))
        scene.network.script("job", Accepted("job-1", 1_000))
        scene.network.script("job", hold, verb=Verb.POLL)
        await scene.drain()
        scene.clock.advance(1_000)
        async with scene.draining():
            await hold.begun.wait()
            await scene.webhook(task, "event-1", {"output": LARGE})
            await scene.drain()
            hold.release()

        assert (await queries.task(scene.world, 1, task))["outcome"] == LARGE

    async def test_blobs_that_are_down_lose_no_answer(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=3)
        scene.network.script("blind", Succeeded(LARGE))
        scene.blobs.down = True

        await scene.drain()

        assert await scene.statuses() == {"completed": 3}
        assert scene.network.count() == 3
        assert (await queries.task(scene.world, 1, task))["outcome"] == LARGE

    @pytest.mark.parametrize("size", [1_000_000, 1_900_000, 3_900_000])
    async def test_an_answer_that_no_row_can_hold_survives_an_outage_of_the_blobs(
        self, scene: Scene, size: int
    ) -> None:
        answer = {"answer": "é" * (size // 2)}
        task = await scene.given(ai("blind"), ai("other"))
        scene.network.script("blind", Succeeded(answer))
        scene.blobs.down = True
        await scene.drain()
        assert (await queries.history(scene.world, 1, task))["executions"][0]["result"] == answer
        scene.blobs.down = False

        assert (await scene.task(task))["status"] == "completed"
        assert (await queries.history(scene.world, 1, task))["executions"][0]["result"] == answer
        assert scene.network.calls("other")[0].value == answer

    async def test_a_task_whose_input_cannot_be_read_waits_and_stops_no_other(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("other"))
        scene.network.script("blind", Succeeded(LARGE))
        scene.network.script("other", Retry("busy", 1_000))
        await scene.drain()
        innocent = await scene.given(ai("blind"), count=5)
        scene.blobs.down = True

        await scene.later(2_000)

        assert (await scene.task(innocent))["status"] == "completed"
        scene.blobs.down = False
        assert "cannot be read at the moment" in await scene.why(task)
        await scene.later(60_000)
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_task_whose_input_is_gone_fails_and_stops_no_other(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("other"))
        scene.network.script("blind", Succeeded(LARGE))
        scene.network.script("other", Retry("busy", 1_000))
        await scene.drain()
        await scene.blobs.delete(scene.blobs.keys[0])
        await scene.given(ai("blind"), count=5)

        await scene.later(2_000)

        assert await scene.statuses() == {"failed": 1, "completed": 5}
        assert "result" in await scene.why(task)

    # --- unstorable results --------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "poison",
        [
            Succeeded({"answer": "x", "more": {1, 2}}),
            Succeeded({"answer": "x", "more": float("nan")}),
            Succeeded({"answer": "x", "more": b"bytes"}),
            Succeeded({"answer": "x", "more": Decimal(1)}),
        ],
        ids=["set", "nan", "bytes", "decimal"],
    )
    async def test_an_answer_that_is_not_json_is_unstorable_and_affects_no_other(
        self, scene: Scene, poison: Succeeded
    ) -> None:
        task = await scene.given(ai("blind"), count=10)
        scene.network.script("blind", poison)

        await scene.drain()

        assert await scene.statuses() == {"failed": 1, "completed": 9}
        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["reason"], execution["result"]) == (
            "failed",
            "unstorable",
            None,
        )
        assert execution["cost_micro"] == PRICE
        assert scene.network.count() == 10

    @pytest.mark.parametrize(
        "raw",
        [{"n": float("nan")}, {"n": {1}}, {"n": "x" * 3_000_000}],
        ids=["nan", "set", "3 MB"],
    )
    async def test_a_usage_that_cannot_be_kept_costs_no_answer(
        self, scene: Scene, raw: dict[str, Any]
    ) -> None:
        task = await scene.given(ai("blind"), count=3)
        scene.network.script("blind", Succeeded(ANSWER, usage=Usage(1, 1, raw=raw)))

        await scene.drain()

        assert await scene.statuses() == {"completed": 3}
        assert scene.network.count() == 3
        assert (await scene.executions(task))[0]["cost_micro"] == PRICE

    @pytest.mark.parametrize("text", ["\0", "\ud800", "naïve 🧠", "'; --", "\u2028"])
    async def test_any_text_of_an_answer_is_kept_as_it_is(self, scene: Scene, text: str) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Succeeded({"answer": text}))

        await scene.drain()

        assert parse_json((await scene.executions(task))[0]["result"]) == {"answer": text}

    @pytest.mark.parametrize(
        "outcome",
        [Failed("\0 \ud800 " + "x" * 100_000), Retry("\0\ud800", 1), Accepted("\0\ud800" + "x" * 100_000)],
        ids=["failed", "retry", "accepted"],
    )
    async def test_any_text_of_a_provider_can_be_stored(
        self, scene: Scene, outcome: Failed | Retry | Accepted
    ) -> None:
        await scene.given(ai("job", "blind"), count=3)
        scene.network.script("job", outcome)

        await scene.drain()

        assert scene.network.count("job") == 3
        assert (await scene.statuses())["completed"] >= 2

    async def test_an_answer_that_the_database_refuses_keeps_its_cost_and_affects_no_other(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"), count=10)
        scene.network.script("blind", Succeeded({"answer": "POISON"}))
        scene.database.refuse("POISON")

        await scene.drain()

        assert await scene.statuses() == {"failed": 1, "completed": 9}
        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["reason"]) == ("failed", "unstorable")
        assert execution["cost_micro"] == PRICE
        assert scene.network.count() == 10
        assert await scene.count("leases") == 0

    async def test_a_late_answer_that_the_database_refuses_leaves_its_cost(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600, unknown="wait")
        scene.network.script("job", Accepted("job-1"))
        for verb in (Verb.CANCEL, Verb.POLL, Verb.LOOKUP):
            scene.network.script("job", *[Unknown("?")] * 100, verb=verb)
        scene.network.script("other", Retry("busy", HOUR))
        await scene.drain()
        await scene.later(HOUR)
        await scene.later(DAY)
        states = await scene.states(task)
        assert states[0] == "failed"
        assert (await scene.task(task))["status"] == "pending"
        scene.database.refuse("late_of")

        await scene.webhook(task, "event-1", DONE)

        late, *_ = await scene.executions(task)
        assert (late["cost_source"], late["cost_micro"]) == ("declared", PRICE)
        assert await scene.states(task) == states
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []

    async def test_an_answer_whose_every_write_is_refused_affects_no_other(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=10)
        await scene.sql(
            "CREATE TRIGGER test_refuse BEFORE UPDATE OF status ON task_executions"
            " WHEN NEW.task_id = 3 BEGIN SELECT RAISE(ABORT, 'test'); END"
        )
        try:
            await scene.finish()
        finally:
            await scene.sql("DROP TRIGGER test_refuse")

        assert (await scene.statuses())["completed"] == 9
        assert scene.network.count() == 10

    async def test_a_begin_that_the_database_refuses_fails_only_its_task(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=10)
        scene.database.refuse(f'"execution":{execution_id(task + 4, 1)}')

        await scene.drain()

        assert await scene.statuses() == {"failed": 1, "completed": 9}
        assert (await scene.task(task + 4))["reason"] == "unstorable"
        assert await scene.count("leases") == 0
