"""The live status, as readers see it."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.errors import BadInput
from consumer.core.lifecycle import TASK_FINAL, TaskState
from consumer.core.snapshot import STALE_MS, key, snapshot, trusted
from consumer.core.times import iso
from tests.core.situations import NOW_MS

ROW: dict[str, Any] = {
    "id": 7,
    "organization_id": 1,
    "status": "running",
    "version": 3,
    "stage": 0,
    "profile": "model",
    "provider": "openai_compatible",
    "attempt": 1,
    "total_micro": None,
    "blocked_by": None,
    "reason": "http_429",
    "updated_at": iso(NOW_MS),
    "input": "private",
}


def test_readers_see_the_state_of_a_task_and_nothing_of_its_content() -> None:
    assert key(7) == "status:7"
    assert snapshot(ROW) == {
        "task": 7,
        "organization": 1,
        "status": "running",
        "version": 3,
        "stage": 0,
        "profile": "model",
        "provider": "openai_compatible",
        "attempt": 1,
        "cost_micro": None,
        "reason": "http_429",
        "updated_at": iso(NOW_MS),
    }


def test_the_reason_that_blocks_a_task_goes_before_the_reason_of_its_last_attempt() -> None:
    assert snapshot(ROW | {"blocked_by": "budget:1"})["reason"] == "budget:1"


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize(("age_ms", "fresh"), [(0, True), (STALE_MS, True), (STALE_MS + 1, False)])
def test_a_final_status_is_trusted_for_ever_and_any_other_for_seconds(
    state: TaskState, age_ms: int, *, fresh: bool
) -> None:
    value = snapshot(ROW | {"status": state.value})
    assert trusted(value, NOW_MS + age_ms) == (fresh or state in TASK_FINAL)


def test_a_snapshot_without_a_valid_time_is_refused() -> None:
    with pytest.raises(BadInput):
        trusted(snapshot(ROW | {"updated_at": "soon"}), NOW_MS)
