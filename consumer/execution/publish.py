"""Live status: the snapshot of a task that readers poll.  The database has the truth; a failed put fails no task.

A snapshot carries the task's version, and a reader drops a snapshot that is older than one it has seen.  A publisher
without a lease, and a publisher whose put failed, leaves an outbox row, from which the status is written again.
KV writes can arrive out of order.  After writing a version, the writer checks that it is still the task's current
version, and republishes if not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from consumer.core.lifecycle import TASK_FINAL
from consumer.core.snapshot import key, snapshot
from consumer.core.strictjson import dump_flat
from consumer.core.times import iso
from consumer.ports import NoAnswer, PortError, TooSoon
from consumer.store import publish
from consumer.store.sql import readable
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumer.core.profile import Account
    from consumer.ports import Statement
    from consumer.world import World

REPAIR_AFTER_MS: Final = 2_000
LATE_AFTER_MS: Final = 60_000
"""How long after its time limit a write of a status may still be carried out."""
LATE_WRITE: Final = "late write"
"""The holder of the outbox row that corrects such a write: no other publication deletes the row."""


async def write(world: World, value: Mapping[str, Any]) -> None:
    """Write one snapshot.  Raises PortError: then it must be published again.

    A write without an answer may still be carried out, over a later status: another write follows it a minute later."""
    ttl = world.config.status_ttl_s if value["status"] in TASK_FINAL else None
    try:
        stored = key(value["task"], value["identity"] or "")
        await world.within(world.kv.put(stored, dump_flat(value), ttl))
    except NoAnswer:
        due = world.clock.now_ms() + LATE_AFTER_MS
        await world.write(
            publish.PUBLISH_LATER(tasks=json.dumps([value["task"]]), holder=LATE_WRITE, due=due)
        )
        raise


def report_failure(value: Mapping[str, Any], error: PortError) -> None:
    """Log that a snapshot could not be written.

    A task that moved twice within a second is no fault: the outbox writes its newest status."""
    if isinstance(error, TooSoon):
        return
    log().warning(Event.PUBLISH_FAILED, task=value["task"], error=str(error))


async def current(world: World, tasks: Iterable[int]) -> list[dict[str, Any]]:
    """Snapshots made from the database; tasks that no longer exist are left out."""
    wanted = json.dumps(list(tasks))
    rows = await world.rows(publish.SNAPSHOTS(tasks=wanted))
    return [snapshot({name: readable(value) for name, value in row.items()}) for row in rows]


async def republish(world: World, tasks: Iterable[int]) -> dict[int, int]:
    """Publish tasks from the database.  Returns the versions that were written, 0 for a task that no longer exists.

    A store that did not answer in time is not asked again for the other tasks."""
    written = dict.fromkeys(tasks, 0)
    answers = True
    for value in await current(world, written):
        try:
            if answers:
                await write(world, value)
                written[value["task"]] = value["version"]
                continue
        except PortError as error:
            report_failure(value, error)
            answers = not isinstance(error, NoAnswer)
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
