"""The live status of a task, as its readers see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from consumer.core.lifecycle import TASK_FINAL
from consumer.core.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

STALE_MS: Final = 5_000
"""A live status that is not final and older than this is read from the database."""


def key(task: int) -> str:
    """Where a task's live status is kept."""
    return f"status:{task}"


def snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """What readers see of a task: {task, organization, status, version, stage, provider, attempt, cost_micro, ...}."""
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
    """Whether a snapshot may be shown without a look at the database.  Raises BadInput on a time that is none."""
    if value["status"] in TASK_FINAL:
        return True
    return now_ms - parse_time(str(value["updated_at"]), "updated_at") <= STALE_MS
