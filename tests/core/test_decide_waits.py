"""What a wait costs a task: whether it counts an attempt, and when the next candidate is sooner."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import pytest

from consumer.core.decide import Position, decide
from consumer.core.lifecycle import TaskEvent
from consumer.core.outcome import Retry
from consumer.core.policy import BEHIND_PROBES, HOUR, LONGEST_WAIT, PATIENCE
from tests.core.situations import NOW_MS, at, moved, route, task

MOVED_ON: Final = (TaskEvent.ADVANCE, 1, 0)
"""The next candidate immediately, with no attempt of its own yet."""


class Case(NamedTuple):
    """An outcome, the rest of its profile, and the candidates and the deadline of its task."""

    outcome: Retry
    rests_ms: int = 0
    candidates: int = 1
    deadline_ms: int | None = None
    attempt: int = 3


LIMITED: Final = Retry("http_429", limited=True)
DOWN: Final = Retry("http_503")
REFUSED: Final = Retry("http_401", account="refused_key")


def limited(after_ms: int) -> Retry:
    return replace(LIMITED, after_ms=after_ms)


@pytest.mark.parametrize(
    ("case", "move"),
    [
        # Too many calls count no attempt, whether the provider names a wait or not.
        (Case(LIMITED), (TaskEvent.RETRY, 0, 3)),
        (Case(limited(HOUR)), (TaskEvent.RETRY, 0, 3)),
        (Case(LIMITED, rests_ms=HOUR), (TaskEvent.RETRY, 0, 3)),
        # Neither does a refusal of the account; another candidate has another account.
        (Case(REFUSED), (TaskEvent.RETRY, 0, 3)),
        (Case(REFUSED, rests_ms=15_000), (TaskEvent.RETRY, 0, 3)),
        (Case(REFUSED, candidates=2, attempt=0), MOVED_ON),
        # Neither does the failure of a profile that rests.
        (Case(DOWN, rests_ms=15_000), (TaskEvent.RETRY, 0, 3)),
        # Any other failure does.
        (Case(DOWN, attempt=2), (TaskEvent.RETRY, 0, 3)),
        (Case(DOWN), (TaskEvent.FAIL, 0, 3)),
        # While another candidate is left, the wait is a minute at most.
        (Case(limited(PATIENCE), candidates=2), (TaskEvent.RETRY, 0, 3)),
        (Case(limited(PATIENCE + 1), candidates=2), MOVED_ON),
        (Case(LIMITED, rests_ms=PATIENCE + 1, candidates=2), MOVED_ON),
        (Case(Retry("http_503", 7_200_000), candidates=2, attempt=0), MOVED_ON),
        # A profile that rests does not answer at a known time: the other candidate is sooner.
        (Case(DOWN, rests_ms=15_000, candidates=2), MOVED_ON),
        # A wait that passes the deadline moves on, or fails the task at once.
        (Case(limited(30_000), candidates=2, deadline_ms=30_000), MOVED_ON),
        (Case(limited(29_999), candidates=2, deadline_ms=30_000), (TaskEvent.RETRY, 0, 3)),
        (Case(limited(7_200_000), deadline_ms=HOUR), (TaskEvent.FAIL, 0, 3)),
        (Case(LIMITED, rests_ms=HOUR, deadline_ms=HOUR), (TaskEvent.FAIL, 0, 3)),
    ],
)
def test_a_wait_counts_an_attempt_only_if_the_task_itself_failed_and_never_outlasts_a_better_way(
    case: Case, move: tuple[TaskEvent, int, int]
) -> None:
    deadline = None if case.deadline_ms is None else NOW_MS + case.deadline_ms
    view = task(position=Position(attempt=case.attempt), deadline_ms=deadline)
    situation = at(view, path=route("ai", candidates=case.candidates), draw=0.0)
    if case.rests_ms:
        situation = situation._replace(rests_until_ms=NOW_MS + case.rests_ms)

    made = moved(decide(situation, case.outcome))

    assert (made.event, made.position.candidate, made.position.attempt) == move


def test_a_task_comes_back_when_the_rest_of_its_profile_is_over() -> None:
    situation = at(path=route("ai", candidates=1), draw=0.0)._replace(rests_until_ms=NOW_MS + 15_000)
    assert moved(decide(situation, DOWN)).run_at_ms == NOW_MS + 15_000


def test_a_task_whose_account_is_refused_leaves_the_next_probe_to_another_task() -> None:
    situation = at(path=route("ai", candidates=1), draw=0.0)._replace(rests_until_ms=NOW_MS + 15_000)
    assert moved(decide(situation, REFUSED)).run_at_ms == NOW_MS + 15_000 + BEHIND_PROBES


def test_the_longest_wait_of_a_provider_is_bounded() -> None:
    situation = at(path=route("ai", candidates=1), draw=0.0)
    assert moved(decide(situation, limited(10 * LONGEST_WAIT))).run_at_ms == NOW_MS + LONGEST_WAIT


def test_a_wait_that_passes_the_deadline_says_why_the_task_failed() -> None:
    situation = at(task(deadline_ms=NOW_MS + HOUR), path=route("ai", candidates=1))
    assert moved(decide(situation, limited(7_200_000))).reason == "deadline: http_429"
