"""A database that was restored to an earlier time, and what the operator does then.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from consumer.core.errors import BadInput
from consumer.core.outcome import Retry, Succeeded
from consumer.core.policy import MINUTE
from consumer.core.rest import FAILURES
from consumer.provider import Verb
from consumer.service import keys, people, queries, restore, stops
from consumer.service.restore import NewRestore
from tests.support.assignments import link
from tests.support.fakes import ANSWER, LOST, Hold
from tests.support.restores import copied, restored
from tests.support.scene import PRICE, Scene, Suite, ai, person, route

if TYPE_CHECKING:
    from consumer.service.restore import Restored


async def finished(scene: Scene, **wanted: Any) -> Restored:
    """Finish a restore as an operator."""
    return await restore.finish(scene.world, "tester", "", NewRestore(revoke="none", **wanted))


class RestoreContract(Suite):
    """The database goes back to an earlier time, and an operator finishes the restore."""

    async def test_no_id_that_was_given_out_is_given_out_again(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))
        before = await copied(scene.database.inner)
        known = await scene.tasks(7, template)
        await scene.template(route(ai("blind")))
        await restored(scene.database.inner, before)

        done = await finished(scene)

        (task,) = await scene.tasks(1, template)
        assert task > max(known)
        assert await scene.template(route(ai("blind"))) > template + 1
        assert {line["table"]: line["reused"] for line in done["ids"]} == {
            "budgets": False,
            "task_templates": False,
            "tasks": False,
        }

    async def test_ids_go_on_after_the_highest_one_that_the_operator_knows(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(ai("blind")))

        await finished(scene, above=500)

        assert await scene.tasks(1, template) == [501]

    async def test_the_status_of_a_newer_time_is_replaced(self, scene: Scene) -> None:
        task = await scene.given(person())
        await scene.drain()
        before = await copied(scene.database.inner)
        await people.submit(scene.world, await link(scene, task), ANSWER)
        await scene.later(MINUTE)
        newer = await scene.live(task)
        assert newer["status"] == "completed"
        await restored(scene.database.inner, before)

        assert (await queries.status(scene.world, 1, task))["status"] == "waiting"
        await finished(scene)
        await scene.later(MINUTE)

        now = await scene.live(task)
        assert (now["status"], now["version"] > newer["version"]) == ("waiting", True)

    async def test_a_link_to_an_assignment_that_is_restored_still_opens_it(self, scene: Scene) -> None:
        task = await scene.given(person())
        await scene.drain()
        token = await link(scene, task)
        before = await copied(scene.database.inner)
        await people.submit(scene.world, token, ANSWER)
        await restored(scene.database.inner, before)
        await finished(scene)

        assert (await people.submit(scene.world, token, ANSWER)).used

    async def test_a_worker_of_the_lost_time_changes_no_restored_task(self, scene: Scene) -> None:
        task, hold = await scene.given(ai("blind")), Hold()
        before = await copied(scene.database.inner)
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await restored(scene.database.inner, before)
            await finished(scene)
            hold.release()

        assert (await scene.task(task))["status"] == "pending"
        assert await scene.executions(task) == []

    async def test_nothing_begins_until_the_operator_resumes(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        await finished(scene)
        await scene.later(MINUTE)
        assert scene.network.count() == 0

        await stops.resume(scene.world, "tester")
        await scene.later(MINUTE)

        assert (await scene.task(task))["status"] == "completed"

    async def test_a_forgotten_call_is_looked_up_before_it_is_repeated(self, scene: Scene) -> None:
        task = await scene.given(ai("evident"))
        before = await copied(scene.database.inner)
        await scene.drain()
        (sent,) = scene.network.calls("evident")
        await restored(scene.database.inner, before)
        scene.network.script("evident", Succeeded({"answer": "paid before"}), verb=Verb.LOOKUP)

        done = await finished(scene)
        await stops.resume(scene.world, "tester")
        for _ in range(3):
            await scene.later(MINUTE)

        assert done["calls"] == [{"profile": "evident", "tasks": 1, "found_by": "lookup"}]
        assert [call.key for call in scene.network.calls("evident", Verb.LOOKUP)] == [sent.key]
        assert scene.network.count("evident") == 1
        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost_micro"]) == ("succeeded", PRICE)
        assert json.loads(execution["result"]) == {"answer": "paid before"}

    async def test_calls_that_a_restore_forgot_say_nothing_about_their_profile(self, scene: Scene) -> None:
        """Their outcome is unknown and nothing was sent: the provider did not fail."""
        await scene.given(ai("evident"), count=FAILURES + 2)
        before = await copied(scene.database.inner)
        await scene.drain()
        await restored(scene.database.inner, before)

        await finished(scene)
        await stops.resume(scene.world, "tester")
        await scene.drain()

        assert await scene.statuses() == {"waiting": FAILURES + 2}
        assert await scene.count("rests") == 0

    async def test_a_call_that_the_provider_does_not_know_is_made(self, scene: Scene) -> None:
        task = await scene.given(ai("evident"))
        await finished(scene)
        await stops.resume(scene.world, "tester")
        scene.network.script("evident", Retry("never seen"), verb=Verb.LOOKUP)
        for _ in range(3):
            await scene.later(MINUTE)

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("evident") == 1

    async def test_a_forgotten_call_is_repeated_under_its_key_where_keys_are_honoured(
        self, scene: Scene
    ) -> None:
        await scene.given(ai("keyed"))
        before = await copied(scene.database.inner)
        await scene.drain()
        await restored(scene.database.inner, before)

        done = await finished(scene)
        await stops.resume(scene.world, "tester")
        await scene.later(MINUTE)

        first, second = scene.network.calls("keyed")
        assert first.key == second.key
        assert done["calls"] == [{"profile": "keyed", "tasks": 1, "found_by": "key"}]

    async def test_calls_that_cannot_be_found_are_reported(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=3)

        done = await finished(scene)

        assert done["calls"] == [{"profile": "blind", "tasks": 3, "found_by": None}]

    async def test_an_open_call_keeps_its_key(self, scene: Scene) -> None:
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", LOST)
        await scene.drain()
        before = await copied(scene.database.inner)
        await restored(scene.database.inner, before)

        done = await finished(scene)
        await stops.resume(scene.world, "tester")
        await scene.later(MINUTE)

        first, second = scene.network.calls("keyed")
        assert (first.key, done["executions"]) == (second.key, 1)
        assert (await scene.task(task))["status"] == "completed"

    async def test_keys_that_had_been_revoked_work_again_and_are_listed_and_revoked(
        self, scene: Scene
    ) -> None:
        await scene.organization(1)
        leaked = await keys.create_key(scene.world, 1, "admin")
        kept = await keys.create_key(scene.world, None, "operator")
        before = await copied(scene.database.inner)
        await keys.revoke_key(scene.world, leaked)
        await restored(scene.database.inner, before)

        listed = await finished(scene)
        done = await restore.finish(scene.world, "tester", "", NewRestore(revoke=[leaked]))

        assert len(listed["keys"]) == 2
        assert [leaked.split("_")[1]] == done["revoked"]
        assert [key["id"] for key in done["keys"]] == [kept.split("_")[1]]
        everything = await restore.finish(scene.world, "x", kept.split("_")[1], NewRestore(revoke="all"))
        assert [key["id"] for key in everything["keys"]] == [kept.split("_")[1]]

    async def test_budgets_are_shown_as_they_went_back(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        budget = await scene.budget(1_000_000)
        before = await copied(scene.database.inner)
        await scene.drain()
        assert await scene.books(budget) == (PRICE, 0)
        await restored(scene.database.inner, before)

        done = await finished(scene)

        (line,) = done["budgets"]
        assert (line["id"], line["cap_micro"], line["spent_micro"] or 0) == (budget, 1_000_000, 0)

    async def test_many_tasks_are_moved_on_in_parts(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(restore, "PART", 2)
        monkeypatch.setattr(restore, "PARTS", 2)
        await scene.given(ai("blind"), count=5)

        first = await finished(scene)
        second = await finished(scene, after=first["next"])

        assert (first["tasks"], second["tasks"], second["next"]) == (4, 1, None)
        versions = await scene.sql(
            "SELECT count(*) AS n FROM tasks WHERE version = ?1", scene.clock.ms // 1000
        )
        assert versions[0]["n"] == 5

    @pytest.mark.parametrize(
        ("wanted", "field"), [({"revoke": "some"}, "revoke"), ({"revoke": "none", "above": 2**50}, "above")]
    )
    async def test_a_wrong_value_is_named(self, scene: Scene, wanted: dict[str, Any], field: str) -> None:
        with pytest.raises(BadInput, match=field):
            await restore.finish(scene.world, "tester", "", NewRestore(**wanted))
