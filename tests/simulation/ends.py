"""Invariants at the end of a seed, after the faults have stopped; each is one function."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from consumer.core.budget import blocking, period_of
from consumer.core.snapshot import key
from consumer.core.strictjson import dump_json
from consumer.store.sql import FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION
from tests.simulation.commit_invariants import micro
from tests.simulation.journal import disagreements
from tests.simulation.seen import ENDED, FINISHED, OPEN

if TYPE_CHECKING:
    from tests.simulation.seen import Begun
    from tests.simulation.simulation import Simulation
    from tests.simulation.watch import Budget


_OUTBOX = "SELECT * FROM outbox"


def unfinished(sim: Simulation) -> list[str]:
    """The rows that must not stay: tasks neither finished nor waiting for a named budget, open calls, leases."""
    found = [
        f"task {task.id} is {task.status} ({task.reason or task.blocked_by})"
        for task in sim.books.tasks.values()
        if task.status not in FINISHED and not waits_for_a_name(sim, task.id)
    ]
    found += [str(row) for row in sim.database.ask(_OUTBOX) + sim.database.ask("SELECT * FROM leases")]
    found += [
        f"execution {each.id} is {each.status}"
        for each in sim.books.executions.values()
        if each.status in OPEN
    ]
    return found


def busy(sim: Simulation) -> bool:
    """Whether there is still work, apart from blocked tasks."""
    return bool(unfinished(sim) or without_an_alert(sim))


def waits_for_a_name(sim: Simulation, number: int) -> bool:
    """Whether a task waits for a budget without room and without a near next period, for a missing route, or for a
    value that an application never corrected."""
    task = sim.books.tasks[number]
    if task.blocked_by == "adopt":  # it is older than the worker, and an application has taken it for itself
        return task.status in ("running", "waiting")
    if task.status != "pending":
        return False
    budget = blocking(task.blocked_by)
    if (task.blocked_by or "").startswith("bad_row:"):
        return bool(sim.applications.unreadable.get(number))
    if (task.blocked_by or "").startswith("no_route:"):
        return task.template_id in sim.editors.broken
    if budget is None:
        return task.blocked_by == "no_organization"
    return not _gets_room(sim, sim.books.budgets[budget], task.needs_micro or 0)


def _gets_room(sim: Simulation, budget: Budget, needs: int) -> bool:
    """Whether a budget has room for a task now, or will have it on the next day."""
    if budget.period == "day":
        return needs <= budget.cap_micro
    period = sim.books.periods.get(period_of(budget.id, budget.period, sim.now_ms()).id)
    used = 0 if period is None else period.spent_micro + period.reserved_micro
    return used + needs <= budget.cap_micro


def without_an_alert(sim: Simulation) -> list[str]:
    """Nearly full periods without an end for which no alert was raised.

    The budget of a task that has ended needs none: no work waits for it."""
    rows = sim.database.ask(
        "SELECT period.id FROM budget_periods period JOIN budgets ON budgets.id = budget_id"
        " WHERE budgets.period = 'total' AND alerted_ms IS NULL AND spent_micro + reserved_micro > 0"
        " AND 5 * (spent_micro + reserved_micro) >= 4 * cap_micro"
        " AND (budgets.scope <> 'task' OR EXISTS (SELECT 1 FROM tasks WHERE tasks.id = budgets.scope_id"
        "   AND tasks.status NOT IN ('completed', 'failed', 'cancelled')))"
    )
    return [row["id"] for row in rows]


def check(sim: Simulation) -> None:
    """Check every invariant, until one is violated."""
    for invariant in ENDS:
        if sim.report.violation is None:
            sim.books.checked[invariant.__name__] += 1
            why = invariant(sim)
            if why is not None:
                sim.violated(invariant.__name__, why)


def every_task_ends(sim: Simulation) -> str | None:
    """Without further faults, every task ends or waits for a budget or a route that it names; no call stays open."""
    left = unfinished(sim)
    return "; ".join(left[:5]) if left else None


def no_wanted_task_is_lost(sim: Simulation) -> str | None:
    """Every task that a caller kept submitting until it got an answer exists."""
    lost = set(range(sim.plan.tasks)) - set(sim.others.made)
    return f"never made: {sorted(lost)[:5]}" if lost else None


def no_lease_leaks(sim: Simulation) -> str | None:
    """If no worker runs, no lease exists and no task names one."""
    left = sim.database.ask("SELECT token, task_ids FROM leases")
    held = sim.database.ask(
        "SELECT id, status, lease FROM tasks WHERE lease IS NOT NULL AND status <> 'running'"
    )
    return f"{left} {held}" if left or held else None


def nearly_full_budgets_raise_an_alert(sim: Simulation) -> str | None:
    """An alert was raised for each budget of which four fifths are used, except for the budgets of ended tasks."""
    left = without_an_alert(sim)
    return f"no alert was raised for {left}" if left else None


def nothing_stays_in_the_outbox(sim: Simulation) -> str | None:
    """Every pending publication was made."""
    left = sim.database.ask(_OUTBOX)
    return str(left[:5]) if left else None


def no_reservation_leaks(sim: Simulation) -> str | None:
    """No budget keeps a reservation of an ended execution, unless its provider never says what it cost."""
    unknown = Counter[str]()
    for each in sim.books.executions.values():
        if each.cost_micro is None and not sim.services.counts(each.id):
            unknown.update(dict.fromkeys(json.loads(each.budgets or "[]"), each.reserved_micro))
    left = sim.database.ask("SELECT id, reserved_micro FROM budget_periods WHERE reserved_micro > 0")
    leaks = [row for row in left if row["reserved_micro"] != unknown[row["id"]]]
    return str(leaks) if leaks else None


def one_success_per_stage(sim: Simulation) -> str | None:
    """A stage has one answer, and one more for each redo."""
    done = Counter(
        (each.task_id, each.stage) for each in sim.books.executions.values() if each.status == "succeeded"
    )
    for (task, stage), count in done.items():
        row = sim.books.tasks[task]
        if count > 1 + row.redos:
            return f"task {task} has {count} answers for stage {stage} after {row.redos} redos"
    return None


def one_result_per_task(sim: Simulation) -> str | None:
    """A completed task's result is a success of its last stage, or of a later one if its route was shortened."""
    rows = sim.database.ask(
        "SELECT tasks.id, tasks.version, tasks.last_execution, e.status, e.stage FROM tasks"
        " LEFT JOIN task_executions e ON e.id = tasks.last_execution"
        " WHERE tasks.status = 'completed' AND NOT EXISTS (SELECT 1 FROM audit_log a WHERE a.task_id = tasks.id"
        " AND a.detail LIKE '%-> completed') AND tasks.version > 0"  # else it was inserted as completed
    )
    for row in rows:
        if sim.books.deleted[row["id"]]:
            continue
        last = min(sim.books.lengths[row["id"]]) - 1
        if row["status"] != "succeeded" or row["stage"] < last:
            return f"{row}, but the last stage is {last}"
    return None


