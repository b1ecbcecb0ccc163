"""The statements of docs/database.md do what it says."""

from __future__ import annotations

import json

import pytest

from consumer.core.outcome import Accepted
from consumer.core.policy import HOUR
from consumer.ports import Refused
from tests import test_local_runs
from tests.support.documents import DATABASE, blocks
from tests.support.fakes import ANSWER
from tests.support.scene import Scene, Suite, ai, route

migrated, database = test_local_runs.migrated, test_local_runs.database
kv, blobs = test_local_runs.kv, test_local_runs.blobs

SQL = "sql offline"
EXECUTIONS = "SELECT * FROM task_executions ORDER BY id"


class TestTheDocument(Suite):
    async def test_what_the_document_hands_in_is_done_and_can_be_read(self, scene: Scene) -> None:
        await scene.organization(1)
        assert await scene.template(route(ai("blind"))) == 1
        (insert,), (outcome, bill) = blocks(DATABASE, "Hand in", SQL), blocks(DATABASE, "Read", SQL)

        (made,) = await scene.sql(insert)
        await scene.drain()

        (read,) = await scene.sql(outcome, made["id"])
        assert (read["status"], json.loads(str(read["result"])), read["cost"]) == ("completed", ANSWER, 0.01)
        assert await scene.sql(bill, made["id"]) == [{"dollars": 0.01, "not_known_yet": 0}]

    async def test_what_the_document_cancels_is_not_begun(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        (cancel,) = blocks(DATABASE, "Change", SQL)

        await scene.sql(cancel, task)
        await scene.drain()

        assert ((await scene.task(task))["status"], scene.network.count()) == ("cancelled", 0)

    async def test_what_the_document_says_is_refused_is(self, scene: Scene) -> None:
        done, job = await scene.given(ai("blind")), await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", HOUR))
        await scene.drain()
        assert await scene.statuses() == {"completed": 1, "waiting": 1}
        before = [await scene.task(task) for task in (done, job)], await scene.sql(EXECUTIONS)

        refused = blocks(DATABASE, "What is refused", "sql refused")
        assert len(refused) == 4
        for statement in refused:
            with pytest.raises(Refused):
                await scene.sql(statement)

        assert ([await scene.task(task) for task in (done, job)], await scene.sql(EXECUTIONS)) == before
