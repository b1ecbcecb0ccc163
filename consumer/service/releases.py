"""Release a task from calls of unknown outcome: their time is over now, and no longer at `resolve_by_ms`.

The worker then does what it does at that time.  It asks the provider a last time, where the provider can be asked.
Without evidence it asks a person, where the template says so, or charges the reservation and lets the task go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer.core.errors import Conflict, NotFound
from consumer.store import commands, queries

if TYPE_CHECKING:
    from consumer.ports import Value
    from consumer.world import World


@dataclass(frozen=True, slots=True)
class Released:
    """`released`: the calls of task `id` whose outcome no longer waits for evidence."""

    id: int
    released: int


async def release(
    world: World,
    organization: int | None,
    task: int,
    actor: str,
    profile: str | None = None,
    *,
    questions: bool = False,
) -> Released:
    """Release a task from its calls of unknown outcome; with a profile, from those calls only.

    `questions`: also from those that a person was asked about.

    Raises NotFound, Conflict when there is no such call."""
    scope: dict[str, Value] = {"task": task, "organization": organization, "now": world.clock.now_ms()}
    batch = world.batch()
    released = batch.add(commands.RELEASE_CALLS(**scope, profile=profile, questions=int(questions)))
    batch.add(commands.RELEASE_AUDIT(**scope, actor=actor))
    found = batch.add(queries.TASK(task=task, organization=organization))
    results = await batch.commit()
    if results.first(found) is None:
        raise NotFound(f"no task {task}")
    count = len(results.rows(released))
    if not count:
        raise Conflict(f"task {task} has no call of unknown outcome that can be released now")
    return Released(task, count)
