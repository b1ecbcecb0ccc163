"""What callers do to create tasks: submit, retry.

`organization` is the caller's own; None stands for an operator, who may create tasks of every organization.  Each
command is one atomic batch that may be sent twice, so tasks are created all or none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from consumer.core.errors import Conflict, NotFound
from consumer.core.lifecycle import TASK_FINAL
from consumer.core.template import Limits
from consumer.core.times import iso
from consumer.execution import doorbells
from consumer.service import new_tasks
from consumer.service.commands import Submitted
from consumer.service.new_tasks import GENERATED_KEY_PREFIX
from consumer.store import commands, queries
from consumer.store.sql import chunks, integer, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Row, Value
    from consumer.store.batch import Handle, Results
    from consumer.world import World


class _Sent(NamedTuple):
    """The statements of one organization in the batch of `submit`."""

    organization: int
    inserted: Handle
    found: Handle


async def submit(world: World, organization: int | None, items: Sequence[object]) -> list[Submitted]:
    """Create tasks, all or none.  Raises BadInput naming the task and the field of every problem."""
    tasks = await new_tasks.check(world, organization, items)
    now = iso(world.clock.now_ms())
    batch = world.batch()
    sent = []
    for owner, group in new_tasks.by_organization(tasks).items():
        keys = ({"key": task.key} for task in group)
        inserted = batch.each(commands.SUBMIT, chunks(task.row for task in group), organization=owner, at=now)
        found = batch.each(commands.SUBMITTED, chunks(keys), organization=owner)
        sent.append(_Sent(owner, inserted, found))
    submitted = _submitted(tasks, sent, await batch.commit())
    if any(task.run_at_ms <= world.clock.now_ms() for task in tasks):
        await doorbells.ring(world, task=submitted[0].id)
    return submitted


def _submitted(
    tasks: Sequence[new_tasks.CheckedTask], sent: Sequence[_Sent], results: Results
) -> list[Submitted]:
    """The row of each task, in the order of the request."""
    inserted = {
        (group.organization, row["idempotency_key"]) for group in sent for row in results.rows(group.inserted)
    }
    rows = {
        (group.organization, row["idempotency_key"]): row
        for group in sent
        for row in results.rows(group.found)
    }
    submitted = []
    for task in tasks:
        identity = task.organization, task.key
        # A generated key is new, so its task was created now, though RETURNING is empty when the batch was sent twice.
        created = identity in inserted or task.key.startswith(GENERATED_KEY_PREFIX)
        row = rows[identity]
        submitted.append(Submitted(integer(row, "id"), text(row, "status"), created))
    return submitted


async def retry(world: World, organization: int | None, task: int) -> Submitted:
    """Create a task like a finished one, which it names.  Until the new task has ended, each retry returns it again.

    Raises NotFound, Conflict when the task has not ended."""
    row = one(await world.rows(queries.TASK(task=task, organization=organization)))
    if row is None:
        raise NotFound(f"no task {task}")
    if row["status"] not in TASK_FINAL:
        raise Conflict(f"task {task} has not ended: it is {row['status']}")
    owner = optional_integer(row, "organization_id")
    if owner is None or row["route"] is None:
        raise Conflict(f"task {task} cannot be retried: it has no organization, or its template has no route")
    now = world.clock.now_ms()
    part = json.dumps([await _copy(world, row, owner, now)])
    batch = world.batch()
    inserted = batch.add(commands.SUBMIT(organization=owner, at=iso(now), rows=part))
    found = batch.add(commands.SUBMITTED(organization=owner, rows=part))
    results = await batch.commit()
    (made,) = results.rows(found)
    await doorbells.ring(world, task=integer(made, "id"))
    created = results.first(inserted) is not None
    return Submitted(integer(made, "id"), text(made, "status"), created)


async def _copy(world: World, row: Row, organization: int, now: int) -> dict[str, Value]:
    """The row of a retry, as `SUBMIT` reads it."""
    found = one(await world.rows(queries.TEMPLATE(id=row["template_id"], organization=None)))
    limits = Limits.model_validate_json((optional_text(found, "limits") if found else None) or "{}")
    task = integer(row, "id")
    # The key counts the retries that have ended.  A retry that is asked for twice gets the same key and the same task.
    prefix = f"{GENERATED_KEY_PREFIX}retry-{task}-"
    (earlier,) = await world.rows(
        commands.RETRIES(organization=organization, first=prefix, beyond=f"{prefix}~")
    )
    return {
        "template": row["template_id"],
        "title": row["title"],
        "description": row["description"],
        "priority": row["priority"],
        "assigned_to": row["assigned_to"],
        "due_date": row["due_date"],
        "run_at": now,
        "raise_at": None,
        "deadline": new_tasks.deadline(now, limits),
        "input": row["input"],
        "key": f"{prefix}{earlier['ended']}",
        "retry_of": task,
    }
