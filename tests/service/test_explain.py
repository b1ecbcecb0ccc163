"""The sentence on the state of a task, where its newest execution does not say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from consumer.service.why import Lease, explain

if TYPE_CHECKING:
    from consumer.service import views

ELSEWHERE = "Another application set it to waiting; it goes on when that application sets it to pending."
TAKEN = "A worker or another application has taken it."


def explained(task: str, **execution: Any) -> str:
    row = {"profile": "chat", "provider": "openai_compatible", "external_id": None, "resolve_by_ms": None}
    found = cast("views.Task", {"status": task, "blocked_by": None, "reason": None, "run_at_ms": 0})
    return explain(found, [row | {"reason": None} | execution] if execution else [], 1)


@pytest.mark.parametrize("ended", ["succeeded", "failed", "cancelled"])
def test_an_ended_execution_is_not_named_as_the_obstacle(ended: str) -> None:
    assert explained("waiting", status=ended) == ELSEWHERE
    assert explained("running", status=ended) == TAKEN


def test_a_task_without_an_execution() -> None:
    assert explained("waiting") == ELSEWHERE
    assert explained("running") == TAKEN


def test_an_open_execution_is_named() -> None:
    assert explained("running", status="running") == "A worker holds it; its latest execution is with chat."
    assert explained("waiting", status="running") == "It waits for the end of a call that is in flight."


def test_a_job_is_named_only_when_it_has_a_name() -> None:
    assert explained("waiting", status="waiting") == "It waits for chat, which accepted it."
    named = explained("waiting", status="waiting", external_id="job-7")
    assert named == "It waits for chat, which accepted it as job-7."


def test_a_lease_shows_when_its_worker_last_renewed_it_and_when_it_ends() -> None:
    """After the death of a worker, a reader sees when its tasks are taken back."""
    found = cast("views.Task", {"status": "running", "blocked_by": None, "reason": None, "run_at_ms": 0})
    execution = {"profile": "chat", "status": "running"}

    held = explain(found, [execution], 60_000, lease=Lease(ends_ms=300_000, length_ms=300_000))
    over = explain(found, [execution], 400_000, lease=Lease(ends_ms=300_000, length_ms=300_000))

    assert held.endswith(
        "The worker last renewed its lease at 1970-01-01T00:00:00.000Z;"
        " without a renewal it ends at 1970-01-01T00:05:00.000Z."
    )
    assert over == (
        "Its worker is lost: its lease ended at 1970-01-01T00:05:00.000Z. The next tick takes the task back."
    )
