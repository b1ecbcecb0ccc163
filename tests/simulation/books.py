"""What must hold after every commit: each invariant is one function, and sees what the commit has changed.

The books keep their own copy of what was last known of each row, so that an invariant compares before and after.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from consumer.core.template import Limits
from consumer.store.sql import FIRST_EXECUTION, FIRST_FOREIGN_EXECUTION, task_of
from tests.simulation.isolates import INVOCATION
from tests.simulation.scenario import ROUTES, organization_of
from tests.simulation.watch import Budget

if TYPE_CHECKING:
    from tests.simulation.isolates import Isolate
    from tests.simulation.simulation import Simulation
    from tests.simulation.watch import Change, Execution, Lease, Period, Task

APPLICATION = "another application"
FINISHED = frozenset({"completed", "failed", "cancelled"})
ENDED = frozenset({"succeeded", "failed", "cancelled"})
OVERDUE_MS = 2 * 3_600_000
SLACK_MS = 120_000
ON_ITS_WAY_S = 60.0
OPEN = frozenset({"running", "waiting", "unknown"})


def micro(amount: Decimal) -> int:
    """Micro-dollars, rounded up: computed here in another way than the product does."""
    return int((amount * 1_000_000).to_integral_value(ROUND_CEILING))


class Books:
    """Everything that was seen of a database, and the checks."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.tasks: dict[int, Task] = {}
        self.executions: dict[int, Execution] = {}
        self.of_task: dict[int, list[int]] = defaultdict(list)
        self.periods: dict[str, Period] = {}
        self.budgets: dict[int, Budget] = {}
        self.stopped_at: float | None = None
        self.weights: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.allowed: dict[str, int] = {}
        self.leases: dict[str, int] = {}
        self.states: dict[int, dict[int, str]] = defaultdict(dict)
        self.ever_unknown: set[int] = set()
        self.overran: set[int] = set()
        self.limits = {number: Limits(**limits) for number, (_, limits) in enumerate(ROUTES, start=1)}
        self.acknowledged_by: set[int] = set()
        self.haunted = False
        self.left_to_the_sweep: set[str] = set()
        self.sent: set[int] = set()
        self.checked: Counter[str] = Counter()
        self.taken = asyncio.Event()

    # --- what happens ------------------------------------------------------------------------------------------------

    def committed(self, who: str, changes: list[Change]) -> None:
        """One commit, statement by statement."""
        for change in changes:
            fences = _fences(change) if change.tasks else {}
            for number, task in change.tasks.items():
                self._task(who, number, task, fences)
            for number, execution in change.executions.items():
                if FIRST_EXECUTION <= number < FIRST_FOREIGN_EXECUTION:
                    self._execution(number, execution)
            for token, lease in change.leases.items():
                self._lease(token, lease)
            self._limited(change)
        for change in changes:
            for name in change.periods:
                self.counters_are_sums(name)
                self.budget_is_kept(name)

    def _task(self, who: str, number: int, task: Task | None, fences: dict[int, int]) -> None:
        before = self.tasks.get(number)
        if self.haunted and task is not None and task.lease is not None:
            self.left_to_the_sweep.add(task.lease)
        if task is None:
            self.tasks.pop(number, None)
            return
        if before is not None:
            self.finished_stays_finished(before, task)
            self.version_goes_up_by_one(before, task)
            self.no_stale_write(who, before, task, fences)
            if task.status in FINISHED and before.status != task.status:
                self.deadlines_are_kept(before, task)
        elif task.retry_of is not None:
            self.one_retry_at_a_time(task)
        self.limits_are_kept(task)
        if who != APPLICATION:
            self.one_outcome(task)
        self.tasks[number] = task
        self.states[number][task.version] = task.status

    def _lease(self, token: str, lease: Lease | None) -> None:
        if lease is None:
            self.leases.pop(token, None)
        elif token not in self.leases:
            self.leases[token] = INVOCATION.get()
            self.taken.set()
            self.what_lost_its_worker_is_claimed_alone(lease)

    def _execution(self, number: int, execution: Execution | None) -> None:
        before = self.executions.get(number)
        if execution is None:
            self._weigh(before, None)
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
        self._weigh(before, execution)
        if execution.status in ENDED and (before is None or before.cost_micro != execution.cost_micro):
            self.cost_is_what_was_charged(execution)
            self.estimates_are_upper_bounds(execution)
        if before is None and execution.budgets:
            self.budget_is_a_wall(execution)
        if (
            before is None and execution.status != "unknown"
        ):  # else an answer that came late, and is paid already
            self.every_budget_that_applies_is_asked(execution)
            self.nothing_begins_while_stopped(execution)
        self.executions[number] = execution

    def _weigh(self, before: Execution | None, after: Execution | None) -> None:
        for sign, execution in ((-1, before), (1, after)):
            if execution is None or not execution.budgets:
                continue
            for name in json.loads(execution.budgets):
                if execution.cost_micro is None:
                    self.weights[name][1] += sign * execution.reserved_micro
                else:
                    self.weights[name][0] += sign * execution.cost_micro
        if before and after and after.budgets and after.cost_micro is not None and after.id in self.overran:
            over = after.cost_micro - max(before.cost_micro or 0, after.reserved_micro)
            for name in json.loads(after.budgets) if over > 0 else ():
                self.allowed[name] = self.allowed.get(name, 0) + over

    def budget(self, scope: str, scope_id: int, period: str) -> Budget:
        """The one of this scope and period, or what it would be."""
        new = Budget(0, scope, scope_id, period, 0, "wait")
        wanted = new[1:4]
        return next((found for found in self.budgets.values() if found[1:4] == wanted), new)

    def _limited(self, change: Change) -> None:
        """What may be spent, and what is."""
        self.budgets |= {number: budget for number, budget in change.budgets.items() if budget}
        self.periods |= {name: period for name, period in change.periods.items() if period}
        for stop in change.stops.values():
            self.stopped_at = None if stop is None else self.sim.loop.time()

    # --- invariants after a commit ------------------------------------------------------------------------------------

    def must(self, invariant: str, holds: object, why: str, *values: object) -> None:
        """`why` is put together only when it is needed."""
        self.checked[invariant] += 1
        if not holds:
            self.sim.violated(invariant, why.format(*values))

    def broken(self, invariant: str, why: str, *values: object) -> None:
        self.must(invariant, None, why, *values)

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
        alone = len(claimed) < 2 or not any(task.lost_leases for task in claimed)
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

    def budgets_of(self, task: int, template: int) -> set[int]:
        """The budgets that apply to a task now."""
        whose = {("organization", organization_of(template)), ("template", template), ("task", task)}
        return {number for number, found in self.budgets.items() if (found.scope, found.scope_id) in whose}

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

    # --- invariants of what leaves the worker -------------------------------------------------------------------------

    def submitted(self, who: str, execution: int, *, again: bool) -> None:
        """A provider was asked to begin something; `again`: it knows its keys, and does it once."""
        self.intent_before_effect(who, execution)
        self.one_submission_at_a_time(execution)
        self.nothing_is_sent_twice(who, execution, again=again)
        self.nothing_is_sent_long_after_a_stop(who, execution)
        self.sent.add(execution)

    def intent_before_effect(self, who: str, execution: int) -> None:
        """Nothing is sent that was not begun in the books, with its reservation."""
        self.must("intent_before_effect", execution in self.executions, "{} sent {} unbegun", who, execution)

    def one_submission_at_a_time(self, execution: int) -> None:
        """Nothing is submitted while an earlier submission of its task is open, but for a recorded unknown."""
        others = () if execution in self.ever_unknown else self.of_task[task_of(execution)]
        open_still = [
            seen
            for other in others
            if other != execution and other not in self.ever_unknown
            for seen in (self.executions.get(other),)
            if seen is not None and seen.status in OPEN
        ]
        self.must("one_submission_at_a_time", not open_still, "{} was sent during {}", execution, open_still)

    def nothing_is_sent_twice(self, who: str, execution: int, *, again: bool) -> None:
        """Where a provider does not know our keys, an execution is sent once."""
        once = again or execution not in self.sent
        self.must("nothing_is_sent_twice", once, "{} sent {} again", who, execution)

    def nothing_is_sent_long_after_a_stop(self, who: str, execution: int) -> None:
        """What was begun before it may be on its way; nothing is repeated after it."""
        since = 0.0 if self.stopped_at is None else self.sim.loop.time() - self.stopped_at
        words = "{} sent {} {} s after a stop"
        self.must("nothing_is_sent_long_after_a_stop", since < ON_ITS_WAY_S, words, who, execution, since)

    def a_stage_gets_what_the_one_before_made(self, execution: int, value: Any) -> None:
        """What is sent for a later stage is an answer to the stage before it."""
        found = self.executions.get(execution)
        if found is None or found.stage == 0:
            return
        rows = self.sim.database.ask(
            "SELECT result, result_key FROM task_executions WHERE task_id = ?1 AND stage = ?2 AND status = 'succeeded'",
            *(found.task_id, found.stage - 1),
        )
        made = [self.sim.stored(row["result"], row["result_key"]) for row in rows]
        self.must(
            "a_stage_gets_what_the_one_before_made", value in made, "{} was sent {:.80}", found, str(value)
        )

    def status_tells_the_truth(self, who: str, shown: dict[str, Any]) -> None:
        """A snapshot tells of a state that was committed under that version."""
        states = self.states[shown["task"]]
        right = states.get(shown.get("version", -1)) == shown["status"]
        self.must("status_tells_the_truth", right, "{} published {}, but it was {}", who, shown, states)

    def nothing_after_acknowledgement(self, who: str) -> None:
        """Once a worker has acknowledged, it begins nothing any more: nobody would ring for it again."""
        late = INVOCATION.get() in self.acknowledged_by
        self.must("nothing_after_acknowledgement", not late, "{} asks its database after it", who)

    def acknowledged(self, isolate: Isolate) -> None:
        """A worker has acknowledged a message."""
        self.acknowledged_by.add(INVOCATION.get())
        self.work_before_acknowledgement(isolate)

    def work_before_acknowledgement(self, isolate: Isolate) -> None:
        """What a message rang for is committed before it is acknowledged: its worker holds no lease any more, but for
        one that was given up and landed all the same, which the sweep repairs."""
        now = INVOCATION.get()
        mine = {token for token, invocation in self.leases.items() if invocation == now}
        held = mine - self.left_to_the_sweep
        self.must("work_before_acknowledgement", not held, "{} still holds {}", isolate.name, held)


def _fences(change: Change) -> dict[int, int]:
    """The versions that a statement names: rows with a task and its version."""
    found: dict[int, int] = {}
    for value in change.statement.parameters:
        if isinstance(value, str) and value.startswith('[{"') and '"version":' in value:
            for row in json.loads(value):
                if "task" in row and "version" in row:
                    found[row["task"]] = row["version"]
    return found
