"""Bugs in ids that come back, deleted rows, and budgets of two tiers."""

from __future__ import annotations

from consumer.execution import call
from consumer.store import settle
from tests.simulation.planted.patch import Patch, bug


@bug
def key_of_a_call_is_its_id(patch: Patch) -> None:
    """The key of a call depends on ids alone, so that a later task with the same id gets an old answer."""

    def provider_key(execution: int, _identity: str, stage: int, candidate: int, attempt: int) -> str:
        return f"bizq-{execution}-{stage}-{candidate}-{attempt}"

    patch.everywhere(call.provider_key, provider_key)


@bug
def settle_without_its_lease(patch: Patch) -> None:
    """A settle names the execution by its id alone."""
    patch.sql(settle.SETTLE_EXECUTIONS, "AND task_executions.lease IS value ->> 'lease'", "")
    patch.sql(settle.SETTLE_TASKS, "AND e.lease IS value ->> 'lease'", "")


@bug
def deleting_lowers_what_was_spent(patch: Patch) -> None:
    """The cost of a deleted execution does not count as spent any more."""
    patch.schema(
        "DROP TRIGGER executions_deleted",
        "CREATE TRIGGER executions_deleted AFTER DELETE ON task_executions WHEN OLD.budgets IS NOT NULL BEGIN"
        " UPDATE budget_periods SET spent_micro = spent_micro - COALESCE(OLD.cost_micro, 0)"
        " WHERE id IN (SELECT value FROM json_each(OLD.budgets)); END",
    )
