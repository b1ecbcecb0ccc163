"""What callers change about existing tasks: cancel, adopt.  `submissions` has the commands that create tasks.

`organization` is the caller's own; None stands for an operator, who may change the tasks of every organization.  Each
command is one atomic batch that may be sent twice, so a task is never half changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from consumer.core.errors import Conflict, NotFound
from consumer.core.lifecycle import TaskState
from consumer.core.times import iso
from consumer.execution import doorbells, publish
from consumer.service.notes import one_of
from consumer.store import commands, queries
from consumer.store.sql import text

if TYPE_CHECKING:
    from consumer.ports import Value
    from consumer.world import World

ADOPT_SIZE: Final = 1_000
"""Tasks that one statement adopts."""
MAX_ADOPTED: Final = 100_000
"""Tasks that one call adopts, so that it stays below D1's limit of statements in an invocation."""
GENERATED_KEY_PREFIX: Final = "~"
"""How an idempotency key begins that the worker generated.  Keys of callers must not begin with it."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """`adopted` tasks may run now; `lacking` tasks have no route or no organization.

    `more`: tasks may be left, so ask again."""

    adopted: int
    lacking: int
    more: bool


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task of a submission.  `created` is False when the same idempotency key had created the task before."""

    id: int
    status: Annotated[str, one_of(TaskState)]
    created: bool


async def cancel(world: World, organization: int | None, task: int, actor: str, *, ring: bool = True) -> str:
    """End an unfinished task; the worker then cancels its open calls at their providers.  Returns the task's status.

    `ring`: wake a worker; a caller who cancels many tasks wakes it once.  A second cancel changes nothing.  Raises
    NotFound, Conflict when the task had already ended in another way."""
    now = world.clock.now_ms()
    scope: dict[str, Value] = {"task": task, "organization": organization}
    batch = world.batch()
    batch.add(
        commands.CANCEL(**scope, reason=f"cancelled by {actor}", at=iso(now)),
        commands.CANCEL_CALLS(**scope),
        commands.CANCEL_AUDIT(**scope, now=now, actor=actor),
        commands.CANCEL_STATUS(**scope, due=now + publish.REPAIR_AFTER_MS),
    )
    found = batch.add(queries.TASK(**scope))
    row = (await batch.commit()).first(found)
    if row is None:
        raise NotFound(f"no task {task}")
    if row["status"] != TaskState.CANCELLED:
        raise Conflict(f"task {task} has already ended: it is {row['status']}")
    await publish.republish(world, [task])
    if ring:
        await doorbells.ring(world, task=task)
    return text(row, "status")


async def adopt(world: World, organization: int | None) -> Adopted:
    """Let tasks run that are older than the installation, up to `MAX_ADOPTED` of them."""
    adopted = lacking = 0
    more = True
    while more and adopted + lacking < MAX_ADOPTED:
        now = world.clock.now_ms()
        rows = await world.rows(commands.ADOPT(organization=organization, now=now, size=ADOPT_SIZE))
        adopted += sum(1 for row in rows if row["blocked_by"] is None)
        lacking += sum(1 for row in rows if row["blocked_by"] is not None)
        more = len(rows) == ADOPT_SIZE
    if adopted:
        await doorbells.ring(world)
    return Adopted(adopted, lacking, more)
