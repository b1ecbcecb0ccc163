"""Bugs in budgets and costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from consumer.core import money
from consumer.core.money import Cost
from consumer.core.outcome import Succeeded, Unknown
from consumer.execution import price_book, prices, settle, settlement
from consumer.execution.price_corrections import correction
from consumer.ports import Statement
from consumer.run import begin as beginning
from consumer.store import begin as begin_sql
from consumer.store import claim as claim_sql
from consumer.store import room, sweep, webhooks
from consumer.store import settle as settle_sql
from consumer.store.batch import Batch, commit
from tests.simulation.planted.patch import Patch, bug

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from consumer.execution.settlement import Ended
    from consumer.run.begin import Intent
    from consumer.store.batch import Handle


@bug
def reserved_outside_the_batch(patch: Patch) -> None:
    """The room in a budget is read first, and reserved in a later round trip."""
    patch.schema("DROP TRIGGER executions_admission")

    async def commit(self: Batch) -> Any:
        begin = begin_sql.BEGIN.sql
        self._statements = [
            await _admitted(self, statement) if statement.sql == begin else statement
            for statement in self.statements
        ]
        return await original(self)

    original = patch.set(Batch, "commit", commit)


async def _admitted(batch: Batch, begin: Statement) -> Statement:
    """The same begin, without the intents for which there is no room now."""
    values: list[Any] = list(begin.parameters)
    place = next(index for index, value in enumerate(values) if str(value).startswith("[{"))
    wanted = {row["execution"]: json.loads(row["budgets"] or "[]") for row in json.loads(values[place])}
    names = json.dumps([name for periods in wanted.values() for name in periods])
    statement = begin_sql.FULL_PERIODS(periods=names)
    ((found, *_),) = await commit(batch._database, batch._entropy, [statement])
    room: dict[Any, Any] = {
        row["id"]: row["cap_micro"] - row["spent_micro"] - row["reserved_micro"]  # type: ignore[operator]
        for row in found
    }
    admitted = [
        row
        for row in json.loads(values[place])
        if all(
            room.get(name, row["reserved_micro"]) >= row["reserved_micro"]
            for name in wanted[row["execution"]]
        )
    ]
    values[place] = json.dumps(admitted)
    return Statement(begin.sql, tuple(values))


@bug
def no_admission(patch: Patch) -> None:
    """Budgets are stored, but admission does not check them."""
    patch.schema("DROP TRIGGER executions_admission")


@bug
def one_budget_of_several(patch: Patch) -> None:
    """If several budgets apply, only the first one is checked."""

    def begin(batch: Batch, intents: Sequence[Intent], now_ms: int) -> Handle:
        for intent in intents:
            intent.periods = intent.periods[:1]
        return original(batch, intents, now_ms)

    original = beginning.begin
    patch.everywhere(original, begin)


@bug
def new_budget_ignored_by_claimed_tasks(patch: Patch) -> None:
    """The applicable budgets are read at the claim of a task, and never again."""
    patch.sql(
        begin_sql.BEGIN,
        "NOT EXISTS (SELECT 1 FROM budgets\nWHERE ",
        "NOT EXISTS (SELECT 1 FROM budgets\nWHERE false AND ",
    )


@bug
def stop_ignored_by_claimed_tasks(patch: Patch) -> None:
    """After a stop, no task is claimed, but claimed tasks still begin."""
    patch.sql(begin_sql.BEGIN, "NOT EXISTS (SELECT 1 FROM stops)", "true")


@bug
def released_room_wakes_no_task(patch: Patch) -> None:
    """Tasks that a budget blocked wait for the next period, even if room is released or a cap is raised."""
    for query in (room.WAKE, room.WAKE_BUDGET, room.WAKE_SETTLED):
        patch.sql(query, "WHERE free.room >= ", "WHERE false AND free.room >= ")


@bug
def operators_budget_ignored(patch: Patch) -> None:
    """Only the budgets of the tenant apply."""
    applies = "NOT EXISTS (SELECT 1 FROM budgets\nWHERE "
    patch.sql(begin_sql.BEGIN, applies, f"{applies}budgets.tier = 'tenant' AND ")
    exists = "WHERE EXISTS (SELECT 1 FROM budgets)"
    patch.sql(claim_sql.CLAIMED_BUDGETS, exists, f"{exists} AND budgets.tier = 'tenant'")


@bug
def nearly_full_budget_without_an_alert(patch: Patch) -> None:
    """No alert is raised before a budget is used up."""
    patch.sql(sweep.ALERT, "WHERE ", "WHERE false AND ")


@bug
def nothing_is_reserved(patch: Patch) -> None:
    """The estimate of a call is zero, so all concurrent calls are admitted."""
    patch.everywhere(prices.bound, lambda *_arguments: 0)


@bug
def settled_without_release(patch: Patch) -> None:
    """A settle adds the cost to the spent amount, and keeps the reservation."""
    patch.schema(
        "DROP TRIGGER executions_charge",
        "CREATE TRIGGER executions_charge AFTER UPDATE OF cost_micro ON task_executions"
        " WHEN NEW.budgets IS NOT NULL AND NEW.cost_micro IS NOT OLD.cost_micro BEGIN"
        " UPDATE budget_periods SET spent_micro = spent_micro + NEW.cost_micro - COALESCE(OLD.cost_micro, 0)"
        " WHERE id IN (SELECT value FROM json_each(NEW.budgets)); END",
    )


@bug
def charged_to_the_period_of_the_settle(patch: Patch) -> None:
    """A cost counts in the period of the settle, instead of the period of the admission."""
    patch.schema(
        "DROP TRIGGER executions_charge",
        "CREATE TRIGGER executions_charge AFTER UPDATE OF cost_micro ON task_executions"
        " WHEN NEW.budgets IS NOT NULL AND NEW.cost_micro IS NOT OLD.cost_micro BEGIN"
        " UPDATE budget_periods SET reserved_micro = max(0, reserved_micro"
        " - CASE WHEN OLD.cost_micro IS NULL THEN OLD.reserved_micro ELSE 0 END)"
        " WHERE id IN (SELECT value FROM json_each(NEW.budgets));"
        " UPDATE budget_periods SET spent_micro = spent_micro + NEW.cost_micro - COALESCE(OLD.cost_micro, 0)"
        " WHERE starts_ms <= CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)"
        " AND ends_ms > CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)"
        " AND budget_id IN (SELECT CAST(value AS INTEGER) FROM json_each(NEW.budgets)); END",
    )


@bug
def late_cost_dropped(patch: Patch) -> None:
    """The charge for a late result is not recorded."""

    def rebilling(*_arguments: object) -> list[object]:
        return []

    patch.everywhere(settle.rebilling, rebilling)


@bug
def cost_of_failures_dropped(patch: Patch) -> None:
    """Calls that did not succeed count as free."""

    def cost(ended: Ended) -> Cost:
        return original(ended) if isinstance(ended.outcome, Succeeded) else Cost(0, "none")

    original = settlement.cost
    patch.everywhere(original, cost)


@bug
def float_money(patch: Patch) -> None:
    """Amounts are floating-point numbers, rounded to the nearest micro-dollar."""

    def to_micro(amount: Decimal) -> int:
        return round(float(amount) * 1_000_000)

    patch.everywhere(money.to_micro, to_micro)


@bug
def unknown_price_counts_as_zero(patch: Patch) -> None:
    """An unknown cost counts as zero."""
    patch.everywhere(prices.by_bound, lambda *_arguments: Cost(0, "bound"))


@bug
def duplicate_webhook_charged_twice(patch: Patch) -> None:
    """A webhook that is sent twice is charged twice."""
    patch.sql(webhooks.RECEIVE, "DO NOTHING", "DO UPDATE SET handled_ms = NULL")
    patch.sql(settle_sql.REBILL, "SET cost_micro = ?", "SET cost_micro = COALESCE(cost_micro, 0) + ?")
    patch.sql(settle_sql.REBILL, "(cost_micro IS NULL OR ", "(true OR ")


@bug
def room_wakes_only_the_tenants_tier(patch: Patch) -> None:
    """Room in a budget of the operator wakes no task, because its blocker has another name."""
    name = "CASE budget.tier WHEN 'operator' THEN 'budget:operator:' ELSE 'budget:' END"
    for query in (room.WAKE, room.WAKE_BUDGET, room.WAKE_SETTLED):
        patch.sql(query, name, "'budget:'")


@bug
def deleting_frees_an_unknown_cost(patch: Patch) -> None:
    """The reservation of a deleted execution whose cost is unknown is free again."""
    patch.schema(
        "DROP TRIGGER executions_deleted",
        "CREATE TRIGGER executions_deleted AFTER DELETE ON task_executions WHEN OLD.budgets IS NOT NULL BEGIN"
        " UPDATE budget_periods SET reserved_micro = max(0, reserved_micro"
        " - CASE WHEN OLD.cost_micro IS NULL THEN OLD.reserved_micro ELSE 0 END)"
        " WHERE id IN (SELECT value FROM json_each(OLD.budgets)); END",
    )


@bug
def deleted_costs_leave_the_lists(patch: Patch) -> None:
    """No ledger row keeps what deleted executions have cost."""
    patch.schema("DROP TRIGGER executions_ledger")


@bug
def a_tasks_budget_stays_open(patch: Patch) -> None:
    """The budget of a task does not end with its task, so that every sweep reads it."""
    patch.schema("DROP TRIGGER tasks_ended")


@bug
def unknown_outcome_frees_its_reservation(patch: Patch) -> None:
    """A call whose outcome is unknown counts as free until evidence comes."""

    def so_far(ended: Ended) -> Cost:
        return Cost(0, "none") if isinstance(ended.outcome, Unknown) else original(ended)

    original = settlement.cost_so_far
    patch.everywhere(original, so_far)


@bug
def corrected_price_is_corrected_twice(patch: Patch) -> None:
    """A rate that replaces the one of the price book is raised again by the difference of the two."""

    def total(provider: str, model: str, usage: Any, tokens: tuple[int, int], at_ms: int) -> Any:
        found = original(provider, model, usage, tokens, at_ms)
        corrected, book = correction(provider, model, at_ms), price_book.listed(provider, model, at_ms)
        return found if found is None or not corrected or not book else found * corrected.input / book[1]

    original = patch.set(price_book, "total", total)
