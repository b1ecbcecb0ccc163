"""Two tiers of budgets, the operator's and the tenant's.  Both apply.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from consumer.core.errors import NotFound
from consumer.core.outcome import Succeeded
from consumer.core.policy import DAY
from consumer.service import admin, queries
from tests.support.budgets import limited
from tests.support.fakes import ANSWER
from tests.support.scene import PRICE, Scene, Suite

OPERATORS = "It is blocked: the operator's limit has no room for its next call."


def cap(dollars: str, **fields: object) -> dict[str, object]:
    return {"scope": "organization", "scope_id": 1, "period": "day", "cap": dollars, **fields}


class TierContract(Suite):
    async def test_a_tenants_cap_does_not_lift_the_operators(self, scene: Scene) -> None:
        await limited(scene, 0, count=3, tier="operator")

        await admin.put_budget(scene.world, 1, cap("1000000"), "the tenant")
        await scene.later(DAY)

        assert scene.network.count() == 0
        assert await scene.statuses() == {"pending": 3}

    @pytest.mark.parametrize(("operators", "tenants"), [(2, 4), (4, 2)])
    async def test_the_lower_cap_of_two_tiers_holds(self, scene: Scene, operators: int, tenants: int) -> None:
        _, first = await limited(scene, operators, count=8, tier="operator")
        second = await scene.budget(tenants * PRICE)

        await scene.drain()

        assert await scene.statuses() == {"completed": 2, "pending": 6}
        assert await scene.books(first) == await scene.books(second) == (2 * PRICE, 0)

    async def test_the_operators_room_wakes_what_the_operator_blocked(self, scene: Scene) -> None:
        _, number = await limited(scene, 1, count=8, tier="operator")
        await scene.drain()

        assert await admin.put_budget(scene.world, 1, cap("0.03"), "us", operator=True) == number
        await scene.finish()
        assert await scene.statuses() == {"completed": 3, "pending": 5}
        await scene.later(DAY)
        assert await scene.statuses() == {"completed": 6, "pending": 2}

    async def test_a_tenant_learns_only_that_the_operators_limit_blocks(self, scene: Scene) -> None:
        task, number = await limited(scene, 1, count=2, tier="operator", period="month")
        await scene.drain()

        seen = await queries.history(scene.world, 1, task + 1)
        listed = (await queries.task_list(scene.world, 1))["tasks"][0]
        status = await queries.status(scene.world, 1, task + 1)

        assert seen["why"] == OPERATORS
        assert [seen["task"]["blocked_by"], listed["blocked_by"], status["reason"]] == ["budget:operator"] * 3
        assert (await scene.live(task + 1))["reason"] == "budget:operator"
        assert f"operator's budget {number}, $0.010000 a month" in await scene.why(task + 1)

    async def test_a_reason_hides_the_operators_cap(self, scene: Scene) -> None:
        task, _ = await limited(scene, 1, count=2, tier="operator", refused="fail")
        await scene.drain()

        reason = (await scene.task(task + 1))["reason"]

        assert reason == "budget: the operator's limit has no room for $0.010000"

    async def test_a_tenant_neither_reads_nor_changes_a_budget_of_the_operator(self, scene: Scene) -> None:
        await scene.organization(1)
        number = await admin.put_budget(scene.world, 1, cap("1"), "us", operator=True)

        assert await queries.budgets(scene.world, 1) == []
        with pytest.raises(NotFound):
            await queries.budgets(scene.world, 1, number)
        with pytest.raises(NotFound):
            await admin.put_budget(scene.world, 1, cap("9"), "the tenant", number)
        own = await admin.put_budget(scene.world, 1, cap("9"), "the tenant")

        assert own != number
        assert [each["id"] for each in await queries.budgets(scene.world, 1)] == [own]
        both = await queries.budgets(scene.world, 1, operator=True)
        assert [(each["id"], each["tier"], each["cap_micro"]) for each in both] == [
            (number, "operator", 1_000_000),
            (own, "tenant", 9_000_000),
        ]

    async def test_the_operator_changes_a_tenants_budget_by_its_id(self, scene: Scene) -> None:
        await scene.organization(1)
        own = await admin.put_budget(scene.world, 1, cap("9"), "the tenant")

        assert await admin.put_budget(scene.world, 1, cap("2"), "us", own, operator=True) == own

        (shown,) = await queries.budgets(scene.world, 1)
        assert (shown["cap_micro"], shown["tier"]) == (2_000_000, "tenant")

    async def test_both_tiers_are_charged_and_named_by_an_execution(self, scene: Scene) -> None:
        task, first = await limited(scene, 5, count=1, tier="operator")
        second = await scene.budget(5 * PRICE)
        scene.network.script("blind", Succeeded(ANSWER, charged=Decimal("0.002")))

        await scene.drain()

        (one,) = await scene.executions(task)
        assert {int(name.split(":")[0]) for name in json.loads(one["budgets"])} == {first, second}
        assert await scene.books(first) == await scene.books(second) == (2_000, 0)
