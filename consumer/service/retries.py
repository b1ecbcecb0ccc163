"""Retry a task that has ended: create a new task like it.

It stands apart from the submissions: it checks no values, so `bizq retry` starts without pydantic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from consumer.core import policy
from consumer.core.errors import Conflict, NotFound
from consumer.core.lifecycle import TASK_FINAL
from consumer.core.times import iso
from consumer.execution import doorbells
from consumer.service.commands import GENERATED_KEY_PREFIX, Submitted
from consumer.store import commands, queries
from consumer.store.sql import bad_column, integer, known_integer, one, optional_integer, text

if TYPE_CHECKING:
    from consumer.ports import Row, Value
    from consumer.world import World


async def retry(world: World, organization: int | None, task: int, *, ring: bool = True) -> Submitted:
    """Create a task like a finished one, which it names.  Until the new task has ended, each retry returns it again.

    `ring`: wake a worker; a caller who retries many tasks wakes it once.

    Raises NotFound, Conflict when the task has not ended."""
    row = one(await world.rows(queries.TASK(task=task, organization=organization)))
    if row is None:
        raise NotFound(f"no task {task}")
    if row["status"] not in TASK_FINAL:
        raise Conflict(f"task {task} has not ended: it is {row['status']}")
    owner = optional_integer(row, "organization_id")
    if owner is None or row["route"] is None:
        raise Conflict(f"task {task} cannot be retried: it has no organization, or its template has no route")
    bad = bad_column(row, ("title", "description", "priority", "due_date", "input"), ("assigned_to",))
    if bad is not None:
        raise Conflict(f"task {task} cannot be retried: {bad}")
    now = world.clock.now_ms()
    part = json.dumps([await _copy(world, row, owner, now)])
    batch = world.batch()
    inserted = batch.add(commands.SUBMIT(organization=owner, at=iso(now), rows=part, keyed="[]"))
    found = batch.add(commands.SUBMITTED(organization=owner, rows=part))
    results = await batch.commit()
    (made,) = results.rows(found)
    if ring:
        await doorbells.ring(world, task=integer(made, "id"))
    created = results.first(inserted) is not None
    return Submitted(integer(made, "id"), text(made, "status"), created)


async def _copy(world: World, row: Row, organization: int, now: int) -> dict[str, Value]:
    """The row of a retry, as `SUBMIT` reads it."""
    task = integer(row, "id")
    # The key counts the retries that have ended.  A retry that is asked for twice gets the same key and the same task.
    prefix = f"{GENERATED_KEY_PREFIX}retry-{task}-{row['identity']}-"
    retries = commands.RETRIES(
        organization=organization, template=row["template_id"], first=prefix, beyond=f"{prefix}~"
    )
    (earlier,) = await world.rows(retries)
    return {
        "template": row["template_id"],
        "title": row["title"],
        "description": row["description"],
        "priority": row["priority"],
        "assigned_to": row["assigned_to"],
        "due_date": row["due_date"],
        "run_at": now,
        "raise_at": None,
        "deadline": policy.deadline(now, known_integer(earlier, "task_s")),
        "input": row["input"],
        "key": f"{prefix}{earlier['ended']}",
        "submitted": None,
        "retry_of": task,
    }
