"""Calls of which nobody knows what became: timeouts, resets, dead workers.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import httpx2
import pytest

from consumer.core.errors import BadInput, Conflict
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.policy import DAY, HOUR, RESOLVE_WITHOUT_EVIDENCE
from consumer.execution import follow_up
from consumer.provider import Verb
from consumer.service import commands, people, queries
from consumer.store.sql import execution_id
from tests.support.fakes import ANSWER, Hold
from tests.support.ports import Crash
from tests.support.scene import LEASE_OVER, PRICE, Scene, Suite, ai, person

LOST = httpx2.ReadError("reset after sending")
SILENT = Unknown("no answer")


class UnknownContract(Suite):
    # --- a model that can tell nothing and honours no key -------------------------------------------

    async def test_a_blind_call_is_retried_once_and_both_reservations_are_kept(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        budget = await scene.budget(1_000_000)
        scene.network.script("blind", LOST)

        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["unknown", "succeeded"]
        assert await scene.books(budget) == (PRICE, PRICE)
        assert scene.network.count() == 2

    async def test_at_its_time_the_reservation_of_the_first_is_charged_as_a_bound(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        budget = await scene.budget(1_000_000)
        scene.network.script("blind", LOST)
        await scene.finish()

        await scene.later(RESOLVE_WITHOUT_EVIDENCE)

        first, second = await scene.executions(task)
        assert (first["status"], first["reason"]) == ("failed", "unknown_outcome")
        assert (first["cost_micro"], first["cost_source"]) == (PRICE, "bound")
        assert (second["status"], second["cost_source"]) == ("succeeded", "declared")
        assert await scene.books(budget) == (2 * PRICE, 0)
        assert (await scene.task(task))["status"] == "completed"

    @pytest.mark.parametrize(("profile", "cost"), [("unpriced", None), ("free", 0)])
    async def test_where_nothing_could_be_reserved_the_cost_stays_unknown_unless_it_is_for_nothing(
        self, scene: Scene, profile: str, cost: int | None
    ) -> None:
        task = await scene.given(ai(profile), unknown="wait")
        scene.network.script(profile, LOST)
        await scene.drain()

        await scene.later(RESOLVE_WITHOUT_EVIDENCE)

        (execution,) = await scene.executions(task)
        assert (execution["reason"], execution["cost_micro"]) == ("unknown_outcome", cost)

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

    async def test_two_unknowns_and_no_other_candidate_fail_the_task_with_both_on_the_books(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", LOST, LOST)
        await scene.finish()

        await scene.later(RESOLVE_WITHOUT_EVIDENCE)

        row = await scene.task(task)
        assert (row["status"], row["reason"]) == ("failed", "unknown_outcome")
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
    async def test_a_task_goes_on_whatever_follows_an_unknown(
        self, scene: Scene, then: list[Retry | Succeeded], calls: int
    ) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", LOST, *then)

        await scene.finish()

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

    async def test_a_charge_that_was_told_with_an_unknown_is_not_lost(self, scene: Scene) -> None:
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
        assert (row["status"], row["lease"], row["lost"]) == ("waiting", None, 0)
        assert (execution["status"], execution["reason"]) == ("unknown", "worker_lost")
        assert await scene.count("leases") == 0

    async def test_a_lease_that_has_just_ended_is_left_alone_for_clocks_that_are_apart(
        self, scene: Scene
    ) -> None:
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

    async def test_a_dead_worker_takes_only_what_was_in_flight_along(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=20)
        hold = Hold()
        scene.network.script("blind", *[Succeeded(ANSWER)] * 7, hold)
        await scene.die(hold)
        in_flight = await scene.sql("SELECT id FROM task_executions WHERE status = 'running'")

        await scene.later(LEASE_OVER)
        await scene.finish()

        assert await scene.statuses() == {"completed": 20}
        assert scene.network.count() == 20 + len(in_flight)

    # --- keys, lookups ------------------------------------------------------------------------------

    async def test_where_keys_are_honoured_the_same_execution_is_repeated_under_the_same_key(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", LOST)
        await scene.drain()
        assert (await scene.task(task))["status"] == "waiting"

        await scene.later(10_000)

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["succeeded"]
        assert [call.key for call in scene.network.calls("keyed")] == [f"bizq-{execution_id(task, 1)}"] * 2
        assert (await scene.executions(task))[0]["cost_micro"] == PRICE

    async def test_a_refusal_of_a_repeated_key_says_nothing_of_the_first_time(self, scene: Scene) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", LOST, Failed("already seen"), Retry("busy"), LOST)
        await scene.drain()
        for _ in range(3):
            await scene.later(60_000)
            assert await scene.states(task) == ["unknown"]

        await scene.later(60_000)

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_key_is_not_repeated_for_a_task_that_was_cancelled(self, scene: Scene) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", LOST)
        await scene.drain()

        await commands.cancel(scene.world, 1, task, "tester")
        await scene.later(DAY)

        assert scene.network.count("keyed") == 1
        assert (await scene.executions(task))[0]["cost_source"] == "bound"

    async def test_a_key_that_is_never_answered_is_charged_as_a_bound_at_its_time(self, scene: Scene) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", *[LOST] * 100)
        await scene.drain()
        for _ in range(10):
            await scene.later(60_000)

        (execution,) = await scene.executions(task)
        assert (execution["reason"], execution["cost_source"]) == ("unknown_outcome", "bound")
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

    async def test_what_was_never_taken_is_tried_again(self, scene: Scene) -> None:
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

    async def test_an_unknown_of_a_task_that_is_gone_on_is_still_looked_up(self, scene: Scene) -> None:
        """Its answer is not needed any more; its cost is."""
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

    # --- a person is asked --------------------------------------------------------------------------

    async def doubted(self, scene: Scene) -> tuple[int, int, str]:
        """A job that was accepted and that nothing more is heard of: its task, a budget, and the person's token."""
        task = await scene.given(ai("job", "other"), job_s=3_600, person_s=7_200)
        budget = await scene.budget(1_000_000)
        scene.network.script("job", Accepted("job-1"))
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.POLL)
        scene.network.script("job", *[SILENT] * 1_000, verb=Verb.CANCEL)
        await scene.drain()
        await scene.later(HOUR)
        assert await scene.states(task) == ["unknown"]
        assert await queries.inbox(scene.world, 1) == []
        await scene.later(DAY)
        (asked,) = await queries.inbox(scene.world, 1)
        assert (asked["kind"], asked["task_id"], asked["profile"]) == ("question", task, "job")
        return task, budget, str(asked["link"]).rpartition("/")[2]

    async def test_a_person_is_asked_about_a_job_that_nothing_is_heard_of(self, scene: Scene) -> None:
        task, budget, token = await self.doubted(scene)

        assert await scene.books(budget) == (0, PRICE)
        assert "waits for a person" in await scene.why(task)
        asked = await people.assignment(scene.world, token)
        assert (asked.kind, asked.state, asked.profile) == ("question", "open", "job")

    async def test_what_the_person_found_is_the_answer_and_nothing_is_paid_again(self, scene: Scene) -> None:
        task, budget, token = await self.doubted(scene)

        receipt = await people.submit(scene.world, token, {"answer": "found"})

        assert receipt.used
        assert await people.submit(scene.world, token, {"answer": "twice"}) == receipt
        assert (await scene.task(task))["status"] == "completed"
        (execution,) = await scene.executions(task)
        assert (execution["result"], execution["cost_source"]) == ('{"answer":"found"}', "bound")
        assert await scene.books(budget) == (PRICE, 0)
        assert (scene.network.count("job"), scene.network.count("other")) == (1, 0)

    async def test_an_answer_that_does_not_fit_leaves_the_question_open(self, scene: Scene) -> None:
        task, _, token = await self.doubted(scene)

        with pytest.raises(BadInput, match="answer"):
            await people.submit(scene.world, token, {"answer": 7})

        assert await scene.states(task) == ["unknown"]

    async def test_what_the_person_says_was_not_done_is_tried_again(self, scene: Scene) -> None:
        task, budget, token = await self.doubted(scene)

        assert not (await people.decline(scene.world, token, "not in their list")).used
        await people.decline(scene.world, token, "again")
        await scene.finish()

        assert (await scene.task(task))["status"] == "completed"
        first, second = await scene.executions(task)
        assert (first["status"], first["reason"]) == ("failed", "declined: not in their list")
        assert (first["cost_source"], second["profile"]) == ("bound", "job")
        assert await scene.books(budget) == (2 * PRICE, 0)

    async def test_a_question_that_nobody_answers_ends_with_the_bound(self, scene: Scene) -> None:
        task, _, token = await self.doubted(scene)

        await scene.later(2 * HOUR)
        await scene.finish()

        first, second = await scene.executions(task)
        assert (first["reason"], first["cost_source"]) == ("unknown_outcome", "bound")
        assert (second["profile"], (await scene.task(task))["status"]) == ("other", "completed")
        with pytest.raises(Conflict, match="has ended: unknown_outcome"):
            await people.decline(scene.world, token, "")
        assert (await people.assignment(scene.world, token)).state == "ended"

    async def test_evidence_that_comes_while_a_person_is_asked_counts(self, scene: Scene) -> None:
        task, _, token = await self.doubted(scene)
        event = ("job", execution_id(task, 1), "event-1", None, '{"output": {"answer": "theirs"}}')

        await follow_up.receive(scene.world, *event)
        await scene.finish()

        (execution,) = await scene.executions(task)
        assert (execution["result"], execution["cost_source"]) == ('{"answer":"theirs"}', "declared")
        assert await queries.inbox(scene.world, 1) == []
        assert (await people.submit(scene.world, token, {"answer": "mine"})).answer == {"answer": "theirs"}

    @pytest.mark.parametrize(("unknown", "asked"), [("ask", 1), ("wait", 0), ("default", 0)])
    async def test_a_template_may_have_a_person_asked_about_any_call(
        self, scene: Scene, unknown: str, asked: int
    ) -> None:
        task = await scene.given(ai("evident"), unknown=unknown)
        scene.network.script("evident", LOST)
        scene.network.script("evident", *[SILENT] * 1_000, verb=Verb.LOOKUP)
        await scene.drain()

        await scene.later(DAY)

        assert len(await queries.inbox(scene.world, 1)) == asked
        assert (await scene.task(task))["status"] == ("waiting" if asked else "failed")

    async def test_nobody_is_asked_about_a_call_that_is_not_needed_any_more(self, scene: Scene) -> None:
        task, _, _ = await self.doubted(scene)

        await commands.cancel(scene.world, 1, task, "tester")

        assert await queries.inbox(scene.world, 1) == []
        await scene.later(2 * HOUR)
        assert (await scene.executions(task))[0]["cost_source"] == "bound"

    async def test_an_answer_after_its_bound_was_charged_is_used_and_paid_once(self, scene: Scene) -> None:
        task = await scene.given(ai("job", "other"), job_s=3_600, unknown="wait")
        budget = await scene.budget(1_000_000)
        scene.network.script("job", Accepted("job-1"))
        for verb in (Verb.POLL, Verb.CANCEL):
            scene.network.script("job", *[SILENT] * 1_000, verb=verb)
        scene.network.script("other", Accepted("other-1"))
        await scene.drain()
        await scene.later(HOUR)
        await scene.later(DAY)
        await scene.finish()
        assert await scene.states(task) == ["failed", "waiting"]
        assert await scene.books(budget) == (PRICE, PRICE)
        event = ("job", execution_id(task, 1), "event-1", None, '{"output": {"answer": "late"}}')

        await follow_up.receive(scene.world, *event)

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.states(task) == ["failed", "waiting", "succeeded"]
        late, _, used = await scene.executions(task)
        assert used["result"] == '{"answer":"late"}'
        assert (late["cost_micro"], late["cost_source"]) == (PRICE, "declared")
        assert used["cost_micro"] == 0
