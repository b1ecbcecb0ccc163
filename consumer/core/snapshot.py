"""The live status of a task: the JSON in KV, which readers see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from consumer.core.lifecycle import TASK_FINAL
from consumer.core.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

STALE_MS: Final = 5_000
"""Milliseconds for which a reader trusts a status that is not final; an older one is read from the database."""


def key(task: int) -> str:
    """The key of a task's live status in KV."""
    return f"status:{task}"


def snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """The live status from a row of a task: nothing of the task's content.

    `provider` holds the name of the profile, and `cost_micro` is in micro-dollars.  The reason that blocks a task goes
    before the reason of its last attempt."""
    return {
        "task": row["id"],
        "organization": row["organization_id"],
        "status": row["status"],
        "version": row["version"],
        "stage": row["stage"],
        "provider": row["profile"],
        "attempt": row["attempt"],
        "cost_micro": row["total_micro"],
        "reason": row["blocked_by"] or row["reason"],
        "updated_at": row["updated_at"],
    }


def trusted(value: Mapping[str, Any], now_ms: int) -> bool:
    """Whether a snapshot may be shown without reading the database.  Raises BadInput if its time is not valid."""
    if value["status"] in TASK_FINAL:
        return True
    return now_ms - parse_time(str(value["updated_at"]), "updated_at") <= STALE_MS
