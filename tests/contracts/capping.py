"""Caps that are set, changed and removed while work goes on, and late bills.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import io
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from consumer import telemetry
from consumer.core.errors import BadInput, NotFound
from consumer.core.outcome import Accepted, Succeeded, Unknown
from consumer.core.policy import DAY, HOUR, MINUTE
from consumer.ports import Refused
from consumer.provider import Verb
from consumer.service import admin, queries, stops
from tests.support.fakes import ANSWER, SCHEMA, Hold
from tests.support.ports import Crash
from tests.support.scene import PRICE, Scene, Suite, ai, route


def cap(value: str, scope: str = "organization", scope_id: int = 1, period: str = "day") -> dict[str, Any]:
    """The body of a budget, with its cap in dollars."""
    return {"scope": scope, "scope_id": scope_id, "period": period, "cap": value}


def vouched(most: str) -> dict[str, Any]:
    """A stage with a maximum cost in dollars."""
    return {"kind": "ai", "candidates": [{"profile": "unpriced", "max_cost": most}]}


class CapContract(Suite):
    async def test_a_charge_so_far_does_not_release_the_rest_of_the_reservation(self, scene: Scene) -> None:
        await scene.given(ai("job"), count=2)
        budget = await scene.budget(PRICE)
        scene.configure(batch_size=1)
        scene.network.script("job", Accepted("job-1", HOUR, charged=Decimal(0)))
        scene.network.script("job", Succeeded(ANSWER, charged=Decimal("0.01")), verb=Verb.POLL)
        await scene.drain()
        await scene.later(MINUTE)

        for _ in range(4):
            await scene.later(HOUR)
        assert await scene.books(budget) == (PRICE, 0)  # each job charged the declared price and not more

    async def test_a_charge_so_far_is_not_final_if_the_outcome_stays_unknown(self, scene: Scene) -> None:
        task = await scene.given(ai("job"), unknown="wait", job_s=3600)
        budget = await scene.budget(PRICE)
        scene.network.script("job", Accepted("job-1", HOUR, charged=Decimal(0)))
        scene.network.script("job", *[Accepted()] * 50, verb=Verb.POLL)
        scene.network.script("job", *[Unknown("?")] * 50, verb=Verb.CANCEL)
        await scene.drain()
        for _ in range(40):
            await scene.later(HOUR)
        (one, *_) = await scene.executions(task)
        assert one["status"] == "failed"
        assert (one["cost_source"], one["cost_micro"]) == ("bound", PRICE)
        assert await scene.books(budget) == (PRICE, 0)

    async def test_no_unknown_call_is_repeated_during_a_stop(self, scene: Scene) -> None:
        await scene.given(ai("keyed"))
        scene.network.script("keyed", Unknown("lost"))
        await scene.drain()
        await stops.stop(scene.world, "a runaway loop", "tester")
        sent = scene.network.count()

        for _ in range(3):
            await scene.later(MINUTE)

        assert scene.network.count() == sent

    async def test_a_raised_cap_counts_for_tasks_that_are_already_claimed(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), vouched("0.05"))
        await scene.budget(2 * PRICE)
        hold = Hold()
        scene.network.script("blind", hold)
        async with scene.draining():
            await hold.begun.wait()
            await admin.put_budget(scene.world, 1, cap("1"), "tester")
            hold.release()
        await scene.finish()
        row = await scene.task(task)
        assert row["status"] == "completed", row["reason"]

    async def test_a_cheaper_template_releases_the_tasks_that_now_fit(self, scene: Scene) -> None:
        await scene.organization(1)
        template = await scene.template(route(vouched("0.04")))
        (task,) = await scene.tasks(1, template)
        budget = await scene.budget(5 * PRICE, period="total")
        await scene.tasks(2, await scene.template(route(ai("blind"))), priority="urgent")
        await scene.drain()
        assert (await scene.task(task))["blocked_by"] == f"budget:{budget}"
        await admin.put_template(
            scene.world,
            1,
            {"id": template, "name": "t", "output_schema": SCHEMA, "route": route(vouched("0.02"))},
        )
        for _ in range(5):
            await scene.later(DAY)
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_task_that_waited_for_a_deleted_budget_continues(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=2)
        await scene.budget(PRICE, period="total")
        await scene.drain()
        await scene.sql("DELETE FROM budgets")
        for _ in range(5):
            await scene.later(DAY)
        assert await scene.statuses() == {"completed": 2}

    async def test_a_task_moved_to_another_template_leaves_the_old_budget(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=2)
        await scene.budget(
            PRICE, scope="template", scope_id=(await scene.task(task))["template_id"], period="total"
        )
        await scene.drain()
        assert (await scene.task(task + 1))["status"] == "pending"
        other = await scene.template(route(ai("blind")))
        await scene.sql("UPDATE tasks SET template_id = ?1 WHERE id = ?2", other, task + 1)
        for _ in range(5):
            await scene.later(DAY)
        assert await scene.statuses() == {"completed": 2}

    @pytest.mark.parametrize(
        "edit", ["period = 'day'", "scope = 'template'", "scope_id = 2", "id = 99", "tier = 'operator'"]
    )
    async def test_the_scope_of_a_budget_does_not_change(self, scene: Scene, edit: str) -> None:
        """Otherwise its waiting tasks would wait for ever, and its executions would count in another budget."""
        await scene.given(ai("blind"))
        await scene.budget(PRICE, period="total")

        with pytest.raises(Refused, match="keeps its scope and period"):
            await scene.sql(f"UPDATE budgets SET {edit}")

    async def test_the_budget_of_a_moved_template_belongs_to_its_new_organization(self, scene: Scene) -> None:
        await scene.organization(1, 2)
        template = await scene.template(route(ai("blind")))
        made = await admin.put_budget(scene.world, 1, cap("0", "template", template), "tester")
        await scene.sql("UPDATE task_templates SET organization_id = 2")

        number = await admin.put_budget(scene.world, 2, cap("1", "template", template), "the other")

        assert number == made
        (shown,) = await queries.budgets(scene.world, 2, number)
        assert shown["cap_micro"] == 1_000_000

    async def test_the_budget_of_a_moved_template_can_be_raised_by_its_id(self, scene: Scene) -> None:
        await scene.organization(1, 2)
        template = await scene.template(route(ai("blind")))
        made = await admin.put_budget(scene.world, 1, cap("0", "template", template), "tester")
        await scene.sql("UPDATE task_templates SET organization_id = 2")
        done = []
        for owner in (1, 2):
            with suppress(BadInput, NotFound):
                done.append(
                    await admin.put_budget(scene.world, owner, cap("1", "template", template), "x", made)
                )
        assert done

    async def test_a_later_task_does_not_get_the_budget_of_a_deleted_one(self, scene: Scene) -> None:
        await scene.organization(1, 2)
        old = (await scene.tasks(1, await scene.template(route(ai("blind")))))[0]
        await admin.put_budget(scene.world, 1, cap("0", "task", old, "total"), "tester")
        await scene.sql("DELETE FROM tasks WHERE id = ?1", old)
        theirs = await scene.template(route(ai("blind")), organization=2)
        (new,) = await scene.tasks(1, theirs, organization=2)
        await scene.drain()
        assert (await scene.task(new))["status"] == "completed", (new, old)

    async def test_a_later_template_does_not_get_the_budget_of_a_deleted_one(self, scene: Scene) -> None:
        await scene.organization(1, 2)
        old = await scene.template(route(ai("blind")))
        await admin.put_budget(scene.world, 1, cap("0", "template", old, "total"), "tester")
        await scene.sql("DELETE FROM task_templates WHERE id = ?1", old)
        theirs = await scene.template(route(ai("blind")), organization=2)
        (new,) = await scene.tasks(1, theirs, organization=2)
        await scene.drain()
        assert (await scene.task(new))["status"] == "completed", (theirs, old)

    async def test_of_several_full_budgets_the_one_that_is_full_for_longest_is_named(
        self, scene: Scene
    ) -> None:
        task = await scene.given(ai("blind"), count=2)
        await scene.budget(PRICE)
        month = await scene.budget(PRICE, period="month")
        await scene.drain()
        assert (await scene.task(task + 1))["blocked_by"] == f"budget:{month}"

    async def test_a_budget_that_fails_tasks_wins_over_one_that_lets_them_wait(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=2)
        await scene.budget(PRICE)
        await scene.budget(PRICE, period="month", refused="fail")
        await scene.drain()
        assert (await scene.task(task + 1))["status"] == "failed"

    async def test_a_task_that_fits_is_found_behind_many_that_do_not(self, scene: Scene) -> None:
        await scene.organization(1)
        await scene.budget(0, period="total")
        await scene.tasks(10, await scene.template(route(vouched("0.04"))))
        (small,) = await scene.tasks(1, await scene.template(route(ai("blind"))))
        await scene.finish()
        await scene.sql("UPDATE budgets SET cap_micro = ?1", 4 * PRICE - 1)
        for _ in range(5):
            await scene.later(DAY)
        assert (await scene.task(small))["status"] == "completed"

    async def test_released_room_finds_a_task_that_fits_behind_many_that_do_not(self, scene: Scene) -> None:
        await scene.organization(1)
        await scene.budget(5 * PRICE, period="total")
        first = await scene.template(route(vouched("0.05")))
        await scene.tasks(1, first, priority="urgent")
        hold = Hold(Succeeded(ANSWER, charged=Decimal("0.03")))
        scene.network.script("unpriced", hold)
        async with scene.draining():
            await hold.begun.wait()
            await scene.tasks(10, await scene.template(route(vouched("0.04"))))
            (small,) = await scene.tasks(1, await scene.template(route(ai("blind"))))
            await scene.finish()
            hold.release()
        for _ in range(5):
            await scene.later(DAY)
        assert (await scene.task(small))["status"] == "completed"

    async def test_a_raised_cap_resumes_all_tasks_that_fit(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=200)
        await scene.budget(0, period="total")
        await scene.finish()
        await admin.put_budget(scene.world, 1, cap("100", period="total"), "tester")
        await scene.finish()
        await scene.later(MINUTE)
        await scene.finish()
        assert await scene.statuses() == {"completed": 200}

    async def test_a_raised_cap_wakes_exactly_the_tasks_that_fit(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=50)
        await scene.budget(0, period="total")
        await scene.finish()
        (before,) = await scene.sql("SELECT sum(version) AS versions FROM tasks")
        await admin.put_budget(scene.world, 1, cap("0.01", period="total"), "tester")
        await scene.finish()
        (after,) = await scene.sql("SELECT sum(version) AS versions FROM tasks")
        assert (
            int(str(after["versions"])) - int(str(before["versions"])) == 2
        )  # one task was claimed and has ended

    async def test_a_raised_cap_serves_waiting_tasks_before_later_ones(self, scene: Scene) -> None:
        first = await scene.given(ai("blind"), count=150)
        await scene.budget(0, period="total")
        await scene.finish()
        await admin.put_budget(scene.world, 1, cap("1.20", period="total"), "tester")
        await scene.finish()
        later = await scene.tasks(20, (await scene.task(first))["template_id"], priority="low")
        await scene.finish()
        done = [number for number in later if (await scene.task(number))["status"] == "completed"]
        assert done == []

    async def test_an_overrun_reported_before_the_end_is_flagged(self, scene: Scene) -> None:
        log = io.StringIO()
        telemetry.configure("DEBUG", log)
        await scene.given(ai("job"))
        await scene.budget(PRICE)
        scene.network.script("job", Accepted("job-1", MINUTE, charged=Decimal(5)))
        await scene.drain()
        await scene.later(HOUR)
        assert "budget.overrun" in log.getvalue()

    async def test_a_late_charge_replaces_the_price_of_the_table(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("job-1", MINUTE))
        await scene.drain()
        await scene.later(HOUR)
        assert (await scene.executions(task))[0]["cost_source"] == "declared"
        provider = scene.world.providers["job"]
        monkeypatch.setattr(
            type(provider),
            "read_webhook",
            lambda *_: Succeeded(ANSWER, charged=Decimal("0.02")),
            raising=True,
        )
        await scene.webhook(task, "bill", {"output": ANSWER})
        (one,) = await scene.executions(task)
        assert (one["cost_micro"], one["cost_source"]) == (20_000, "provider")

    async def test_a_changed_cap_is_in_the_audit_log_once(self, scene: Scene) -> None:
        await scene.organization(1)
        scene.database.fail(3, after=True)
        await admin.put_budget(scene.world, 1, cap("1"), "tester")
        assert await scene.count("audit_log") == 1

    async def test_a_cap_does_not_change_without_an_audit_row(self, scene: Scene) -> None:
        await scene.organization(1)
        scene.database.fail(3, error=Crash())
        with suppress(Crash):
            await admin.put_budget(scene.world, 1, cap("1"), "tester")
        scene.database.heal()
        assert await scene.count("audit_log") == await scene.count("budgets")

    async def test_two_organizations_of_the_same_name_have_separate_costs(self, scene: Scene) -> None:
        await scene.organization(1, 2)
        for owner in (1, 2):
            await scene.tasks(
                1, await scene.template(route(ai("blind")), organization=owner), organization=owner
            )
        await scene.drain()
        assert len((await queries.costs(scene.world, None, "org"))["costs"]) == 2

    async def test_a_time_with_an_offset_is_understood(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        await scene.drain()  # at 03:33:20Z
        assert (await queries.costs(scene.world, 1, "provider", "2033-05-17T23:00:00-07:00"))["costs"] == []

    async def test_a_lowered_cap_does_not_fail_waiting_tasks(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=3)
        await scene.budget(PRICE, period="total")
        await scene.drain()
        await admin.put_budget(scene.world, 1, cap("0.005", period="total"), "tester")
        await scene.drain()
        assert await scene.statuses() == {"completed": 1, "pending": 2}

    async def test_no_later_task_is_sent_under_the_key_of_a_deleted_one(self, scene: Scene) -> None:
        old = await scene.given(ai("keyed"))
        await scene.drain()
        template = (await scene.task(old))["template_id"]
        await scene.sql("DELETE FROM task_executions")
        await scene.sql("DELETE FROM tasks")
        await scene.tasks(1, template)
        await scene.drain()
        first, second = scene.network.calls("keyed")
        assert first.key != second.key

    async def test_a_webhook_about_a_deleted_task_does_not_answer_a_later_one(self, scene: Scene) -> None:
        old = await scene.given(ai("job"))
        scene.network.script("job", *[Accepted("job-1", HOUR), Accepted("job-2", HOUR)])
        await scene.drain()
        template = (await scene.task(old))["template_id"]
        await scene.sql("DELETE FROM task_executions")
        await scene.sql("DELETE FROM tasks")
        (new,) = await scene.tasks(1, template)
        await scene.drain()
        await scene.webhook(old, "event of the old job", {"output": {"answer": "of the old one"}})
        await scene.finish()
        (one,) = await scene.executions(new)
        assert one["result"] is None, one["result"]

    async def test_an_alert_about_reservations_does_not_suppress_the_one_about_spending(
        self, scene: Scene
    ) -> None:
        await scene.given(ai("blind"), count=9)
        await scene.budget(10 * PRICE)
        scene.configure(connections=10, all_connections=20)
        hold = [Hold(Succeeded(ANSWER, charged=Decimal("0.001"))) for _ in range(9)]
        scene.network.script("blind", *hold)
        async with scene.draining():
            await hold[8].begun.wait()
            assert (await scene.tick()).alerts == 1  # 9 % of the cap is spent
            for one in hold:
                one.release()
        assert (await scene.tick()).alerts == 0
        template = (await scene.sql("SELECT template_id FROM tasks"))[0]["template_id"]
        await scene.tasks(8, int(str(template)))
        await scene.drain()
        assert (await scene.tick()).alerts == 1

    async def test_a_budget_cannot_be_replaced_under_its_id(self, scene: Scene) -> None:
        """A replaced budget would lose its counters."""
        await scene.given(ai("blind"), count=2)
        budget = await scene.budget(PRICE)
        await scene.drain()

        with pytest.raises(Refused, match="updated, not replaced"):
            await scene.sql(
                "REPLACE INTO budgets (id, organization_id, scope, scope_id, period, cap_micro)"
                " SELECT id, organization_id, scope, scope_id, period, cap_micro FROM budgets"
            )

        assert await scene.books(budget) == (PRICE, 0)
