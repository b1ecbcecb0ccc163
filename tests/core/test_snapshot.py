"""The live status, as readers see it."""

from __future__ import annotations

from typing import Any

from consumer.core.snapshot import key, snapshot
from consumer.core.times import iso
from tests.core.situations import NOW_MS

ROW: dict[str, Any] = {
    "id": 7,
    "identity": "5f3a",
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
    assert key(7, "5f3a") == "status:7:5f3a"
    assert snapshot(ROW) == {
        "task": 7,
        "identity": "5f3a",
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
