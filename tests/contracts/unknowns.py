"""Calls of unknown outcome: timeouts, resets, dead workers.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest

from consumer.core.outcome import Failed, Retry, Succeeded, Unknown
from consumer.core.policy import MINUTE, RESOLVE_WITHOUT_EVIDENCE
from tests.support.fakes import ANSWER, LOST, LOST_REASON, Hold
from tests.support.jobs import SILENT
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person


class UnknownContract(Suite):
    # --- a model that offers no look-up and honours no key ------------------------------------------

    async def test_a_blind_call_is_retried_once_and_both_reservations_are_kept(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        budget = await scene.budget(1_000_000)
        scene.network.script("blind", LOST)

        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["unknown", "succeeded"]
        assert await scene.books(budget) == (PRICE, PRICE)
        assert scene.network.count() == 2

    async def test_when_its_time_is_over_the_first_call_is_charged_at_its_bound(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        budget = await scene.budget(1_000_000)
        scene.network.script("blind", LOST)
        await scene.finish()

        await scene.later(RESOLVE_WITHOUT_EVIDENCE)

        first, second = await scene.executions(task)
        assert (first["status"], first["reason"]) == ("failed", f"unknown_outcome: {LOST_REASON}")
        assert (first["cost_micro"], first["cost_source"]) == (PRICE, "bound")
        assert (second["status"], second["cost_source"]) == ("succeeded", "declared")
        assert await scene.books(budget) == (2 * PRICE, 0)
        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize(("profile", "cost"), [("unpriced", None), ("free", 0)])
    async def test_without_a_reservation_the_cost_stays_unknown_unless_the_call_is_free(
        self, scene: Scene, profile: str, cost: int | None
    ) -> None:
        task = await scene.given(ai(profile), unknown="wait")
        scene.network.script(profile, LOST)
        await scene.drain()

        await scene.later(RESOLVE_WITHOUT_EVIDENCE)

        (execution,) = await scene.executions(task)
        assert (execution["reason"], execution["cost_micro"]) == (f"unknown_outcome: {LOST_REASON}", cost)

    async def test_a_second_unknown_waits_and_then_goes_to_the_next_candidate(self, scene: Scene) -> None:
        task = await scene.given(ai("blind", "other"))
        scene.network.script("blind", LOST, LOST)
        await scene.finish()
        assert (await scene.task(task))["status"] == "waiting"
        assert "call is unknown" in await scene.why(task)

        await scene.later(RESOLVE_WITHOUT_EVIDENCE)
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert (scene.network.count("blind"), scene.network.count("other")) == (2, 1)
        assert await scene.states(task) == ["failed", "failed", "succeeded"]

    async def test_two_unknown_calls_without_another_candidate_fail_the_task(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", LOST, LOST)
        await scene.finish()

        await scene.later(RESOLVE_WITHOUT_EVIDENCE)

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", f"unknown_outcome: {LOST_REASON}")
        assert [one["cost_source"] for one in await scene.executions(task)] == ["bound", "bound"]

    @pytest.mark.parametrize(
        ("then", "calls"),
        [
            ([Retry("busy")], 3),
            ([Retry("busy"), Retry("busy")], 4),
            ([Succeeded({"answer": 7})], 3),
            ([Succeeded({"answer": 7}), Retry("busy")], 4),
        ],
        ids=["retry", "two retries", "repair", "repair and retry"],
    )
    async def test_a_task_continues_after_any_outcome_that_follows_an_unknown(
        self, scene: Scene, then: list[Retry | Succeeded], calls: int
    ) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", LOST, *then)

        await scene.finish()
        await scene.later(MINUTE)  # after three failures in a row the profile rests

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("blind") == calls
        assert await scene.count("leases") == 0

    async def test_a_failure_after_an_unknown_goes_to_the_next_candidate(self, scene: Scene) -> None:
        task = await scene.given(ai("blind", "other"))
        scene.network.script("blind", LOST, Failed("no"))

        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["unknown", "failed", "succeeded"]

    async def test_the_next_stage_begins_though_an_earlier_call_is_still_unknown(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), person(kind="review"))
        scene.network.script("blind", LOST)

        await scene.finish()

        assert await scene.states(task) == ["unknown", "succeeded", "waiting"]
        assert (await scene.task(task))["status"] == "waiting"

    async def test_a_worker_that_dies_between_an_unknown_and_its_retry_loses_nothing(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"), ai("other"))
        hold = Hold()
        scene.network.script("blind", LOST)
        scene.network.script("other", hold)
        await scene.drain()
        await scene.die(hold)
        await scene.later(LEASE_OVER)
        await scene.later(LEASE_OVER + RESOLVE_WITHOUT_EVIDENCE)
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize("batch", range(1, 9))
    async def test_a_worker_that_dies_anywhere_around_an_unknown_loses_nothing(
        self, scene: Scene, batch: int
    ) -> None:
        task = await scene.given(ai("blind", "keyed"), ai("other", "keyed"))
        scene.network.script("blind", LOST)
        scene.database.fail(batch, after=True, error=Crash())
        with suppress(Crash):
            await scene.finish()

        for _ in range(6):
            await scene.later(LEASE_OVER)

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.count("leases") == 0

    async def test_a_template_may_ask_to_wait_for_a_blind_call(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), unknown="wait")
        scene.network.script("blind", LOST)

        await scene.finish()

        assert (await scene.task(task))["status"] == "waiting"
        assert scene.network.count() == 1
        await scene.later(RESOLVE_WITHOUT_EVIDENCE)
        assert (await scene.task(task))["status"] == "failed"

    async def test_a_template_may_ask_to_retry_what_could_be_looked_up(self, scene: Scene) -> None:
        task = await scene.given(ai("evident"), unknown="retry")
        scene.network.script("evident", SILENT)

        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("evident") == 2

    async def test_a_charge_reported_with_an_unknown_outcome_is_kept(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), unknown="wait")
        scene.network.script("blind", Unknown("half an answer", charged=Decimal("0.25")))

        await scene.finish()
        await scene.later(RESOLVE_WITHOUT_EVIDENCE)

        (execution,) = await scene.executions(task)
        assert execution["cost_micro"] == 250_000

    # --- a worker dies ------------------------------------------------------------------------------

    async def test_a_call_whose_worker_died_is_unknown_and_its_task_waits(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind"), unknown="wait"), Hold()
        scene.network.script("blind", hold)
        await scene.die(hold)
        assert await scene.states(task) == ["running"]
        scene.clock.advance(LEASE_OVER)

        await scene.tick()

        row, (execution,) = await scene.task(task), await scene.executions(task)
        assert (row["status"], row["lease"], row["lost_leases"]) == ("waiting", None, 0)
        assert (execution["status"], execution["reason"]) == ("unknown", "worker_lost")
        assert await scene.count("leases") == 0

    async def test_a_lease_that_has_just_expired_is_kept_because_clocks_differ(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        await scene.die(hold)
        scene.clock.advance(scene.world.config.lease_ms + 29_000)

        await scene.tick()

        assert (await scene.task(task))["status"] == "running"

    async def test_a_blind_call_whose_worker_died_is_repeated_once(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        scene.network.script("blind", hold)
        await scene.die(hold)

        await scene.later(LEASE_OVER)
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["unknown", "succeeded"]
        assert scene.network.count() == 2

    async def test_a_dead_worker_affects_only_the_calls_in_flight(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=20)
        hold = Hold()
        scene.network.script("blind", *[Succeeded(ANSWER)] * 7, hold)
        await scene.die(hold)
        in_flight = await scene.sql("SELECT id FROM task_executions WHERE status = 'running'")

        await scene.later(LEASE_OVER)
        await scene.finish()

        assert await scene.statuses() == {"completed": 20}
        assert scene.network.count() == 20 + len(in_flight)
