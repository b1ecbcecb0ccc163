"""The API shows a tenant nothing of the operator's budgets.  Fixtures as in `web`."""

from __future__ import annotations

import json

import pytest

from tests.support.deployment import Deployment, DeploymentSuite, budget, refused


class TierPagesContract(DeploymentSuite):
    """An operator's key works on both tiers, a tenant's on its own."""

    async def of_operator(self, deployment: Deployment) -> int:
        path = f"/v1/budgets?organization={deployment.ours}"
        made = await deployment.ask("POST", path, budget(deployment.ours, cap="0"), key="operator")
        assert (made.status_code, made.json()["tier"]) == (200, "operator")
        return int(made.json()["id"])

    @pytest.mark.parametrize("key", ["reader", "member", "admin"])
    async def test_a_tenant_sees_no_budget_of_the_operator(self, deployment: Deployment, key: str) -> None:
        number = await self.of_operator(deployment)

        listed = await deployment.ask("GET", "/v1/budgets", key=key)
        shown = refused(await deployment.ask("GET", f"/v1/budgets/{number}", key=key), 404)
        missing = refused(await deployment.ask("GET", "/v1/budgets/987654", key=key), 404)

        assert listed.json() == {"budgets": []}
        assert json.dumps(shown).replace(str(number), "987654") == json.dumps(missing)

    async def test_a_tenants_cap_is_a_budget_of_its_own(self, deployment: Deployment) -> None:
        number = await self.of_operator(deployment)
        value = budget(deployment.ours, cap="1000000")

        refused(await deployment.ask("PUT", f"/v1/budgets/{number}", value, key="admin"), 404)
        own = (await deployment.ask("POST", "/v1/budgets", value, key="admin")).json()

        assert (own["id"] != number, own["tier"]) == (True, "tenant")
        path = f"/v1/budgets?organization={deployment.ours}"
        both = (await deployment.ask("GET", path, key="operator")).json()["budgets"]
        assert [(each["id"], each["cap_micro"]) for each in both] == [(number, 0), (own["id"], 10**12)]

    async def test_a_tenant_does_not_choose_the_tier(self, deployment: Deployment) -> None:
        value = budget(deployment.ours, tier="operator")
        refused(await deployment.ask("POST", "/v1/budgets", value, key="admin"), 422, "tier")
