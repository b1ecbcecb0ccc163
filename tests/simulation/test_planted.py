"""The simulator detects planted bugs.  `make sim-planted` plants all of them."""

from __future__ import annotations

from typing import Final

import pytest

from tests.simulation.planted.hunt import hunt
from tests.simulation.planted.patch import BUGS, Patch
from tests.simulation.shrink import command, shrink
from tests.simulation.simulation import Plan, simulate
from tests.simulation.timeline import lines
from tests.support.statements import modules

SUBTLE: Final = {
    "begun_after_the_deadline",
    "places_of_a_claim_go_to_the_first",
    "a_tasks_budget_stays_open",
    "receipt_before_the_record",
    "work_begins_after_the_time",
    "earlier_failures_make_the_rest_longer",
    "deadline_ignored",
    "large_answer_not_read",
    "new_budget_ignored_by_claimed_tasks",
    "only_the_last_stage_completes",
    "repeated_after_a_stop",
    "late_status_is_not_corrected",
    "task_that_kills_workers_is_never_given_up",
    "redo_unbounded",
    "reserved_outside_the_batch",
    "callback_ignores_the_mark",
    "key_ignores_the_identity",
    "key_names_the_lease",
    "link_ignores_the_mark",
    "lost_calls_not_looked_up",
    "lost_calls_not_reported",
    "resolve_by_ignored",
    "status_ignores_the_identity",
    "webhook_handled_before_it_is_settled",
}
"""Bugs that need more than a few seeds, or long ones, and are left to `make sim-planted`."""
FEW: Final = 12
"""The maximum number of seeds.  Most bugs need one, but every change of the product changes what a seed does."""


@pytest.mark.heavy
@pytest.mark.parametrize("name", sorted(BUGS.keys() - SUBTLE))
def test_each_planted_bug_is_detected_within_a_few_seeds(name: str) -> None:
    caught = hunt(name, FEW)
    assert caught.invariant is not None, f"{name} escaped: {BUGS[name].__doc__}"


@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_planted_bug_fits_the_product_has_a_docstring_and_is_undone(name: str) -> None:
    statements = [vars(module) for module in modules()]
    before = [{key: getattr(value, "sql", value) for key, value in found.items()} for found in statements]
    patch = Patch()
    try:
        BUGS[name](patch)
    finally:
        patch.undo()
    after = [{key: getattr(value, "sql", value) for key, value in found.items()} for found in statements]
    assert after == before
    assert BUGS[name].__doc__


@pytest.mark.heavy
def test_a_failing_seed_is_shrunk_to_a_short_schedule_that_fails_alike() -> None:
    patch = Patch()
    try:
        BUGS["no_fencing"](patch)
        plan = next(plan for plan in map(Plan, range(1, 10)) if simulate(plan).violation)
        long = simulate(plan)
        small, report = shrink(plan, most=25)
        again = simulate(small)
    finally:
        patch.undo()
    assert long.violation
    assert again.violation == report.violation
    assert again.violation
    assert again.violation[0] == long.violation[0]
    assert small.tasks < plan.tasks or len(report.happened) < len(long.happened) / 4
    assert f"--seed {plan.seed} --tasks {small.tasks} --only" in command(small)
    assert any(long.violation[0] in line for line in lines(report))


def test_there_are_enough_planted_bugs() -> None:
    assert len(BUGS) >= 85
    assert BUGS.keys() >= SUBTLE