def no_answer_is_lost_to_an_edit(sim: Simulation) -> str | None:
    """A task that stands beyond the end of its route does not fail while there is an answer of the stage before."""
    for task in sim.books.tasks.values():
        lengths = sim.books.lengths.get(task.id)
        if task.status != "failed" or not lengths or task.stage < max(lengths):
            continue
        if not (task.reason or "").startswith("no_candidate"):
            continue
        for number in sim.books.of_task[task.id]:
            each = sim.books.executions.get(number)
            if each is not None and (each.status, each.stage) == ("succeeded", task.stage - 1):
                return f"{task} failed, although {each} has an answer"
    return None


def every_cost_is_right(sim: Simulation) -> str | None:
    """At the end, all recorded costs equal the providers' charges, late ones too."""
    for each in sim.books.executions.values():
        if each.status in ENDED and each.id < FIRST_FOREIGN_EXECUTION:
            sim.books.cost_is_what_was_charged(each)
    return None


def late_bills_are_kept(sim: Simulation) -> str | None:
    """A charge reported by an accepted webhook is recorded, however late it came."""
    for begun, charged in sim.services.hooks.reported_charges.items():
        if _cannot_be_matched(sim, begun) or begun != sim.books.begun(begun.id):
            continue
        row = sim.books.executions.get(begun.id)
        if row is not None and row.cost_micro != micro(charged):
            books = f"{row.cost_micro} ({row.cost_source}, {row.status})"
            return f"execution {begun.id} was charged {micro(charged)} by a webhook, but the row has {books}"
    return None


def each_webhook_has_one_effect(sim: Simulation) -> str | None:
    """A webhook answered with 2xx is stored and in the end handled; a forged one is not stored."""
    rows = {(row["profile"], row["event_id"]): row for row in sim.database.ask("SELECT * FROM webhooks")}
    hooks = sim.services.hooks
    for event, begun in hooks.accepted.items():
        lost = begun != sim.books.begun(begun.id) or _cannot_be_matched(sim, begun)
        if event not in rows and not lost:
            return f"{event} was accepted and not stored"
        if not lost and rows[event]["handled_ms"] is None:
            return f"{event} of execution {begun.id} was stored and never handled"
    for event in hooks.forged:
        if event in rows:
            return f"{event} is forged and was stored"
    return None


def _cannot_be_matched(sim: Simulation, begun: Begun) -> bool:
    """Whether its events name only a job id that the worker never received."""
    hooks, row = sim.services.hooks, sim.books.executions.get(begun.id)
    if begun not in hooks.bare or row is None:
        return False
    return row.external_id is None


def live_status_converges(sim: Simulation) -> str | None:
    """The live status shows the end of each task, and never a state that was not committed."""
    for task in sim.books.tasks.values():
        entry = sim.statuses.entries.get(key(task.id, task.identity))
        if entry is None:
            if task.status in FINISHED and task.version > 0:  # else it was inserted as finished
                return f"task {task.id} is {task.status}, and has no live status"
            continue
        shown = json.loads(entry.value)
        if task.status in FINISHED and (shown["status"], shown["version"]) != (task.status, task.version):
            return f"task {task.id} is {task.status} v{task.version}, but readers see {shown}"
        if shown["version"] > task.version:
            return f"task {task.id} is at v{task.version}, but readers see {shown}"
    return None


