"""Retries, repairs, candidates and stages.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.core.outcome import Accepted, Failed, Outcome, Retry, Succeeded, Unknown
from consumer.core.policy import HOUR, LONGEST_WAIT, MINUTE, SECOND
from consumer.core.times import iso
from consumer.provider import Call
from consumer.service import submissions
from consumer.store.sql import execution_id, task_of
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import PRICE, Scene, Suite, ai, route, until

WRONG = Succeeded({"answer": 7})


class RouteContract(Suite):
    # --- retries ------------------------------------------------------------------------------------

    async def test_a_retry_waits_with_backoff_and_jitter(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.entropy.value = 0.5
        scene.network.script("blind", Retry("busy"), Retry("busy"))
        waits = []
        for _ in range(2):
            await scene.drain()
            row = await scene.task(task)
            waits.append(row["run_at_ms"] - scene.clock.ms)
            assert (row["status"], row["reason"], row["lease"]) == ("pending", "busy", None)
            scene.clock.ms = row["run_at_ms"]
        await scene.drain()

        assert waits == [500, 1_000]
        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["failed", "failed", "succeeded"]
        assert [row["attempt"] for row in await scene.executions(task)] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("wish", "wait"), [(30_000, 30_500), (0, 500), (90 * 86_400_000, LONGEST_WAIT + 500)]
    )
    async def test_a_retry_waits_at_least_as_long_as_the_provider_asks(
        self, scene: Scene, wish: int, wait: int
    ) -> None:
        task = await scene.given(ai("blind"))
        scene.entropy.value = 0.5
        scene.network.script("blind", Retry("busy", wish))

        await scene.drain()

        assert (await scene.task(task))["run_at_ms"] - scene.clock.ms == wait

    async def test_a_doorbell_rings_when_the_retry_is_due(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        scene.network.script("blind", Retry("busy", 30_000))

        await scene.drain()

        assert scene.queue.delays == [30]

    async def test_a_distant_retry_is_left_to_the_sweep(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Retry("busy", 60 * MINUTE))
        await scene.drain()
        assert scene.queue.sent == []

        scene.clock.advance(60 * MINUTE)
        await scene.tick()
        await scene.drain()

        assert scene.queue.delays == [0]
        assert (await scene.task(task))["status"] == "completed"

    async def test_the_live_status_shows_when_and_why_a_retry_comes(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", Retry("busy", 30_000))

        await scene.drain()

        assert ((await scene.live(task))["status"], (await scene.live(task))["reason"]) == ("pending", "busy")
        assert "tried again at" in await scene.why(task)
        assert "busy" in await scene.why(task)

    async def test_attempts_are_limited_then_the_next_candidate_is_asked_then_the_task_fails(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind", "other"), attempts=2)
        scene.network.script("blind", *[Retry("busy")] * 10)
        scene.network.script("other", *[Retry("full")] * 10)

        await scene.finish()

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "full")
        assert (scene.network.count("blind"), scene.network.count("other")) == (2, 2)
        assert (await scene.live(task))["status"] == "failed"

    async def test_a_retry_after_the_deadline_fails_the_task_immediately(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        (task,) = await scene.tasks(1, template, deadline_ms=scene.clock.ms + MINUTE)
        scene.network.script("blind", Retry("busy", 2 * MINUTE))

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "deadline: busy")

    @pytest.mark.parametrize(("limits", "seconds"), [({}, 120), ({"task_s": 600}, 120), ({"task_s": 60}, 60)])
    async def test_a_task_ends_at_its_own_deadline_or_at_its_templates_limit(
        self, scene: Scene, limits: dict[str, Any], seconds: int
    ) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("job")), **limits)
        scene.network.script("job", Accepted("job-1", HOUR))
        deadline = iso(scene.clock.ms + 2 * MINUTE)
        new = {"organization": 1, "template": template, "title": "t", "deadline": deadline}
        (made,) = await submissions.submit(scene.world, None, [new])
        await scene.drain()

        await scene.later((seconds - 1) * SECOND)
        assert (await scene.task(made.id))["status"] == "waiting"
        await scene.later(SECOND)

        row = await scene.task(made.id)
        assert (row["status"], row["reason"]) == ("failed", "deadline")

    # --- candidates ---------------------------------------------------------------------------------

    async def test_a_failure_goes_to_the_next_candidate_under_the_same_lease(self, scene: Scene) -> None:
        task = await scene.given(ai("blind", "other", "keyed"))
        scene.network.script("blind", Failed("no"))
        scene.network.script("other", Failed("neither"))

        summary = await scene.drain()

        assert summary.claimed == 1
        assert await scene.states(task) == ["failed", "failed", "succeeded"]
        assert [row["reason"] for row in await scene.executions(task)] == ["no", "neither", None]
        assert (await scene.task(task))["version"] == 4
        assert len(scene.kv.puts) == 1

    async def test_when_no_candidate_is_left_the_task_fails_with_the_last_reason(self, scene: Scene) -> None:
        task = await scene.given(ai("blind", "other"))
        scene.network.script("blind", Failed("no"))
        scene.network.script("other", Failed("neither"))

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "neither")
        assert "neither" in await scene.why(task)

    async def test_a_route_that_became_shorter_fails_the_task(self, scene: Scene) -> None:
        task = await scene.given(ai("blind", "other"))
        scene.network.script("blind", Retry("busy"))
        await scene.sql("UPDATE tasks SET candidate = 1")
        await scene.sql("UPDATE task_templates SET route = ?1", json.dumps(route(ai("blind"))))

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["reason"].partition(":")[0]) == ("failed", "no_candidate")

    async def test_a_task_has_at_most_a_thousand_executions(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql(
            "INSERT INTO task_executions (id, task_id, execution_type, status) VALUES (?1, ?2, 'ai', 'failed')",
            execution_id(task, 1000),
            task,
        )

        await scene.drain()

        assert (await scene.task(task))["status"] == "failed"
        assert scene.network.count() == 0

    # --- repairs ------------------------------------------------------------------------------------

    async def test_an_answer_that_does_not_fit_is_repaired_with_an_explanation(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", WRONG)

        await scene.drain()

        first, second = scene.network.calls("blind")
        assert first.feedback is None
        assert "answer must be text" in str(second.feedback)
        assert (await scene.task(task))["status"] == "completed"
        wrong, right = await scene.executions(task)
        assert (wrong["status"], wrong["reason"].partition(":")[0]) == ("failed", "invalid_output")
        assert (wrong["cost_micro"], right["cost_micro"]) == (PRICE, PRICE)
        assert (await scene.live(task))["cost_micro"] == 2 * PRICE

    async def test_two_repairs_then_the_next_candidate_then_the_task_fails(self, scene: Scene) -> None:
        task = await scene.given(ai("blind", "other"))
        scene.network.script("blind", *[WRONG] * 9)
        scene.network.script("other", *[WRONG] * 9)

        await scene.drain()

        row = await scene.task(task)
        assert (row["status"], row["reason"].partition(":")[0]) == ("failed", "invalid_output")
        assert (scene.network.count("blind"), scene.network.count("other")) == (3, 3)
        assert [row["cost_micro"] for row in await scene.executions(task)] == [PRICE] * 6

    async def test_the_next_candidate_does_not_get_the_faults_of_the_previous_one(self, scene: Scene) -> None:
        await scene.given(ai("blind", "other"), repairs=0)
        scene.network.script("blind", WRONG)

        await scene.drain()

        assert [call.feedback for call in scene.network.calls("other")] == [None]

    async def test_a_retry_between_repairs_keeps_both_counts(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", WRONG, Retry("busy"), WRONG, WRONG)

        await scene.finish()

        assert (await scene.task(task))["status"] == "failed"
        assert scene.network.count("blind") == 4

    async def test_a_retry_repeats_the_explanation_of_the_fault(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        scene.network.script("blind", WRONG, Retry("busy", 1_000), Unknown("lost"))

        await scene.drain()
        await scene.later(2_000)
        await scene.finish()

        feedback = [str(call.feedback) for call in scene.network.calls("blind")]
        assert feedback[0] == "None"
        assert ["must be text" in words for words in feedback] == [False, True, True, True]

    async def test_a_repetition_under_its_key_sends_the_same_request(self, scene: Scene) -> None:
        await scene.given(ai("keyed"))
        scene.network.script("keyed", WRONG, Unknown("lost"))

        await scene.finish()
        await scene.later(10_000)

        _, lost, repeated = scene.network.calls("keyed")
        assert (lost.key, lost.feedback, lost.value) == (repeated.key, repeated.feedback, repeated.value)
        assert lost.feedback is not None

    # --- stages -------------------------------------------------------------------------------------

    async def test_the_output_of_a_stage_is_the_input_of_the_next(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("other"), ai("keyed"))
        scene.network.script("blind", Succeeded({"answer": "first"}))
        scene.network.script("other", Succeeded({"answer": "second"}))

        await scene.drain()

        assert [call.value for call in scene.network.calls("other")] == [{"answer": "first"}]
        assert [call.value for call in scene.network.calls("keyed")] == [{"answer": "second"}]
        assert [row["stage"] for row in await scene.executions(task)] == [0, 1, 2]
        assert len(scene.kv.puts) == 1

    async def test_a_later_stage_that_is_retried_still_gets_the_output_of_the_one_before(
        self, scene: Scene
    ) -> None:
        await scene.given(ai("blind"), ai("other"))
        scene.network.script("blind", Succeeded({"answer": "first"}))
        scene.network.script("other", Retry("busy", 1_000), Retry("busy", 1_000))

        await scene.drain()
        await scene.later(2_000)
        await scene.later(2_000)

        assert [call.value for call in scene.network.calls("other")] == [{"answer": "first"}] * 3

    async def test_the_result_of_a_task_is_the_answer_of_its_last_stage(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("other"))
        scene.network.script("other", Succeeded({"answer": "last"}))

        await scene.drain()

        row = await scene.task(task)
        assert row["last_execution"] == execution_id(task, 2)
        assert json.loads((await scene.executions(task))[1]["result"]) == {"answer": "last"}

    async def test_a_failed_stage_does_not_return_to_an_earlier_one(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), ai("other"))
        scene.network.script("other", Failed("no"))

        await scene.drain()

        assert (await scene.task(task))["status"] == "failed"
        assert scene.network.count("blind") == 1
        assert await scene.states(task) == ["succeeded", "failed"]

    async def test_tasks_of_one_batch_take_different_paths(self, scene: Scene) -> None:
        """One task is slow, one is repaired, one is retried, one fails; none waits for another."""
        task = await scene.given(ai("blind", "other"), count=5)
        hold = Hold()

        def by_task(call: Call) -> Outcome:
            played: dict[int, Outcome] = {1: WRONG, 2: Retry("busy", 60_000), 3: Failed("no")}
            return played.get(task_of(call.execution_id) - task, Succeeded(ANSWER))

        async def three_are_done() -> bool:
            return (await scene.statuses()).get("completed", 0) == 3

        scene.network.script("blind", hold, *[by_task] * 4)
        scene.network.script("blind", *[Succeeded(ANSWER)] * 2)
        async with scene.draining():
            await hold.begun.wait()
            await until(three_are_done)
            assert (await scene.task(task))["status"] == "running"
            hold.release()

        assert await scene.statuses() == {"completed": 4, "pending": 1}
