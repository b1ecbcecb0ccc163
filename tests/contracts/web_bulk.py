"""Bulk actions, releases and the filter of the list, over HTTP.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.deployment import Deployment, DeploymentSuite, refused


class BulkApiContract(DeploymentSuite):
    async def test_a_tenant_acts_on_its_own_tasks_only(self, deployment: Deployment) -> None:
        task = await deployment.submit()
        body = {"verb": "cancel", "filter": {"status": "pending"}, "dry_run": False}

        done = await deployment.ask("POST", "/v1/bulk", body, key="foreign")
        elsewhere = f"/v1/bulk?organization={deployment.ours}"
        refused(await deployment.ask("POST", elsewhere, body, key="foreign"), 403)

        assert done.json()["changed"] == 0
        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "pending"
        assert (await deployment.ask("POST", "/v1/bulk", body, key="admin")).json()["changed"] == 1

    async def test_an_operator_acts_on_all_or_on_one_organization(self, deployment: Deployment) -> None:
        await deployment.submit()
        body = {"verb": "cancel", "filter": {"status": "pending"}}

        counted = [
            (await deployment.ask("POST", f"/v1/bulk{query}", body, key="operator")).json()["tasks"]
            for query in ("", f"?organization={deployment.ours}", f"?organization={deployment.theirs}")
        ]

        assert counted == [1, 1, 0]

    async def test_an_action_without_a_confirmation_is_a_dry_run(self, deployment: Deployment) -> None:
        task = await deployment.submit()

        dry = await deployment.ask(
            "POST", "/v1/bulk", {"verb": "cancel", "filter": {"status": "pending"}}, key="admin"
        )

        assert (dry.json()["dry_run"], dry.json()["tasks"], dry.json()["start"]) == (True, 1, task + 1)
        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "pending"

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"filter": {}}, "filter"),
            ({"filter": {"status": None}}, "filter"),
            ({"filter": {"colour": "red"}}, "filter.colour"),
            ({"filter": {"status": "done"}}, "filter.status"),
            ({"filter": {"submitted_after": "yesterday"}}, "filter.submitted_after"),
            ({"verb": "delete"}, "verb"),
            ({"cursor": 0}, "cursor"),
        ],
    )
    async def test_a_wrong_action_is_refused_with_its_field(
        self, deployment: Deployment, change: dict[str, Any], field: str
    ) -> None:
        body = {"verb": "cancel", "filter": {"status": "pending"}, **change}

        refused(await deployment.ask("POST", "/v1/bulk", body, key="admin"), 422, field)

    async def test_a_list_takes_the_same_filter(self, deployment: Deployment) -> None:
        task = await deployment.submit(idempotency_key="night-1")
        await deployment.submit(idempotency_key="day-1")

        found = await deployment.ask("GET", "/v1/tasks?key_prefix=night-&template=echo&status=pending")

        assert [one["id"] for one in found.json()["tasks"]] == [task]
        for wrong in ("status=done", "submitted_after=yesterday", "key_prefix="):
            refused(await deployment.ask("GET", f"/v1/tasks?{wrong}"), 422, wrong.partition("=")[0])

    async def test_a_single_task_is_released(self, deployment: Deployment) -> None:
        task = await deployment.submit()

        refused(await deployment.ask("POST", f"/v1/tasks/{task}/release", key="foreign"), 404)
        released = await deployment.ask("POST", f"/v1/tasks/{task}/release?questions=true")

        assert released.json() == {"id": task, "released": 0}  # it has no call of unknown outcome
