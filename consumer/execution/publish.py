"""Live status: the snapshot of a task that readers poll.  The database has the truth; a failed put fails no task.

A snapshot carries the task's version, and a reader drops a snapshot that is older than one it has seen.  A publisher
without a lease, and a publisher whose put failed, leaves an outbox row, from which the status is written again.
KV writes can arrive out of order.  After writing a version, the writer checks that it is still the task's current
version, and republishes if not.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from consumer.core.lifecycle import TASK_FINAL
from consumer.core.snapshot import key, snapshot
from consumer.core.strictjson import dump_flat
from consumer.core.times import iso
from consumer.ports import PortError
from consumer.store import publish
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.core.profile import Account
    from consumer.ports import Statement
    from consumer.world import World

REPAIR_AFTER_MS: Final = 2_000


async def put(world: World, value: Mapping[str, Any]) -> bool:
    """Write one snapshot.  False when the store refused it or failed: it must be published again."""
    ttl = world.config.status_ttl_s if value["status"] in TASK_FINAL else None
    try:
        await world.kv.put(key(value["task"], value["identity"] or ""), dump_flat(value), ttl)
    except PortError as error:
        log().warning(Event.PUBLISH_FAILED, task=value["task"], error=str(error))
        return False
    return True


async def put_all(world: World, values: Sequence[Mapping[str, Any]], width: int) -> list[int]:
    """Write snapshots, `width` at a time.  Returns the tasks whose status must be published again."""
    failed: list[int] = []
    for start in range(0, len(values), width):
        part = values[start : start + width]
        written = await asyncio.gather(*(put(world, value) for value in part))
        failed += [value["task"] for value, done in zip(part, written, strict=True) if not done]
    return failed


async def current(world: World, tasks: Iterable[int]) -> list[dict[str, Any]]:
    """Snapshots made from the database; tasks that no longer exist are left out."""
    wanted = json.dumps(list(tasks))
    return [snapshot(row) for row in await world.rows(publish.SNAPSHOTS(tasks=wanted))]


async def republish(world: World, tasks: Iterable[int]) -> dict[int, int]:
    """Publish tasks from the database.  Returns the versions that were written, 0 for a task that no longer exists."""
    written = dict.fromkeys(tasks, 0)
    for value in await current(world, written):
        if await put(world, value):
            written[value["task"]] = value["version"]
        else:
            del written[value["task"]]
    return written


async def check_later(world: World, task: int, holder: str) -> None:
    """Let the outbox check a status that was published without a lease: its put may have been slow."""
    await world.write(republish_later(world.clock.now_ms(), [task], holder))


def republish_later(now_ms: int, tasks: Iterable[int], holder: str = "") -> Statement:
    """A statement that has these tasks published from the database in a moment."""
    return publish.PUBLISH_LATER(tasks=json.dumps(list(tasks)), holder=holder, due=now_ms + REPAIR_AFTER_MS)


async def cost_changed(world: World, task: int) -> None:
    """Publish the new cost of a finished task, under the same version."""
    due = world.clock.now_ms() + REPAIR_AFTER_MS
    await world.write(publish.PUBLISH_COST(task=task, due=due))


def snapshot_after(
    task: int,
    identity: str,
    organization: int | None,
    version: int,
    status: str,
    now_ms: int,
    account: Account,
    **fields: Any,
) -> dict[str, Any]:
    """A snapshot of the state that a worker has just written, without reading it back."""
    row = {"stage": 0, "attempt": 0, "total_micro": None, "blocked_by": None, "reason": None} | fields
    row |= {
        "id": task,
        "identity": identity,
        "organization_id": organization,
        "version": version,
        "status": status,
        "profile": account.name,
        "provider": account.profile.provider,
        "updated_at": iso(now_ms),
    }
    return snapshot(row)