def answers_are_kept_as_they_were_given(sim: Simulation) -> str | None:
    """The stored result of a success is the answer of its provider."""
    rows = sim.database.ask(
        "SELECT id, task_id, provider, result, result_key FROM task_executions"
        " WHERE status = 'succeeded' AND id BETWEEN ?1 AND ?2",
        *(FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION),
    )
    for row in rows:
        answer = sim.stored(row["result"], row["result_key"])
        by_hand = row["provider"] in ("inbox", "echo")
        if answer is None if by_hand else answer not in sim.services.answers_of(row["task_id"]):
            return f"execution {row['id']} stores {str(answer)[:80]}, which is not an answer of its provider"
    return None


def history_replays_to_the_row(sim: Simulation) -> str | None:
    """A task's row follows from its executions and its audit log."""
    rows = sim.database.ask(
        "SELECT tasks.id, status, version, stage, last_execution,"
        " (SELECT sum(cost_micro) FROM task_executions e WHERE e.task_id = tasks.id"
        " AND e.id BETWEEN ?1 AND ?2) AS cost_micro FROM tasks",
        *(FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION),
    )
    executions = _by_task(
        sim.database.ask(
            "SELECT id, task_id, status, stage, cost_micro FROM task_executions WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
            *(FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION),
        )
    )
    audit = _by_task(sim.database.ask("SELECT task_id, event, detail FROM audit_log ORDER BY id"))
    for row in rows:
        found = (
            []
            if sim.books.deleted[row["id"]] or (row["status"] in FINISHED and row["version"] == 0)
            else disagreements(row, executions[row["id"]], audit[row["id"]])
        )
        if found:
            return f"task {row['id']}: {found[0]}"
    return None


def _by_task(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["task_id"]].append(row)
    return found


def _whole(sim: Simulation, detail: str) -> str:
    """An entry of the audit log, with the text that it names where a row could not hold it."""
    key = re.search(r"stored as (\S+)", detail)
    return detail if key is None else detail + (sim.blob(key[1]) or "")


def receipts_are_true(sim: Simulation) -> str | None:
    """An answer is stored to the letter if its receipt says `used`, and in the audit log if it says `kept`."""
    for execution, sent in sim.people.kept:
        rows = sim.database.ask(
            "SELECT detail FROM audit_log WHERE task_id = ?1 AND event = 'answer not used'", execution.task_id
        )
        if not any(dump_json(sent) in _whole(sim, str(row["detail"])) for row in rows):
            return f"{str(sent)[:80]} to {execution.id} is kept by its receipt, but the audit log has {rows}"
    for execution, answer in sim.people.used:
        rows = sim.database.ask(
            "SELECT result, result_key FROM task_executions WHERE task_id = ?1 AND provider = 'inbox'"
            " AND (status = 'succeeded' OR reason = 'rejected')",
            execution.task_id,
        )
        if answer not in [sim.stored(row["result"], row["result_key"]) for row in rows]:
            return f"{str(answer)[:80]} to {execution.id} is used by its receipt, but the rows have {rows}"
    return None


def a_tasks_budget_ends_with_it(sim: Simulation) -> str | None:
    """No sweep reads the budget of a finished task: its periods are closed."""
    left = sim.database.ask(
        "SELECT period.id FROM budget_periods period JOIN budgets ON budgets.id = budget_id"
        " JOIN tasks ON tasks.id = scope_id WHERE scope = 'task' AND open = 1"
        " AND tasks.status IN ('completed', 'failed', 'cancelled')"
    )
    return f"open periods of finished tasks: {left[:5]}" if left else None


def lists_keep_the_cost_of_deleted_rows(sim: Simulation) -> str | None:
    """The ledger holds what the deleted executions have cost."""
    (row,) = sim.database.ask("SELECT COALESCE(sum(cost_micro), 0) AS kept FROM ledger")
    gone = sim.books.gone_micro
    return None if row["kept"] == gone else f"the ledger has {row['kept']} of {gone} micro-dollars"


ENDS = (
    every_task_ends,
    no_wanted_task_is_lost,
    no_lease_leaks,
    nearly_full_budgets_raise_an_alert,
    nothing_stays_in_the_outbox,
    no_reservation_leaks,
    one_success_per_stage,
    one_result_per_task,
    no_answer_is_lost_to_an_edit,
    every_cost_is_right,
    late_bills_are_kept,
    each_webhook_has_one_effect,
    live_status_converges,
    answers_are_kept_as_they_were_given,
    history_replays_to_the_row,
    receipts_are_true,
    a_tasks_budget_ends_with_it,
    lists_keep_the_cost_of_deleted_rows,
)
