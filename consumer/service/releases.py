"""Release a task from calls of unknown outcome: their time is over now, and no longer at `resolve_by_ms`.

The worker then does what it does at that time.  It asks the provider a last time, where the provider can be asked.
Without evidence it asks a person, where the template says so, or charges the reservation and lets the task go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer.core.errors import NotFound
from consumer.store import commands, queries

if TYPE_CHECKING:
    from consumer.ports import Value
    from consumer.world import World


@dataclass(frozen=True, slots=True)
class Released:
    """`released`: the calls of task `id` that no longer wait for evidence.

    It is 0 if no outcome is unknown, or if a worker is following the call up at the moment."""

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

    `questions`: also from those that a person was asked about.  A second release changes nothing.  Raises NotFound."""
    scope: dict[str, Value] = {"task": task, "organization": organization, "now": world.clock.now_ms()}
    batch = world.batch()
    released = batch.add(commands.RELEASE_CALLS(**scope, profile=profile, questions=int(questions)))
    batch.add(commands.RELEASE_AUDIT(**scope, actor=actor))
    found = batch.add(queries.TASK(task=task, organization=organization))
    results = await batch.commit()
    if results.first(found) is None:
        raise NotFound(f"no task {task}")
    return Released(task, len(results.rows(released)))
