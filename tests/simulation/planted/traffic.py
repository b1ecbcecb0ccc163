"""Bugs in waiting: for a profile that rests or has limits, between attempts, and for one's turn in a claim."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from consumer.core import decide, policy, rest
from consumer.run.traffic import Traffic
from consumer.store import begin, claim, rests
from tests.simulation.planted.patch import Patch, bug

if TYPE_CHECKING:
    from consumer.core.rest import State


@bug
def ticket_not_checked(patch: Patch) -> None:
    """A call of a resting or limited profile begins even if another worker has changed the profile's state."""
    patch.sql(begin.BEGIN, "value ->> 'ticket' IS NULL", "true")


@bug
def earlier_failures_make_the_rest_longer(patch: Patch) -> None:
    """A call that was sent before a rest, and fails during it, counts as a failure after it."""

    def failed_anew(state: State, outcome: Any, _started_ms: int, now_ms: int, *more: Any) -> Any:
        return original(state, outcome, max(now_ms, state.began_ms + 1), now_ms, *more)

    original = patch.set(rest, "after", failed_anew)


@bug
def end_of_a_rest_wakes_no_task(patch: Patch) -> None:
    """No worker makes the tasks due that wait for a profile which answers again."""
    for query in (rests.WAKE, rests.WAKE_FIRST, rests.WAKE_FORGOTTEN):
        patch.sql(query, "WHERE id IN (", "WHERE false AND id IN (")


@bug
def too_many_calls_count_as_an_attempt(patch: Patch) -> None:
    """A refusal for too many calls uses up one of the attempts of its task."""

    def retry(at: Any, outcome: Any) -> Any:
        return original(at._replace(rests_until_ms=0), replace(outcome, limited=False))

    original = patch.set(decide, "_retry", retry)


@bug
def long_wait_before_another_candidate(patch: Patch) -> None:
    """A task waits for its candidate as long as the provider asks, although another candidate is left."""
    patch.set(policy, "PATIENCE", policy.LONGEST_WAIT)


@bug
def places_of_a_claim_go_to_the_first(patch: Patch) -> None:
    """A claim takes the first due tasks, and keeps no places for other organizations."""
    others = "SELECT DISTINCT organization_id FROM organization_scan\nWHERE "
    patch.sql(claim.CLAIM_LEASE, others, f"{others}false AND ")


@bug
def calls_of_a_profile_are_counted_for_ever(patch: Patch) -> None:
    """A run that ends does not take its calls out of the count of their profiles."""
    patch.set(Traffic, "hold", lambda *_arguments: None)
    patch.set(Traffic, "let_go", lambda _traffic: [])


@bug
def calls_of_other_workers_are_not_counted(patch: Patch) -> None:
    """The concurrency of a profile holds for each run, and not for all of them together."""

    def read(self: Traffic, rows: Any) -> None:
        original(self, rows)
        for name, state in self.states.items():
            mine = {token: held for token, held in (state.holders or {}).items() if token == self.token}
            self.states[name] = state._replace(holders=mine)

    original = patch.set(Traffic, "read", read)


@bug
def rate_forgets_earlier_calls(patch: Patch) -> None:
    """The calls of a period are forgotten when half of it is over."""

    def counted(state: State, rate: Any, now_ms: int) -> Any:
        return original(state, replace_rate(rate), now_ms)

    def replace_rate(rate: Any) -> Any:
        return rate.model_copy(update={"per_s": max(1, rate.per_s // 2)})

    original = patch.set(rest, "_counted", counted)
