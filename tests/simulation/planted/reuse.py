"""Bugs in what deleted rows leave behind."""

from __future__ import annotations

from tests.simulation.planted.patch import Patch, bug


@bug
def deleting_lowers_what_was_spent(patch: Patch) -> None:
    """The cost of a deleted execution does not count as spent any more."""
    patch.schema(
        "DROP TRIGGER executions_deleted",
        "CREATE TRIGGER executions_deleted AFTER DELETE ON task_executions WHEN OLD.budgets IS NOT NULL BEGIN"
        " UPDATE budget_periods SET spent_micro = spent_micro - COALESCE(OLD.cost_micro, 0)"
        " WHERE id IN (SELECT value FROM json_each(OLD.budgets)); END",
    )
