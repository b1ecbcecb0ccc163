"""A key that a provider does not accept, and an account without money.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest

from consumer.core.outcome import Retry, Succeeded
from consumer.core.policy import HOUR, MINUTE
from consumer.core.profile import accounts
from consumer.provider import Verb
from consumer.service import doctor
from tests.contracts.replies import GOOD
from tests.contracts.resting import minutes_pass
from tests.support.fakes import ANSWER
from tests.support.jobs import accepted_job
from tests.support.scene import PROFILES, Scene, Suite, ai


class RefusedAccountContract(Suite):
    """A key that is not accepted, and an account without money."""

    def with_key(self, scene: Scene, key: str, *, accepted: str, status: int = 401) -> None:
        """The deployment's key, and the key that the provider accepts; with another key it answers with the status."""
        profile = {**PROFILES["chat"], "key": "KEY"}
        known = accounts({**PROFILES, "chat": profile}, {"KEY": key})
        scene.world = replace(scene.world, accounts=known)

        async def handle(request: httpx2.Request) -> httpx2.Response:
            self.calls += 1
            if request.headers["authorization"] == f"Bearer {accepted}":
                return httpx2.Response(200, content=GOOD)
            return httpx2.Response(status, json={"error": {"message": f"wrong: {key}"}})

        self.calls = 0
        scene.network.others["chat.test"] = handle

    @pytest.mark.parametrize(
        ("status", "fault"), [(401, "refused_key"), (403, "refused_key"), (402, "unpaid")]
    )
    async def test_it_rests_at_once_and_no_task_fails(self, scene: Scene, status: int, fault: str) -> None:
        first = await scene.given(ai("chat", model="m"), count=15)
        self.with_key(scene, "old", accepted="new", status=status)

        await scene.drain()
        in_flight = self.calls
        await minutes_pass(scene, 20)

        assert in_flight <= 10  # those that were in flight, and no more
        assert self.calls - in_flight <= 10
        assert await scene.statuses() == {"pending": 15}
        (row,) = await scene.sql("SELECT * FROM rests")
        assert row["reason"] == f"{fault} http_{status}"
        assert {(await scene.task(first + place))["attempt"] for place in range(15)} == {0}

    async def test_a_task_that_is_refused_for_its_own_sake_does_not_stop_the_others(
        self, scene: Scene
    ) -> None:
        """The money of the account is enough for small calls only, and a large one is the first task."""
        large = await scene.given(ai("chat", model="m", max_output_tokens=9_000))
        await scene.given(ai("chat", model="m"), count=10)

        async def handle(request: httpx2.Request) -> httpx2.Response:
            if b'"max_tokens":9000' in request.content:
                return httpx2.Response(402, json={"error": {"message": "you can afford 1000 tokens"}})
            return httpx2.Response(200, content=GOOD)

        scene.network.others["chat.test"] = handle
        await scene.finish()
        await minutes_pass(scene, 5)

        assert await scene.statuses() == {"completed": 10, "pending": 1}
        assert (await scene.task(large))["status"] == "pending"

    async def test_a_probe_finds_that_the_account_is_accepted_again(self, scene: Scene) -> None:
        await scene.given(ai("chat", model="m"), count=40)
        self.with_key(scene, "old", accepted="new", status=402)
        await scene.drain()
        self.with_key(scene, "old", accepted="old")

        await minutes_pass(scene, 7)

        assert await scene.statuses() == {"completed": 40}
        (row,) = await scene.sql("SELECT * FROM rests")
        assert (row["level"], row["account"]) == (0, None)

    async def test_another_key_in_the_configuration_ends_the_rest(self, scene: Scene) -> None:
        await scene.given(ai("chat", model="m"), count=40)
        self.with_key(scene, "old", accepted="new")
        await scene.drain()
        await minutes_pass(scene, 30)  # the present rest is the longest
        self.with_key(scene, "new", accepted="new")

        await scene.tick()
        await scene.finish()

        assert (await scene.statuses())["completed"] >= 30  # those that waited
        await minutes_pass(scene, 7)  # the tasks of the last probes come back later
        assert await scene.statuses() == {"completed": 40}

    async def test_the_other_candidate_has_another_account_and_is_used(self, scene: Scene) -> None:
        first = await scene.given(ai("chat", "other", model="m"), count=20)
        await scene.sql(
            "UPDATE task_templates SET route = replace(route, ?1, ?2)",
            '"profile": "other", "settings": {"model": "m"}',
            '"profile": "other", "settings": {}',
        )
        self.with_key(scene, "old", accepted="new")

        await scene.finish()

        assert await scene.statuses() == {"completed": 20}
        assert [row["profile"] for row in await scene.executions(first + 19)] == ["other"]
        assert self.calls <= 10

    async def test_why_and_the_doctor_name_the_fault_and_never_the_key(self, scene: Scene) -> None:
        first = await scene.given(ai("chat", model="m"), count=20)
        self.with_key(scene, "sk-old-secret", accepted="new")
        await scene.drain()

        why = await scene.why(first + 19)
        found = [each for each in await doctor.examine(scene.world) if each.what.startswith("profile chat")]

        assert "because its provider refuses the key (http_401)" in why
        assert [(each.level, each.advice.partition(",")[0]) for each in found] == [
            ("error", "set the secret that the profile names")
        ]
        assert "sk-old" not in f"{why} {found} {await scene.sql('SELECT * FROM rests')}"
        assert "sk-old" not in str(await scene.sql("SELECT * FROM task_executions"))

    async def test_a_poll_that_is_refused_says_nothing_about_its_job(self, scene: Scene) -> None:
        task = await accepted_job(scene)
        scene.network.script("job", Retry("http_401", account="refused_key"), verb=Verb.POLL)
        scene.network.script("job", Succeeded(ANSWER), verb=Verb.POLL)

        await scene.later(10 * MINUTE)
        assert await scene.states(task) == ["waiting"]
        await scene.later(HOUR)

        assert await scene.states(task) == ["succeeded"]

    async def test_a_refusal_of_the_task_itself_still_fails_the_task(self, scene: Scene) -> None:
        await scene.given(ai("chat", model="m"))

        async def handle(_: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(403, json={"error": {"message": "flagged", "code": "content_policy"}})

        scene.network.others["chat.test"] = handle
        await scene.drain()

        assert await scene.statuses() == {"failed": 1}
        assert await scene.count("rests") == 0
