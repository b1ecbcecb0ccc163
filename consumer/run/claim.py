"""Claiming: one round trip that takes due tasks, open executions whose time has come, and outbox rows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from consumer.core.errors import BadInput
from consumer.core.times import iso
from consumer.execution.call import read_plan
from consumer.execution.inputs import fed, position, task_input
from consumer.ports import PortError
from consumer.store import claim
from consumer.store.sql import integer, optional_integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumer.core.decide import Position, TaskMove
    from consumer.core.template import Plan
    from consumer.ports import Result, Row, Statement
    from consumer.world import World

WALK_HOPS: Final = 25
"""Organizations looked at from each of two places when one organization would fill more than half a batch."""


@dataclass(slots=True)
class Claimed:
    """A task under our lease, at the version that we gave it.  `why_not`: what keeps it from being begun.

    `unreadable`: what is wrong with its input for good; `unreachable`: what cannot be read just now."""

    id: int
    version: int
    token: str
    organization: int | None
    title: str
    description: str
    assigned_to: int | None
    deadline_ms: int | None
    value: Any
    fed: Any
    feedback: str | None
    position: Position
    newest: int | None
    open_execution: int | None
    plan: Plan | None
    why_not: str | None = None
    budgets: Sequence[Row] = field(default_factory=tuple)
    unreadable: str | None = None
    unreachable: str | None = None

    def moved(self, move: TaskMove, execution: int, output: Any) -> Claimed:  # JSON is any value
        """The task after it went on under our lease.

        What a reviewer said holds for the stage; what was wrong with an answer, for the candidate that gave it."""
        before, after = self.position, move.position
        holds = before.stage == after.stage and (before.candidate == after.candidate or before.repairs == 0)
        return replace(
            self,
            version=self.version + 1,
            position=move.position,
            newest=execution,
            feedback=move.feedback or (self.feedback if holds else None),
            fed=output if move.feeds_next else self.fed,
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """What a claim brought."""

    tasks: list[Claimed]
    executions: list[int]
    publish: list[int]
    """Tasks whose status is to be published."""
    told: list[int]
    """Tasks of which webhooks told while what they tell of was being ended."""


def statements(world: World, token: str, now_ms: int) -> list[Statement]:
    """The claim.  It may be sent again: the lease's token makes the second time read what the first time took."""
    config = world.config
    until = now_ms + config.lease_ms
    size = config.batch_size
    start = int(world.entropy.draw() * 2**31)
    return [
        claim.CLAIM_LEASE(
            token=token,
            until=until,
            now=now_ms,
            size=size,
            half=max(1, size // 2),
            start=start,
            hops=WALK_HOPS,
        ),
        claim.CLAIM_TASKS(token=token, at=iso(now_ms)),
        claim.CLAIMED(token=token),
        claim.CLAIMED_TEMPLATES(token=token),
        claim.CLAIMED_BUDGETS(token=token),
        claim.CLAIM_FOLLOW_UPS(until=until, now=now_ms, size=config.follow_up_size),
        claim.CLAIM_OUTBOX(token=token, until=until, now=now_ms, size=config.follow_up_size),
    ]


async def read(world: World, token: str, results: Iterable[Result]) -> Taken:
    """What the claim's statements brought, tasks in order of rank (no statement keeps it)."""
    _, _, tasks, templates, budgets, attention, outbox = results
    by_template = {row["id"]: row for row in templates.rows}
    by_task: dict[object, list[Row]] = defaultdict(list)
    for row in budgets.rows:
        by_task[row["task_id"]].append(row)
    ordered = sorted(tasks.rows, key=lambda row: (row["rank"], row["run_at_ms"], row["id"]))
    claimed = [await _claimed(world, token, row, by_template.get(row["template_id"])) for row in ordered]
    for task in claimed:
        task.budgets = by_task.get(task.id, ())
    return Taken(
        claimed,
        [integer(row, "id") for row in attention.rows],
        *(
            sorted({integer(row, "task_id") for row in outbox.rows if row["kind"] == kind})
            for kind in ("publish", "webhook")
        ),
    )


async def _claimed(world: World, token: str, row: Row, template: Row | None) -> Claimed:
    plan, why_not = _plan(row, template)
    value = before = unreadable = unreachable = None
    try:
        value, before = task_input(row), await fed(world, row)
    except BadInput as error:
        unreadable = str(error)[:200]
    except PortError as error:
        unreachable = str(error)[:200]
    return Claimed(
        id=integer(row, "id"),
        version=integer(row, "version"),
        token=token,
        organization=optional_integer(row, "organization_id"),
        title=text(row, "title"),
        description=text(row, "description"),
        assigned_to=optional_integer(row, "assigned_to"),
        deadline_ms=optional_integer(row, "deadline_ms"),
        value=value,
        fed=before,
        feedback=optional_text(row, "feedback"),
        position=position(row),
        newest=optional_integer(row, "newest"),
        open_execution=optional_integer(row, "open_execution"),
        plan=plan,
        why_not=why_not,
        unreadable=unreadable,
        unreachable=unreachable,
    )


def _plan(row: Row, template: Row | None) -> tuple[Plan | None, str | None]:
    if template is None:
        return None, f"no_route:{row['template_id'] or ''}"
    try:
        return read_plan(template), None
    except BadInput as error:
        return None, f"no_route:{row['template_id']}:{error}"[:200]
