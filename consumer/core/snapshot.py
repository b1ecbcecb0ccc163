"""The live status of a task, as its readers see it in the status store (KV)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.core.budget import seen_by_tenant

if TYPE_CHECKING:
    from collections.abc import Mapping


def key(task: int, identity: str) -> str:
    """The key of a task's live status in the status store.

    The identity tells a task from one that had its id before a restore or a deletion."""
    return f"status:{task}:{identity}"


def snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """The live status, from a row of `store.publish.SNAPSHOTS` or from the same values of a worker.

    `service.views.LiveStatus` describes the fields.  `profile` is the account of the latest execution, `provider` the
    name of its adapter."""
    return {
        "task": row["id"],
        "identity": row["identity"],
        "organization": row["organization_id"],
        "status": row["status"],
        "version": row["version"],
        "stage": row["stage"],
        "profile": row["profile"],
        "provider": row["provider"],
        "attempt": row["attempt"],
        "cost_micro": row["total_micro"],
        "reason": seen_by_tenant(row["blocked_by"]) or row["reason"],
        "updated_at": row["updated_at"],
    }
