"""The live status of a task, as its readers see it in the status store (KV)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from consumer.core.lifecycle import TASK_FINAL
from consumer.core.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

STALE_MS: Final = 5_000
"""Milliseconds for which a reader trusts a status that is not final; an older one is read from the database."""


def key(task: int) -> str:
    """The key of a task's live status in the status store."""
    return f"status:{task}"


def snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """The live status, from a row of `store.publish.SNAPSHOTS` or from the same values of a worker.

    `service.views.LiveStatus` describes the fields.  `profile` is the account of the latest execution, `provider` the
    name of its adapter."""
    return {
        "task": row["id"],
        "organization": row["organization_id"],
        "status": row["status"],
        "version": row["version"],
        "stage": row["stage"],
        "profile": row["profile"],
        "provider": row["provider"],
        "attempt": row["attempt"],
        "cost_micro": row["total_micro"],
        "reason": row["blocked_by"] or row["reason"],
        "updated_at": row["updated_at"],
    }


def trusted(value: Mapping[str, Any], now_ms: int) -> bool:
    """Whether a stored live status may be shown without asking the database.  Raises BadInput on a bad time.

    A status without a `profile` was stored before 28 November 2026, when `provider` held the profile."""
    if "profile" not in value:
        return False
    if value["status"] in TASK_FINAL:
        return True
    return now_ms - parse_time(str(value["updated_at"]), "updated_at") <= STALE_MS
