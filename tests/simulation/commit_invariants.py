"""What must hold after every commit: each invariant is one function, and sees what the commit has changed."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.watch import Execution, Lease, Task
from tests.simulation.seen import ENDED, FINISHED, OPEN, Seen

OVERDUE_MS = 2 * 3_600_000

SLACK_MS = 120_000


def micro(amount: Decimal) -> int:
    """Micro-dollars, rounded up: computed here in another way than the product does."""
    return int((amount * 1_000_000).to_integral_value(ROUND_CEILING))


class CommitInvariants(Seen):
    """Invariants that compare a row before and after a commit."""

    def finished_stays_finished(self, before: Task, after: Task) -> None:
        """Neither the state, nor the stage, nor the outcome of a task changes once it has ended."""
        if before.status in FINISHED:
            same = (before.status, before.stage, before.last_execution, before.reason) == (
                after.status,
                after.stage,
                after.last_execution,
                after.reason,
            )
            self.must("finished_stays_finished", same, "{} became {}", before, after)

    def version_goes_up_by_one(self, before: Task, after: Task) -> None:
        """Every move has a version of its own, whoever makes it."""
        moved = (
            before.status != after.status
            or before.last_execution != after.last_execution
            or (before.stage, before.candidate, before.attempt)
            != (after.stage, after.candidate, after.attempt)
        )
        right = after.version == before.version + 1 if moved else after.version - before.version in (0, 1)
        self.must("version_goes_up_by_one", right, "{} became {}", before, after)

    def no_stale_write(self, who: str, before: Task, after: Task, fences: dict[int, int]) -> None:
        """Nobody moves a task who has not seen its present version."""
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
        """Whoever asks for a retry once more, because no answer came, has not asked for a second task."""
        others = [each.id for each in self.tasks.values() if each.retry_of == task.retry_of]
        open_still = [number for number in others if self.tasks[number].status not in FINISHED]
        self.must("one_retry_at_a_time", not open_still, "{} was made besides {}", task, open_still)

    def what_lost_its_worker_is_claimed_alone(self, lease: Lease) -> None:
        """It may be what kills its workers: then it takes no other along a second time."""
        claimed = [self.tasks[number] for number in json.loads(lease.task_ids) if number in self.tasks]
        alone = len(claimed) < 2 or not any(task.lost for task in claimed)
        self.must("what_lost_its_worker_is_claimed_alone", alone, "{}", claimed)

    def limits_are_kept(self, task: Task) -> None:
        """No more attempts, repairs and redos than its template allows; one attempt more repeats an unknown one."""
        limits = self.limits.get(task.template_id or 0)
        if limits is not None:
            within = task.attempt <= limits.attempts and task.repairs <= limits.repairs
            self.must("limits_are_kept", within and task.redos <= limits.redos, "{} has {}", task, limits)

    def deadlines_are_kept(self, before: Task, task: Task) -> None:
        """A task ends at its own deadline, whatever it waits for: at the first tick that gets through."""
        if task.deadline_ms is not None and before.status != "running":
            late = self.sim.now_ms() - task.deadline_ms
            self.must("deadlines_are_kept", late < OVERDUE_MS, "{} ended {} ms too late", task, late)

    def nothing_begins_after_the_deadline(self, execution: Execution) -> None:
        """What cannot be in time is not begun, and costs nothing."""
        task = self.tasks.get(execution.task_id)
        if task is not None and task.deadline_ms is not None:
            late = self.sim.now_ms() - task.deadline_ms
            self.must(
                "nothing_begins_after_the_deadline", late < SLACK_MS, "{} began {} ms late", execution, late
            )

    def one_outcome(self, task: Task) -> None:
        """What a completed task names as its outcome is there."""
        if task.status == "completed" and task.last_execution is not None:
            done = self.executions.get(task.last_execution)
            self.must("one_outcome", done is not None, "{} has no execution", task)

    def one_open_execution(self, execution: Execution) -> None:
        """A new execution begins while no earlier one is open, but for one that was unknown."""
        for other in self.of_task[execution.task_id]:
            found = self.executions.get(other)
            if found is not None and found.status in OPEN and other not in self.ever_unknown:
                self.broken("one_open_execution", "{} began while {} was open", execution, found)
        self.checked["one_open_execution"] += 1

    def ended_stays_ended(self, before: Execution, after: Execution) -> None:
        """Neither the state nor the result of an execution changes once it has ended."""
        if before.status in ENDED:
            same = (before.status, before.result, before.result_key) == (
                after.status,
                after.result,
                after.result_key,
            )
            self.must("ended_stays_ended", same, "{} became {}", before, after)

    def cost_is_what_was_charged(self, execution: Execution) -> None:
        """To the micro-dollar, where there is evidence."""
        if execution.provider in (None, "inbox", "echo"):
            return
        charged = micro(self.sim.services.ledger.get(execution.id, Decimal(0)))
        cost = execution.cost_micro
        where = (
            f"execution {execution.id} of task {execution.task_id} ({execution.profile}, {execution.status})"
        )
        words = f"{where}: {cost} ({execution.cost_source}), but {charged} was charged"
        if execution.cost_source == "bound":
            self.bound_covers_the_charge(execution, charged)
        elif cost is not None:
            self.must("cost_is_what_was_charged", cost == charged, "{}", words)
        else:
            self.broken("cost_is_what_was_charged", "{}", words)

    def bound_covers_the_charge(self, execution: Execution, charged: int) -> None:
        """Without evidence the reservation is charged, which is at least what the provider did charge."""
        cost = execution.cost_micro
        fair = cost == execution.reserved_micro and (charged <= cost or execution.id in self.overran)
        self.must("bound_covers_the_charge", fair, "{}, but {} was charged", execution, charged)

    def estimates_are_upper_bounds(self, execution: Execution) -> None:
        """What was reserved covers what was charged, unless the provider charged more than it had declared."""
        if execution.budgets and execution.cost_micro is not None and execution.id not in self.overran:
            within = execution.cost_micro <= execution.reserved_micro
            self.must("estimates_are_upper_bounds", within, "{} cost more than was reserved", execution)

    def every_budget_that_applies_is_asked(self, execution: Execution) -> None:
        """Those of its organization, of its template and its own, all that there are at that moment."""
        task = self.tasks.get(execution.task_id)
        template = None if task is None else task.template_id
        if template is not None:
            asked = {int(name.partition(":")[0]) for name in json.loads(execution.budgets or "[]")}
            apply = self.budgets_of(execution.task_id, template)
            self.must(
                "every_budget_that_applies_is_asked", asked == apply, "{}, but {} apply", execution, apply
            )

    def nothing_begins_while_stopped(self, execution: Execution) -> None:
        """After a stop no execution begins, on any worker."""
        self.must("nothing_begins_while_stopped", self.stopped_at is None, "{} began after a stop", execution)

    def budget_is_a_wall(self, execution: Execution) -> None:
        """At every admission what is spent, what is reserved and the estimate stay within the cap."""
        for name in json.loads(execution.budgets or "[]"):
            budget = int(name.partition(":")[0])
            cap = self.budgets[budget].cap_micro
            self.allowed[name] = cap
            total = sum(self.weights[name])
            # What had overrun before it stands in the total, and would have kept it out.
            self.must(
                "budget_is_a_wall",
                total <= cap,
                "{} was admitted to {}: {} of {}",
                execution,
                name,
                total,
                cap,
            )

    def counters_are_sums(self, name: str) -> None:
        """A period's counters are what its executions weigh, after every statement: nothing leaks."""
        period = self.periods[name]
        spent, reserved = self.weights[name]
        same = (period.spent_micro, period.reserved_micro) == (spent, reserved)
        self.must("counters_are_sums", same, "{}, but executions weigh {} and {}", period, spent, reserved)

    def budget_is_kept(self, name: str) -> None:
        """At every moment no more is spent and reserved than the cap and what providers have overrun it by."""
        spent, reserved = self.weights[name]
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
