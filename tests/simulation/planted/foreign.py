"""Bugs with rows of other applications, templates that are edited while tasks run, and hostile tenants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consumer.core import decide
from consumer.core.lifecycle import TaskState
from consumer.run import begin as beginning
from consumer.run.begin import Release
from consumer.service import admin as admin_service
from consumer.store import admin, begin
from consumer.store import sweep as sweep_sql
from consumer.store.sql import bad_column
from tests.simulation.planted.patch import Patch, bug


@bug
def cap_of_a_tenant_lifts_the_operators(patch: Patch) -> None:
    """A cap that a tenant sets is written into the tier of the operator."""
    patch.set(admin_service, "TENANT", "operator")


@bug
def unreadable_row_not_set_aside(patch: Patch) -> None:
    """A row with a value of another type is run like any other."""
    patch.everywhere(bad_column, lambda *_arguments: None)


@bug
def correction_of_a_row_is_not_noticed(patch: Patch) -> None:
    """A task that was set aside stays so when its row is corrected."""
    patch.schema("DROP TRIGGER tasks_corrected")


@bug
def correction_of_a_held_row_is_lost(patch: Patch) -> None:
    """A correction between the claim and the release of a task is lost."""
    patch.sql(begin.CORRECTED, "WHERE ", "WHERE false AND ")


@bug
def corrected_template_wakes_no_task(patch: Patch) -> None:
    """Tasks that waited for a route stay blocked when their template is written."""
    patch.sql(admin.UNBLOCK_TEMPLATE, "WHERE ", "WHERE false AND ")


@bug
def task_left_as_running_is_never_taken_back(patch: Patch) -> None:
    """A task that another application left as `running` stays so for ever."""
    patch.sql(sweep_sql.TAKEN_BACK, "WHERE id IN", "WHERE false AND id IN")


@bug
def deadline_of_a_task_left_as_running_ignored(patch: Patch) -> None:
    """The sweep leaves the deadlines of all running tasks to their workers, of those without a worker too."""
    for query in (sweep_sql.OVERDUE_STATUS, sweep_sql.OVERDUE_CALLS, sweep_sql.OVERDUE_TASKS):
        patch.sql(query, "(status <> 'running' OR lease IS NULL)", "status <> 'running'")


@bug
def saved_row_reopens_a_finished_task(patch: Patch) -> None:
    """A finished task is protected from a change of its status alone, not from a save of its whole row."""
    patch.schema(
        "DROP TRIGGER tasks_finished",
        "CREATE TRIGGER tasks_finished BEFORE UPDATE OF status ON tasks"
        " WHEN OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status IS NOT OLD.status"
        " AND NEW.updated_at IS OLD.updated_at BEGIN SELECT RAISE(ABORT, 'a finished task does not change'); END",
    )


@bug
def only_the_last_stage_completes(patch: Patch) -> None:
    """`==` instead of `>=`: the answer of a stage beyond the end of a shortened route does not complete its task."""

    def succeeded(at: Any, output: Any) -> Any:
        decision = original(at, output)
        beyond = at.needed and at.execution.stage + 1 > len(at.route.stages)
        if not beyond:
            return decision
        move = decide._go_on(at, at.task.position.next_stage(), feeds_next=True)
        return replace(decision, task=move)

    def prepare(world: Any, task: Any, now_ms: int) -> Any:
        made = prepared(world, task, now_ms)
        if isinstance(made, Release) and made.to is TaskState.COMPLETED and task.plan is not None:
            beyond = task.position.stage > len(task.plan.route.stages)
            return (
                made._replace(to=TaskState.FAILED, reason="no_candidate", last_execution=None)
                if beyond
                else made
            )
        return made

    original = patch.set(decide, "_succeeded", succeeded)
    prepared = beginning.prepare
    patch.everywhere(prepared, prepare)
