"""Invariants of waiting: for a profile that rests or has limits, between attempts, and for one's turn in a claim."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from consumer.core import policy
from consumer.core.rest import MOST_FAILING
from tests.simulation.adapters import PROFILES
from tests.simulation.scenario import ROUTES

if TYPE_CHECKING:
    from tests.simulation.watch import Execution, Lease, Rest, Task
from tests.simulation.seen import Seen

REFUSALS = ("rate_limited", "http_429")
"""How the reasons of calls begin that were refused because there were too many."""


class TrafficInvariants(Seen):
    """Invariants of profiles that fail or have limits, of waits, and of claims."""

    def rested(self, before: Rest | None, rest: Rest) -> None:
        """A profile has a new state."""
        if rest.level > 1 and (before is None or rest.level > before.level) and rest.profile != "echo":
            self.a_rest_is_longer_only_after_a_new_call(before, rest)
        if not rest.level:
            self.probes.pop(rest.profile, None)
        for token in json.loads(rest.holders):
            self.holders.setdefault(token, self.invocation())

    def a_rest_is_longer_only_after_a_new_call(self, before: Rest | None, rest: Rest) -> None:
        """Many calls are in flight when a provider fails: only one that began in the rest makes the next one longer."""
        one_step = before is not None and rest.level == before.level + 1
        began_ms = 0 if before is None else before.began_ms
        anew = one_step and max(self.started_ms[rest.profile], default=0) > began_ms
        self.must("a_rest_is_longer_only_after_a_new_call", anew, "{} became {}", before, rest)

    def moved(self, who: str, before: Task, task: Task) -> None:
        """A worker moves a task."""
        self.too_many_calls_cost_no_attempt(before, task)
        self.a_call_is_repeated_once(before, task)
        if before.status != task.status:
            self.a_long_wait_goes_to_the_next_candidate(who, task)

    def called(self, execution: Execution) -> None:
        """A call of a profile begins."""
        task = self.tasks.get(execution.task_id)
        self.served[self.invocation()].add(None if task is None else task.organization_id)
        self.one_probe_at_a_time(execution)
        self.started_ms[execution.profile or ""].append(execution.started_ms or 0)
        self.a_profile_is_called_within_its_rate(execution)

    def one_probe_at_a_time(self, execution: Execution) -> None:
        """While a profile rests, all workers that know of the rest make one call of it at a time."""
        rest = self.rests.get(execution.profile or "")
        if rest is None or not rest.level or execution.id not in self.with_ticket:
            return  # its worker has not read of the rest yet
        failing, task = json.loads(rest.failing), self.tasks.get(execution.task_id)
        organization = None if task is None else task.organization_id
        if rest.account is None and organization not in failing and len(failing) < MOST_FAILING:
            return  # it does not rest for an organization whose calls have not failed
        probes, now = self.probes[rest.profile], execution.started_ms or 0
        others = [
            other
            for other, began in probes.items()
            if getattr(self.executions.get(other), "status", None) == "running"
            and now - began < self.call_s(other) * policy.SECOND
        ]
        probes[execution.id] = now
        self.must("one_probe_at_a_time", not others, "{} began beside {}: {}", execution, others, rest)

    def a_profile_is_called_within_its_rate(self, execution: Execution) -> None:
        """No more calls begin in a period than the profile's `rate` says, on all workers together."""
        profile = execution.profile or ""
        rate, started = PROFILES.get(profile, {}).get("rate"), self.started_ms[profile]
        if rate is None or self.sim.skewed:
            return
        at_ms, length_ms = started[-1], rate["per_s"] * policy.SECOND
        most = max(
            sum(end - length_ms < one <= end for one in started)
            for end in started
            if at_ms <= end < at_ms + length_ms
        )
        self.must("a_profile_is_called_within_its_rate", most <= rate["calls"], "{}, {}", execution, most)

    def too_many_calls_cost_no_attempt(self, before: Task, task: Task) -> None:
        """A refusal for too many calls says nothing about the task: its attempt is not counted.

        The reason of the task says whether a worker saw the refusal: it may be lost with one, or by a restore."""
        same = (before.stage, before.candidate) == (task.stage, task.candidate)
        if same and task.attempt > before.attempt:
            seen = (task.reason or "").startswith(REFUSALS)
            refused = seen and task.last_execution in self.sim.services.limited
            self.must("too_many_calls_cost_no_attempt", not refused, "{} became {}", before, task)

    def a_long_wait_goes_to_the_next_candidate(self, who: str, task: Task) -> None:
        """A task does not wait for more than a minute for a candidate while another one is left."""
        ended = self.executions.get(task.last_execution or 0)
        if task.status != "pending" or task.blocked_by or ended is None or ended.status != "failed":
            return
        template = task.template_id or 0
        same = (ended.stage, ended.candidate) == (task.stage, task.candidate)
        if not same or not 0 < template <= len(ROUTES):
            return
        (row,) = self.sim.database.ask("SELECT route FROM task_templates WHERE id = ?1", template)
        stages = ROUTES[template - 1][0]
        edited = row["route"] != json.dumps({"stages": stages})
        if edited or task.stage >= len(stages):
            return
        if task.candidate + 1 < len(stages[task.stage]["candidates"]):
            wait_ms = task.run_at_ms - self.sim.now_ms() - self.skews_ms.get(who, 0)
            words = "{} waits {} ms after {}"
            short = wait_ms <= policy.MINUTE
            self.must("a_long_wait_goes_to_the_next_candidate", short, words, task, wait_ms, ended)

    def a_claim_has_a_place_for_each_organization(self, lease: Lease) -> None:
        """A full claim takes a task of each organization that has one due, and for which its run has made no call yet.

        One that was served before may have to wait until others have had as many calls."""
        config = self.sim.config
        claimed = [self.tasks[number] for number in json.loads(lease.task_ids) if number in self.tasks]
        if len(claimed) < config.batch_size:
            return
        now = lease.until_ms - config.lease_ms
        due = {
            task.organization_id
            for task in self.tasks.values()
            if task.status == "pending" and task.run_at_ms <= now and task.organization_id is not None
        }
        left = due - {task.organization_id for task in claimed} - self.served[self.invocation()]
        words = "organizations {} have due tasks, and no place among {}"
        self.must("a_claim_has_a_place_for_each_organization", not left, words, left, claimed)

    def a_call_is_repeated_once(self, before: Task, task: Task) -> None:
        """A call whose outcome stays unknown is repeated once, and its repeat is not repeated."""
        first, second = before.replaces, task.replaces
        if first is None or second is None or first == second:
            return
        later = [
            number
            for number in self.of_task[task.id]
            if number > first and getattr(self.executions.get(number), "reason", None) != "never_sent"
        ]
        is_repeat = bool(later) and second == min(later)
        words = "{} became {}: {} is the repeat of {}"
        self.must("a_call_is_repeated_once", not is_repeat, words, before, task, second, first)

    def a_run_that_ends_counts_no_calls(self, who: str, invocation: int) -> None:
        """A run that has ended takes its calls out of the count of its profiles, for others to begin theirs."""
        left = [
            rest
            for rest in self.rests.values()
            if any(self.holders.get(token) == invocation for token in json.loads(rest.holders))
        ]
        self.must("a_run_that_ends_counts_no_calls", not left, "{} has ended and is in {}", who, left)
