"""Submitting under a key, on every host: the same content once, other content never in silence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.deployment import Deployment, DeploymentSuite, refused


class SubmissionKeyContract(DeploymentSuite):
    """A key names one task with one content."""

    async def post(self, deployment: Deployment, value: object, key: str | None = None) -> Any:
        headers = {"Idempotency-Key": key} if key is not None else {}
        return await deployment.ask("POST", "/v1/tasks", value, headers=headers)

    async def count(self, deployment: Deployment) -> int:
        return len((await deployment.ask("GET", "/v1/tasks")).json()["tasks"])

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("title", "another"),
            ("description", "more"),
            ("input", {"title": "y"}),
            ("priority", "low"),
            ("due_date", "2031-01-01T00:00:00Z"),
            ("run_at", "2031-01-01T00:00:00Z"),
            ("deadline", "2031-01-01T00:00:00Z"),
        ],
    )
    async def test_a_key_with_other_content_is_a_conflict_that_names_the_field(
        self, deployment: Deployment, field: str, value: object
    ) -> None:
        task = {"template": deployment.template, "title": "a task", "idempotency_key": "k"}
        made = (await self.post(deployment, task)).json()["id"]

        problem = refused(await self.post(deployment, {**task, field: value}), 409)
        several = refused(
            await self.post(deployment, [{**task, "idempotency_key": "l"}, {**task, field: value}]), 409
        )

        assert f"task {made} was submitted under this key with another {field};" in problem["detail"]
        assert several["detail"].startswith("tasks[1].idempotency_key: ")
        assert await self.count(deployment) == 1
        assert (await self.post(deployment, task)).json() == {
            "id": made,
            "status": "pending",
            "created": False,
        }

    async def test_an_edit_by_another_application_is_no_conflict(self, deployment: Deployment) -> None:
        task = {"template": deployment.template, "title": "a task", "idempotency_key": "k"}
        made = (await self.post(deployment, task)).json()["id"]
        await deployment.rows("UPDATE tasks SET title = 'edited', priority = 'low' WHERE id = ?1", made)

        assert (await self.post(deployment, task)).json()["id"] == made

    async def test_names_in_another_order_are_the_same_content(self, deployment: Deployment) -> None:
        task = {"template": deployment.template, "title": "a task", "idempotency_key": "k"}
        await self.post(deployment, {**task, "input": {"title": "x", "more": [1]}})

        again = await self.post(deployment, {**task, "input": {"more": [1], "title": "x"}})

        assert again.status_code == 200

    async def test_two_contents_under_one_key_at_the_same_moment_make_one_task(
        self, deployment: Deployment
    ) -> None:
        task = {"template": deployment.template, "idempotency_key": "k"}

        answers = await asyncio.gather(
            *(self.post(deployment, {**task, "title": str(number)}) for number in range(3))
        )

        assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
        assert await self.count(deployment) == 1

    async def test_two_tasks_of_a_request_with_one_key_are_refused_and_both_are_named(
        self, deployment: Deployment
    ) -> None:
        task = {"template": deployment.template, "title": "a task", "idempotency_key": "k"}

        problem = refused(await self.post(deployment, [task, {**task, "title": "other"}, task]), 422)

        assert [error["field"] for error in problem["errors"]] == [
            "tasks[1].idempotency_key",
            "tasks[2].idempotency_key",
        ]
        assert all("tasks[0] has the same key" in error["message"] for error in problem["errors"])
        assert await self.count(deployment) == 0

    @pytest.mark.parametrize("key", ["a key", '"a key"'])
    async def test_the_header_is_the_key_of_the_task(self, deployment: Deployment, key: str) -> None:
        task = {"template": deployment.template, "title": "a task"}

        first, again = [await self.post(deployment, task, key) for _ in range(2)]
        refused(await self.post(deployment, {**task, "title": "other"}, key), 409)

        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["id"] == first.json()["id"]
        refused(await self.post(deployment, {**task, "idempotency_key": "b"}, key), 422, "idempotency_key")

    async def test_the_header_is_the_key_of_a_whole_list(self, deployment: Deployment) -> None:
        tasks = [{"template": deployment.template, "title": str(number)} for number in range(3)]

        first, again = [await self.post(deployment, tasks, "list") for _ in range(2)]
        refused(await self.post(deployment, [*tasks[:2], {**tasks[2], "title": "x"}], "list"), 409)

        assert (first.status_code, again.status_code) == (201, 200)
        assert [one["id"] for one in again.json()["tasks"]] == [one["id"] for one in first.json()["tasks"]]
        assert await self.count(deployment) == 3

    @pytest.mark.parametrize("key", ["", '""', "~own", "x" * 201])
    async def test_a_header_that_is_no_key_is_refused(self, deployment: Deployment, key: str) -> None:
        task = {"template": deployment.template, "title": "a task"}

        refused(await self.post(deployment, task, key), 422)
