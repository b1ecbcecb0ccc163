"""The books: a copy of every row, from which the invariants see what each commit has changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from consumer.store.restore import MOVE_ON
from consumer.store.sql import FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION
from tests.simulation.commit_invariants import CommitInvariants
from tests.simulation.effect_invariants import EffectInvariants
from tests.simulation.platform import INVOCATION
from tests.simulation.seen import ENDED, FINISHED
from tests.simulation.web import CALLER

if TYPE_CHECKING:
    from tests.simulation.watch import Change, Execution, Lease, Task

APPLICATION = "another application"


class Books(CommitInvariants, EffectInvariants):
    """Keeps the last seen state of a database, and checks the invariants."""

    def committed(self, who: str, changes: list[Change]) -> None:
        """Check one commit, statement by statement."""
        for change in changes:
            fences = _fences(change) if change.tasks else {}
            self.with_ticket |= _with_ticket(change) if change.executions else set()
            for number, task in change.tasks.items():
                self._task(who, number, task, fences, given=change.statement.sql == MOVE_ON.sql)
            for number, execution in change.executions.items():
                if FIRST_EXECUTION <= number < FIRST_FOREIGN_EXECUTION:
                    self._execution(number, execution)
            for token, lease in change.leases.items():
                self._lease(token, lease)
            self._limited(change)
            for template in change.templates.values():
                if template is not None:
                    self.routes[template.id].append((self.sim.loop.time(), _length(template.route)))
        for change in changes:
            for name in (one for one, period in change.periods.items() if period):
                self.counters_are_sums(name)
                self.budget_is_kept(name)

    def _task(self, who: str, number: int, task: Task | None, fences: dict[int, int], *, given: bool) -> None:
        before = self.tasks.get(number)
        if self.haunted and task is not None and task.lease is not None:
            self.left_to_the_sweep.add(task.lease)
        if task is None:
            self.tasks.pop(number, None)
            return
        if before is not None:
            self.finished_stays_finished(before, task)
            if given:
                self.a_restored_task_gets_a_new_version(before, task)
            else:
                self.version_goes_up_by_one(before, task)
            self.no_stale_write(who, before, task, fences)
            if task.status in FINISHED and before.status != task.status:
                self.deadlines_are_kept(before, task)
                since = self.claimed_s.get(number, 0.0)
                self.lengths[number] = self.lengths_since(task.template_id, since)
            if who != APPLICATION:
                self.moved(who, before, task)
        else:
            self.no_id_is_given_out_again(task)
            if task.retry_of is not None:
                self.one_retry_at_a_time(task)
        if task.lease is not None and (before is None or before.lease != task.lease):
            self.claimed_s[number] = self.sim.loop.time()
        self.highest = max(self.highest, number)
        self.limits_are_kept(task)
        if who != APPLICATION:
            self.a_completed_task_has_a_result(task)
        self.tasks[number] = task
        self.states[number][task.version] = task.status

    def _lease(self, token: str, lease: Lease | None) -> None:
        if lease is None:
            self.leases.pop(token, None)
        elif token not in self.leases:
            self.leases[token] = INVOCATION.get()
            self.taken.set()
            self.a_task_that_lost_its_worker_is_claimed_alone(lease)
            self.a_claim_has_a_place_for_each_organization(lease)

    def _execution(self, number: int, execution: Execution | None) -> None:
        before = self.executions.get(number)
        if execution is None:
            self._count(before, None)
            if before is not None and before.profile:
                self.gone_micro += before.reserved_micro if before.cost_micro is None else before.cost_micro
            self.executions.pop(number, None)
            return
        if before is None:
            self.of_task[execution.task_id].append(number)
            self.one_open_execution(execution)
            self.nothing_begins_after_the_deadline(execution)
        else:
            self.ended_stays_ended(before, execution)
        if execution.status == "unknown":
            self.ever_unknown.add(number)
        self._count(before, execution)
        if execution.status in ENDED and (before is None or before.cost_micro != execution.cost_micro):
            self.cost_is_what_was_charged(execution)
            self.estimates_are_upper_bounds(execution)
        if before is None and execution.budgets:
            self.budget_is_a_hard_limit(execution)
        if (
            before is None and execution.status != "unknown"
        ):  # else it is a late answer, which is already paid
            self.every_budget_that_applies_is_asked(execution)
            self.nothing_begins_while_stopped(execution)
            self.an_unreadable_task_does_not_begin(execution)
            self.called(execution)
        self.executions[number] = execution

    def _count(self, before: Execution | None, after: Execution | None) -> None:
        for sign, execution in ((-1, before), (1, after)):
            if execution is None or not execution.budgets:
                continue
            for name in json.loads(execution.budgets):
                if execution.cost_micro is None:
                    self.sums[name][1] += sign * execution.reserved_micro
                else:
                    self.sums[name][0] += sign * execution.cost_micro
        if before and after is None and before.budgets:  # what was deleted stays spent
            for name in json.loads(before.budgets):
                charge = before.reserved_micro if before.cost_micro is None else before.cost_micro
                self.sums[name][0] += charge
        if (
            before
            and after
            and after.budgets
            and after.cost_micro is not None
            and self.begun(after.id) in self.overran
        ):
            over = after.cost_micro - max(before.cost_micro or 0, after.reserved_micro)
            for name in json.loads(after.budgets) if over > 0 else ():
                self.allowed[name] = self.allowed.get(name, 0) + over

    def _limited(self, change: Change) -> None:
        """Note changed budgets, periods and stops."""
        for budget in filter(None, change.budgets.values()):
            self.a_tenant_writes_its_own_budgets(CALLER.get(), self.budgets.get(budget.id), budget)
        self.budgets |= {number: budget for number, budget in change.budgets.items() if budget}
        for number in [one for one, budget in change.budgets.items() if budget is None]:
            self.budgets.pop(number, None)
        self.periods |= {name: period for name, period in change.periods.items() if period}
        for profile, rest in change.rests.items():
            before = self.rests.pop(profile, None)
            if rest is not None:
                self.rests[profile] = rest
                self.rested(before, rest)
        for stop in change.stops.values():
            self.stopped_at = None if stop is None else self.sim.loop.time()


def _length(route: Any) -> int | None:
    """The number of stages of a route; None if no worker can read it."""
    try:
        return len(json.loads(route)["stages"])
    except (KeyError, TypeError, ValueError):
        return None


def _with_ticket(change: Change) -> set[int]:
    """The executions that a statement begins if the state of their profile is still the one that their worker knew."""
    texts = (
        value for value in change.statement.parameters if isinstance(value, str) and '"ticket":' in value
    )
    return {row["execution"] for text in texts for row in json.loads(text) if row.get("ticket")}


def _fences(change: Change) -> dict[int, int]:
    """The versions that a statement names: rows with a task and its version."""
    found: dict[int, int] = {}
    for value in change.statement.parameters:
        if isinstance(value, str) and value.startswith('[{"') and '"version":' in value:
            for row in json.loads(value):
                if "task" in row and "version" in row:
                    found[row["task"]] = row["version"]
    return found
