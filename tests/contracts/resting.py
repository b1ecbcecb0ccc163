"""Profiles that fail, get too many calls, or have limits of their own.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx2

from consumer.core.outcome import Outcome, Retry, Succeeded
from consumer.core.policy import HOUR, MINUTE, NEVER, SECOND
from consumer.core.profile import accounts
from consumer.run.run import Run
from consumer.service import doctor
from consumer.store.sql import task_of
from tests.contracts.replies import GOOD
from tests.support.fakes import ANSWER, Hold
from tests.support.scene import PROFILES, Scene, Suite, ai, route, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumer.provider import Call
    from consumer.run.begin import Intent

GOOD_ANSWER = Succeeded(ANSWER)
DOWN = Retry("http_503: down")


def down_until(scene: Scene, end_ms: int) -> Callable[[Call], Outcome]:
    """A provider that refuses every call until a time."""
    return lambda _: DOWN if scene.clock.ms < end_ms else Succeeded(ANSWER)


async def minutes_pass(scene: Scene, minutes: int) -> None:
    """Let cron and the consumer work for some minutes."""
    for _ in range(minutes):
        scene.clock.advance(MINUTE)
        await scene.tick()
        await scene.finish()


class RestContract(Suite):
    async def test_healthy_work_writes_no_state(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=12)

        await scene.drain()

        assert await scene.count("rests") == 0

    async def test_a_failure_during_a_round_trip_is_written_by_the_next_one(self, scene: Scene) -> None:
        traffic, now = Run(scene.world).traffic, scene.clock.now_ms()
        account = scene.world.accounts["blind"]
        ended = cast(
            "Intent",
            SimpleNamespace(
                account=account, immediate_outcome=None, started_ms=now, task=SimpleNamespace(organization=1)
            ),
        )

        assert traffic.statements(now) == []  # the batch is sent,
        traffic.note(ended, DOWN, now)  # a call ends in the meantime,
        traffic.read([])  # and the states come back as they were before

        await scene.world.write(*traffic.statements(now))
        assert [row["failures"] for row in await scene.sql("SELECT failures FROM rests")] == [1]

    async def test_a_provider_that_is_down_for_an_hour_costs_no_task(self, scene: Scene) -> None:
        first = await scene.given(ai("blind"), count=40)
        end = scene.clock.ms + HOUR
        scene.network.script("blind", *[down_until(scene, end)] * 1_000)

        await scene.finish()
        await minutes_pass(scene, 59)
        calls = scene.network.count()
        await minutes_pass(scene, 8)

        assert await scene.statuses() == {"completed": 40}
        assert calls < 40
        assert len(await scene.executions(first + 39)) <= 3

    async def test_a_single_task_outlives_the_hour_too(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        scene.network.script("blind", *[down_until(scene, scene.clock.ms + HOUR)] * 100)

        await scene.finish()
        await minutes_pass(scene, 70)

        assert (await scene.task(task))["status"] == "completed"

    async def test_failing_calls_of_one_organization_do_not_keep_another_from_the_profile(
        self, scene: Scene
    ) -> None:
        first = await scene.given(ai("blind"), count=30)
        scene.network.script(
            "blind", *[lambda call: DOWN if task_of(call.execution_id) < first + 30 else GOOD_ANSWER] * 99
        )
        await scene.drain()
        assert await scene.count("rests") == 1
        await scene.organization(2)

        others = await scene.tasks(
            3, await scene.template(route(ai("blind")), organization=2), organization=2
        )
        await scene.drain()

        assert [(await scene.task(task))["status"] for task in others] == ["completed"] * 3

    async def test_a_profile_that_fails_for_two_organizations_rests_for_both(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=20)
        scene.network.script("blind", *[DOWN] * 99)
        await scene.drain()
        before = scene.network.count()
        scene.clock.advance(SECOND)
        await scene.organization(2)

        others = await scene.tasks(
            20, await scene.template(route(ai("blind")), organization=2), organization=2
        )
        await scene.drain()
        calls = scene.network.count()
        await scene.drain()

        assert scene.network.count() == calls
        assert calls - before <= 10  # those that began before the first failure was known
        assert {(await scene.task(task))["attempt"] for task in others} == {0}

    async def test_nothing_is_claimed_for_a_profile_that_rests(self, scene: Scene) -> None:
        first = await scene.given(ai("blind"), count=30)
        scene.network.script("blind", *[DOWN] * 100)
        await scene.drain()
        calls, before = scene.network.count(), await scene.sql("SELECT version FROM tasks ORDER BY id")

        scene.clock.advance(5 * SECOND)
        await scene.tick()
        await scene.drain()

        assert (scene.network.count(), await scene.sql("SELECT version FROM tasks ORDER BY id")) == (
            calls,
            before,
        )
        row = await scene.task(first + 29)
        expected = {"status": "pending", "blocked_by": "rest:blind", "attempt": 0, "run_at_ms": NEVER}
        assert {name: row[name] for name in expected} == expected

    async def test_one_call_at_a_time_finds_out_whether_a_profile_has_recovered(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=30)
        scene.network.script("blind", *[DOWN] * 4)
        await scene.drain()
        calls, probe = scene.network.count(), Hold()
        scene.network.script("blind", probe)
        scene.clock.advance(20 * SECOND)

        async with scene.draining():
            await asyncio.wait_for(probe.begun.wait(), 10)
            await scene.drain()  # another worker
            assert scene.network.count() == calls + 1
            probe.release()

        await scene.finish()
        assert await scene.statuses() == {"completed": 30}

    async def test_the_other_candidate_is_used_while_the_first_rests(self, scene: Scene) -> None:
        first = await scene.given(ai("blind", "other"), count=20)
        scene.network.script("blind", *[DOWN] * 100)

        await scene.finish()
        await minutes_pass(scene, 1)

        assert await scene.statuses() == {"completed": 20}
        (execution,) = await scene.executions(first + 19)
        assert (execution["profile"], execution["candidate"]) == ("other", 1)
        assert scene.network.count("blind") < 10

    async def test_a_task_that_waits_for_a_profile_fails_at_its_deadline_and_says_why(
        self, scene: Scene
    ) -> None:
        first = await scene.given(ai("blind"), count=20)
        scene.network.script("blind", *[DOWN] * 100)
        await scene.sql("UPDATE tasks SET deadline_ms = ?1", scene.clock.ms + 10 * MINUTE)

        await scene.finish()
        await minutes_pass(scene, 11)

        assert await scene.statuses() == {"failed": 20}
        assert (await scene.task(first + 19))["reason"] == "deadline: rest:blind"

    async def test_why_says_that_the_profile_rests(self, scene: Scene) -> None:
        first = await scene.given(ai("blind"), count=20)
        scene.network.script("blind", *[DOWN] * 100)
        await scene.drain()

        why = await scene.why(first + 19)

        assert "profile blind rests until 2033" in why
        assert "(http_503)" in why

    async def test_the_doctor_names_a_profile_that_rests(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=20)
        scene.network.script("blind", *[DOWN] * 100)
        await scene.drain()

        found = [finding.what for finding in await doctor.examine(scene.world) if finding.level == "warning"]

        assert any(what.startswith("profile blind rests until 2033") for what in found)
        assert any(what.endswith("pending tasks whose profile is not called at the moment") for what in found)

    async def test_tasks_whose_profile_has_no_state_any_more_are_due_again(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql("UPDATE tasks SET blocked_by = 'rest:blind', run_at_ms = ?1", NEVER)

        await scene.later(MINUTE)

        assert (await scene.task(task))["status"] == "completed"

    async def test_the_state_of_a_profile_that_is_well_is_forgotten(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=20)
        scene.network.script("blind", *[DOWN] * 4)
        await scene.finish()
        await minutes_pass(scene, 2)
        assert await scene.count("rests") == 1

        await scene.later(3 * HOUR)

        assert await scene.count("rests") == 0


class LimitContract(Suite):
    async def test_too_many_calls_cost_no_task(self, scene: Scene) -> None:
        """The provider takes 5 calls in 10 seconds, and refuses the others with 429."""
        await scene.given(ai("chat", model="m"), count=60)
        begun: list[int] = []

        async def handle(_: httpx2.Request) -> httpx2.Response:
            now = scene.clock.ms
            if sum(now - one < 10_000 for one in begun) >= 5:
                return httpx2.Response(429, headers={"retry-after": "2"})
            begun.append(now)
            return httpx2.Response(200, content=GOOD)

        scene.network.others["chat.test"] = handle
        await scene.drain()
        for _ in range(100):
            scene.clock.advance(2 * SECOND)
            await scene.finish()

        assert await scene.statuses() == {"completed": 60}

    async def test_a_long_wait_goes_to_the_other_candidate(self, scene: Scene) -> None:
        first = await scene.given(ai("blind", "other"), count=20, task_s=3600)
        scene.network.script("blind", *[Retry("http_429", 7_200_000, limited=True)] * 100)

        await scene.drain()

        assert await scene.statuses() == {"completed": 20}
        assert scene.network.count("blind") <= 10
        assert [row["profile"] for row in await scene.executions(first + 19)] == ["other"]

    async def test_a_wait_beyond_the_deadline_without_another_candidate_fails_at_once(
        self, scene: Scene
    ) -> None:
        first = await scene.given(ai("blind"), count=20)
        await scene.sql("UPDATE tasks SET deadline_ms = ?1", scene.clock.ms + MINUTE)
        scene.network.script("blind", *[Retry("http_429", 7_200_000, limited=True)] * 100)

        await scene.drain()

        assert await scene.statuses() == {"failed": 20}
        reasons = {(await scene.task(first + place))["reason"] for place in range(20)}
        assert reasons == {"deadline: http_429", "deadline: blind is not called before: http_429"}

    def limit(self, scene: Scene, **limits: Any) -> None:
        """Give the profile `blind` limits of its own."""
        known = accounts({**PROFILES, "blind": {**PROFILES["blind"], **limits}}, {})
        scene.world = replace(scene.world, accounts=known)

    async def test_all_workers_together_keep_the_rate_of_a_profile(self, scene: Scene) -> None:
        self.limit(scene, rate={"calls": 7, "per_s": 60})
        await scene.given(ai("blind"), count=30)

        await asyncio.gather(*(scene.drain() for _ in range(4)))
        assert scene.network.count() == 7
        for calls in (14, 21, 28, 30):
            scene.clock.advance(63 * SECOND)
            await asyncio.gather(*(scene.drain() for _ in range(3)))
            assert scene.network.count() == calls

        assert await scene.statuses() == {"completed": 30}

    async def test_a_worker_that_reaches_the_rate_rings_for_the_time_when_calls_begin_again(
        self, scene: Scene
    ) -> None:
        self.limit(scene, rate={"calls": 2, "per_s": 60})
        await scene.given(ai("blind"), count=5)

        await scene.drain()

        assert [60 <= delay <= 66 for delay in scene.queue.delays] == [True]

    async def test_all_workers_together_keep_the_concurrency_of_a_profile(self, scene: Scene) -> None:
        self.limit(scene, concurrency=2)
        await scene.given(ai("blind"), count=6)
        holds = [Hold() for _ in range(6)]
        scene.network.script("blind", *holds)

        async def begun() -> bool:
            return sum(hold.begun.is_set() for hold in holds) == 2

        async with scene.draining():
            await until(begun)
            await scene.drain()  # another worker
            assert await begun()
            for hold in holds:
                hold.release()

        await scene.finish()
        assert await scene.statuses() == {"completed": 6}
        (row,) = await scene.sql("SELECT holders FROM rests")
        assert row["holders"] == "{}"
