"""Submit tasks: create them from the values that a caller hands in.

A key that comes back with the same content finds its task; with other content it is a conflict, and nothing is created.

`organization` is the caller's own; None stands for an operator, who may create tasks of every organization.  Each
command is one atomic batch that may be sent twice, so tasks are created all or none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from consumer.core.errors import Conflict
from consumer.core.strictjson import dump_flat
from consumer.core.times import iso
from consumer.execution import doorbells
from consumer.service import new_tasks
from consumer.service.commands import GENERATED_KEY_PREFIX, Submitted
from consumer.store import commands
from consumer.store.sql import chunks, integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.ports import Row, Value
    from consumer.store.batch import Handle, Results
    from consumer.world import World


class _Sent(NamedTuple):
    """The statements of one organization in the batch of `submit`."""

    organization: int
    inserted: Handle
    found: Handle


async def submit(world: World, organization: int | None, items: Sequence[object]) -> list[Submitted]:
    """Create tasks, all or none.

    Raises BadInput naming the task and the field of every problem, Conflict naming the fields that differ from an
    earlier submission under the same key."""
    tasks = await new_tasks.check(world, organization, items)
    now = iso(world.clock.now_ms())
    batch = world.batch()
    keyed = dump_flat([task.keyed for task in tasks if task.row["submitted"] is not None])
    sent = []
    for owner, group in new_tasks.by_organization(tasks).items():
        keys = ({"key": task.key} for task in group)
        parts = chunks(task.row for task in group)
        inserted = batch.each(commands.SUBMIT, parts, organization=owner, at=now, keyed=keyed)
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
    _compare(tasks, rows)
    submitted = []
    for task in tasks:
        identity = task.organization, task.key
        # A generated key is new, so its task was created now, though RETURNING is empty when the batch was sent twice.
        created = identity in inserted or task.key.startswith(GENERATED_KEY_PREFIX)
        row = rows[identity]
        submitted.append(Submitted(integer(row, "id"), text(row, "status"), created))
    return submitted


def _compare(tasks: Sequence[new_tasks.CheckedTask], rows: Mapping[tuple[int, Value], Row]) -> None:
    """Raises Conflict when a key belongs to a task that was submitted with other content."""
    for task in tasks:
        row = rows.get((task.organization, task.key))
        first = None if row is None else optional_text(row, "submitted")
        if row is None or first is None or first == task.row["submitted"]:
            continue
        before, now = json.loads(first), json.loads(task.row["submitted"])
        fields = [name for name in new_tasks.COMPARED if before.get(name) != now.get(name)]
        place = f"{task.place}.idempotency_key" if task.place else "idempotency_key"
        raise Conflict(
            f"{place}: task {row['id']} was submitted under this key with another {' and another '.join(fields)};"
            " send the same content again, or another key"
        )
