"""Invariants after every commit: each is one function, and gets the rows that the commit changed."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.watch import Budget, Execution, Lease, Task
from tests.simulation.seen import ENDED, FINISHED, OPEN, Seen

OVERDUE_MS = 2 * 3_600_000

SLACK_MS = 120_000


def micro(amount: Decimal) -> int:
    """Micro-dollars, rounded up, computed in another way than in the product."""
    return int((amount * 1_000_000).to_integral_value(ROUND_CEILING))


class CommitInvariants(Seen):
    """Invariants that compare a row before and after a commit."""

    def finished_stays_finished(self, before: Task, after: Task) -> None:
        """Neither the status, nor the stage, nor the result of a task changes after its end."""
        if before.status in FINISHED:
            same = (before.status, before.stage, before.last_execution, before.reason) == (
                after.status,
                after.stage,
                after.last_execution,
                after.reason,
            )
            self.must("finished_stays_finished", same, "{} became {}", before, after)

    def version_goes_up_by_one(self, before: Task, after: Task) -> None:
        """Every change of a task's state raises its version by one, for every writer."""
        moved = (
            before.status != after.status
            or before.last_execution != after.last_execution
            or (before.stage, before.candidate, before.attempt)
            != (after.stage, after.candidate, after.attempt)
        )
        right = after.version == before.version + 1 if moved else after.version - before.version in (0, 1)
        self.must("version_goes_up_by_one", right, "{} became {}", before, after)

    def a_restored_task_gets_a_new_version(self, before: Task, after: Task) -> None:
        """The version that a restore gives a task is above every one that the task had in the lost time."""
        last = max((version for version, _ in self.former[after.id]), default=0)
        same = before._replace(version=after.version) == after
        right = same and after.version >= before.version and after.version > last
        self.must("a_restored_task_gets_a_new_version", right, "{} became {}", before, after)

    def no_id_is_given_out_again(self, task: Task) -> None:
        """After a restore was finished, no new task has an id that one had before, if the table can ensure that."""
        if self.sim.restores.finished and not self.sim.reuses_ids:
            self.must("no_id_is_given_out_again", task.id > self.highest, "{}, after {}", task, self.highest)

    def no_stale_write(self, who: str, before: Task, after: Task, fences: dict[int, int]) -> None:
        """A writer that has not read the current version of a task does not move it."""
        seen = fences.get(after.id)
        if seen is not None and after.version != before.version:
            self.must(
                "no_stale_write",
                seen == before.version,
                "{} moved {}, having seen version {}",
                who,
                before,
                seen,
            )

    def one_retry_at_a_time(self, task: Task) -> None:
        """A repeated request for a retry, after a lost response, does not make a second task."""
        others = [each.id for each in self.tasks.values() if each.retry_of == task.retry_of]
        open_still = [number for number in others if self.tasks[number].status not in FINISHED]
        self.must("one_retry_at_a_time", not open_still, "{} was made besides {}", task, open_still)

    def a_task_that_lost_its_worker_is_claimed_alone(self, lease: Lease) -> None:
        """Such a task may kill its workers, so it must not affect other tasks a second time."""
        claimed = [self.tasks[number] for number in json.loads(lease.task_ids) if number in self.tasks]
        alone = len(claimed) < 2 or not any(task.lost_leases for task in claimed)
        self.must("a_task_that_lost_its_worker_is_claimed_alone", alone, "{}", claimed)

    def limits_are_kept(self, task: Task) -> None:
        """A task has no more attempts, repairs and redos than its template allows."""
        limits = self.limits.get(task.template_id or 0)
        if limits is not None:
            within = task.attempt <= limits.attempts and task.repairs <= limits.repairs
            self.must("limits_are_kept", within and task.redos <= limits.redos, "{} has {}", task, limits)

    def deadlines_are_kept(self, before: Task, task: Task) -> None:
        """A task without a worker ends at its deadline: at the first tick that reaches the database."""
        if task.deadline_ms is not None and (before.status != "running" or before.lease is None):
            late = self.sim.now_ms() - task.deadline_ms
            self.must("deadlines_are_kept", late < OVERDUE_MS, "{} ended {} ms too late", task, late)

    def nothing_begins_after_the_deadline(self, execution: Execution) -> None:
        """A call that cannot end in time does not begin, and costs nothing."""
        task = self.tasks.get(execution.task_id)
        if task is not None and task.deadline_ms is not None:
            late = self.sim.now_ms() - task.deadline_ms
            self.must(
                "nothing_begins_after_the_deadline", late < SLACK_MS, "{} began {} ms late", execution, late
            )

    def an_unreadable_task_does_not_begin(self, execution: Execution) -> None:
        """No call begins for a task whose row could not be read when it was claimed."""
        claimed_s = self.claimed_s.get(execution.task_id, 0.0)
        blind = self.sim.applications.unreadable_since(execution.task_id, claimed_s)
        self.must("an_unreadable_task_does_not_begin", not blind, "{}", execution)

    def a_completed_task_has_a_result(self, task: Task) -> None:
        """The execution that a completed task names as its result exists."""
        if task.status == "completed" and task.last_execution is not None and not self.deleted[task.id]:
            done = self.executions.get(task.last_execution)
            self.must("a_completed_task_has_a_result", done is not None, "{} has no execution", task)

    def one_open_execution(self, execution: Execution) -> None:
        """A new execution begins only if no earlier one is open, except one that was unknown."""
        for other in self.of_task[execution.task_id]:
            found = self.executions.get(other)
            if found is not None and found.status in OPEN and other not in self.ever_unknown:
                self.broken("one_open_execution", "{} began while {} was open", execution, found)
        self.checked["one_open_execution"] += 1

    def ended_stays_ended(self, before: Execution, after: Execution) -> None:
        """Neither the status nor the result of an execution changes after its end.

        One that ended without an answer may get a late one, which is kept and not used."""
        if before.status in ENDED:
            stays = (before.result, before.result_key) == (after.result, after.result_key)
            empty = before.status in ("failed", "cancelled") and (before.result, before.result_key) == (
                None,
                None,
            )
            same = before.status == after.status and (stays or empty)
            self.must("ended_stays_ended", same, "{} became {}", before, after)

    def cost_is_what_was_charged(self, execution: Execution) -> None:
        """The recorded cost equals the provider's charge to the micro-dollar, if there is evidence."""
        if execution.provider in (None, "inbox", "echo"):
            return
        charged = micro(self.sim.services.charged(execution.id))
        cost = execution.cost_micro
        where = (
            f"execution {execution.id} of task {execution.task_id} ({execution.profile}, {execution.status})"
        )
        words = f"{where}: {cost} ({execution.cost_source}), but {charged} was charged"
        if execution.cost_source == "bound":
            self.bound_covers_the_charge(execution, charged)
        elif cost is not None or not self.sim.services.counts(execution.id):
            self.must("cost_is_what_was_charged", cost in (charged, None), "{}", words)
        else:
            self.broken("cost_is_what_was_charged", "{}", words)

    def bound_covers_the_charge(self, execution: Execution, charged: int) -> None:
        """Without evidence the reservation is charged, which is not less than the provider's charge."""
        cost = execution.cost_micro
        fair = cost == execution.reserved_micro and (
            charged <= cost or self.begun(execution.id) in self.overran
        )
        self.must("bound_covers_the_charge", fair, "{}, but {} was charged", execution, charged)

    def estimates_are_upper_bounds(self, execution: Execution) -> None:
        """The reservation covers the charge, unless the provider charged more than its declared maximum."""
        if (
            execution.budgets
            and execution.cost_micro is not None
            and self.begun(execution.id) not in self.overran
        ):
            within = execution.cost_micro <= execution.reserved_micro
            self.must("estimates_are_upper_bounds", within, "{} cost more than was reserved", execution)

    def every_budget_that_applies_is_asked(self, execution: Execution) -> None:
        """An execution names every existing budget of its organization, its template and its task."""
        task = self.tasks.get(execution.task_id)
        if task is not None:
            asked = {int(name.partition(":")[0]) for name in json.loads(execution.budgets or "[]")}
            apply = self.budgets_of(task)
            self.must(
                "every_budget_that_applies_is_asked", asked == apply, "{}, but {} apply", execution, apply
            )

    def nothing_begins_while_stopped(self, execution: Execution) -> None:
        """After a stop no execution begins, on any worker."""
        self.must("nothing_begins_while_stopped", self.stopped_at is None, "{} began after a stop", execution)

    def a_tenant_writes_its_own_budgets(self, caller: str, before: Budget | None, after: Budget) -> None:
        """A request with a key of a tenant neither makes nor changes a budget of the operator."""
        right = "administrator" not in caller or after.tier == "tenant" or after == before
        self.must("a_tenant_writes_its_own_budgets", right, "{} made {} of {}", caller, after, before)

    def budget_is_a_hard_limit(self, execution: Execution) -> None:
        """At every admission, the spent amount, the reservations and the estimate stay within the cap."""
        for name in json.loads(execution.budgets or "[]"):
            budget = int(name.partition(":")[0])
            cap = self.budgets[budget].cap_micro
            self.allowed[name] = cap
            total = sum(self.sums[name])
            # The total contains earlier overruns, which would have prevented this admission.
            self.must(
                "budget_is_a_hard_limit",
                total <= cap,
                "{} was admitted to {}: {} of {}",
                execution,
                name,
                total,
                cap,
            )

    def counters_are_sums(self, name: str) -> None:
        """After every statement, a period's counters are the sums over its executions: nothing leaks."""
        period = self.periods[name]
        spent, reserved = self.sums[name]
        same = (period.spent_micro, period.reserved_micro) == (spent, reserved)
        self.must(
            "counters_are_sums",
            same,
            "{}, but its executions have {} spent and {} reserved",
            period,
            spent,
            reserved,
        )

    def budget_is_kept(self, name: str) -> None:
        """At every moment, the spent and reserved amounts are within the cap plus the overruns of providers."""
        spent, reserved = self.sums[name]
        allowed = self.allowed.get(name, 0)
        self.must(
            "budget_is_kept",
            spent + reserved <= allowed,
            "{}: {} + {} of {}",
            name,
            spent,
            reserved,
            allowed,
        )
