"""Claiming: one round trip takes due tasks, open executions that are due for a follow-up, and outbox rows."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumer.core.errors import BadInput
from consumer.core.times import iso
from consumer.execution.call import read_plan
from consumer.execution.inputs import bounded, position, previous_result, refused_answer, task_input
from consumer.ports import PortError
from consumer.store import claim as sql
from consumer.store.sql import bad_column, integer, known_integer, optional_integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.core.decide import Position, TaskMove
    from consumer.core.template import Plan
    from consumer.ports import Row
    from consumer.store.batch import Batch, Handle, Results
    from consumer.world import World

SCAN_HOPS: Final = 25
"""Organizations read from each of two places when one organization would fill more than half a batch."""
CLAIMED_TEXTS: Final = ("title", "description", "input", "feedback", "previous", "previous_key")
"""The columns of a claimed task that hold text, if they hold anything."""
CLAIMED_NULLS: Final = (
    "organization_id",
    "assigned_to",
    "deadline_ms",
    "replaces",
    "newest",
    "open_execution",
    "restored",
)
"""Those that hold an integer or NULL."""
POSITION: Final = ("stage", "candidate", "attempt", "repairs", "redos")
"""Those that count."""
CLAIMED_INTEGERS: Final = ("version", *POSITION, *CLAIMED_NULLS)
"""Those that hold an integer, or NULL where they may."""


@dataclass(slots=True, eq=False, repr=False)
class Claimed:
    """A task under our lease, at the version that the claim gave it.

    `restored`: the execution that may have begun in the time that a restore has removed.
    `why_not`: why it cannot begin, as a blocker for its row.  `unreadable`: why its input can never be used.
    `unreachable`: why its input cannot be read at the moment.  `bad_row`: the column of its row that holds a value of
    another type.  `input_from`: the execution whose answer is `previous`.
    `template_version`: the version of the template; -1 if there is none."""

    id: int
    identity: str
    version: int
    token: str
    organization: int | None
    title: str
    description: str
    assigned_to: int | None
    deadline_ms: int | None
    value: Any
    previous: Any
    feedback: str | None
    position: Position
    newest: int | None
    restored: int | None
    open_execution: int | None
    plan: Plan | None
    refused: Any = None
    why_not: str | None = None
    budgets: Sequence[Row] = field(default_factory=tuple)
    unreadable: str | None = None
    unreachable: str | None = None
    bad_row: str | None = None
    input_from: int | None = None
    template_version: int | None = None

    def moved(self, move: TaskMove, execution: int, output: Any) -> Claimed:  # JSON is any value
        """The task after a settle that continues it under our lease.

        A reviewer's feedback stays for the stage.  Feedback about an invalid answer stays for the candidate."""
        before, after = self.position, move.position
        same = (before.stage, before.candidate) == (after.stage, after.candidate)
        holds = before.stage == after.stage and (same or before.repairs == 0)
        repaired = same and after.repairs > before.repairs
        return replace(
            self,
            version=self.version + 1,
            position=move.position,
            newest=execution,
            feedback=move.feedback or (self.feedback if holds else None),
            previous=output if move.feeds_next else self.previous,
            refused=bounded(output) if repaired else self.refused if same else None,
        )

    @property
    def repairs(self) -> int:
        """The answers of this candidate that did not fit."""
        return self.position.repairs


class Turn(NamedTuple):
    """What a claim needs to know of its run.

    `most`: the tasks that it may take.  `used`: how many of the last calls each organization got.  `without`: the
    organizations that it passes over."""

    most: int
    used: Mapping[int, int] = MappingProxyType({})
    without: Sequence[int] = ()


class Taken(NamedTuple):
    """What a claim brought."""

    tasks: list[Claimed]
    executions: list[int]
    """Open executions to follow up."""
    publish: list[int]
    """Tasks whose status must be published."""
    unhandled: list[int]
    """Tasks for which a webhook came while their execution was being settled."""
    leased: bool
    """Whether the claim has chosen tasks and so has a lease.  If its first answer was lost, all of these tasks may have
    left the lease before it was sent again.  The lease must still be deleted, and more tasks may be due."""


class Claiming(NamedTuple):
    """A claim in a batch, under the lease `token`, and the handles of what it brings."""

    token: str
    tasks: Handle
    templates: Handle
    budgets: Handle
    follow_ups: Handle
    outbox: Handle

    async def read(self, world: World, results: Results) -> Taken:
        """What the claim brought, tasks in order of rank (no statement keeps that order)."""
        by_template = {row["id"]: row for row in results.rows(self.templates)}
        by_task: dict[object, list[Row]] = defaultdict(list)
        for row in results.rows(self.budgets):
            by_task[row["task_id"]].append(row)
        claimed = results.rows(self.tasks)
        held = (row for row in claimed if row["id"] is not None)
        ordered = sorted(held, key=lambda row: (row["rank"], row["run_at_ms"], row["id"]))
        reads = [_claimed(world, self.token, row, by_template.get(row["template_id"])) for row in ordered]
        if any(row["previous_key"] is not None for row in ordered):
            tasks = list(
                await asyncio.gather(*reads)
            )  # one time limit of the blob store, not one for each task
        else:
            tasks = [await read for read in reads]
        for task in tasks:
            task.budgets = by_task.get(task.id, ())
        outbox = results.rows(self.outbox)
        return Taken(
            tasks,
            [integer(row, "id") for row in results.rows(self.follow_ups)],
            publish=_tasks_of(outbox, "publish"),
            unhandled=_tasks_of(outbox, "webhook"),
            leased=bool(claimed),
        )


def _tasks_of(outbox: Iterable[Row], kind: str) -> list[int]:
    return sorted({integer(row, "task_id") for row in outbox if row["kind"] == kind})


def claim(
    batch: Batch,
    world: World,
    token: str,
    now_ms: int,
    turn: Turn | None = None,
) -> Claiming:
    """Add a claim to a batch.

    It may be sent twice: the token of the lease makes the second time read what the first time took."""
    config = world.config
    until = now_ms + config.lease_ms
    size = config.batch_size
    turn = turn or Turn(size)
    start = int(world.entropy.draw() * 2**31)
    lease = sql.CLAIM_LEASE(
        token=token,
        until=until,
        now=now_ms,
        size=size,
        half=max(1, size // 2),
        start=start,
        hops=SCAN_HOPS,
        few=min(size, SCAN_HOPS),
        most=turn.most,
        used=json.dumps(dict(turn.used)),
        without=json.dumps(turn.without),
    )
    batch.add(lease, sql.CLAIM_TASKS(token=token, at=iso(now_ms)))
    return Claiming(
        token,
        batch.add(sql.CLAIMED(token=token)),
        batch.add(sql.CLAIMED_TEMPLATES(token=token)),
        batch.add(sql.CLAIMED_BUDGETS(token=token)),
        batch.add(sql.CLAIM_FOLLOW_UPS(until=until, now=now_ms, size=config.follow_up_size)),
        batch.add(sql.CLAIM_OUTBOX(token=token, until=until, now=now_ms, size=config.follow_up_size)),
    )


async def _claimed(world: World, token: str, row: Row, template: Row | None) -> Claimed:
    bad_row = bad_column(row, CLAIMED_TEXTS, CLAIMED_INTEGERS, POSITION)
    if bad_row is not None:
        row = {**row, **dict.fromkeys(CLAIMED_TEXTS), **_integers(row)}
    plan, why_not = _plan(row, template)
    value, bad_input = _input(row)
    bad_row = bad_row or bad_input
    previous = refused = unreadable = unreachable = None
    try:
        previous, refused = await previous_result(world, row), refused_answer(row)
    except BadInput as error:
        unreadable = f"lost_result: {error}"[:200]
    except PortError as error:
        unreachable = str(error)[:200]
    at = position(row)
    first = bad_row is None and at.stage == at.redos == 0
    if plan is not None and first and (misfit := plan.misfit(value)):
        unreadable = unreadable or f"bad_input: {misfit}"[:200]
    return Claimed(
        id=integer(row, "id"),
        identity=text(row, "identity"),
        version=integer(row, "version"),
        token=token,
        organization=optional_integer(row, "organization_id"),
        title=text(row, "title"),
        description=text(row, "description"),
        assigned_to=optional_integer(row, "assigned_to"),
        deadline_ms=optional_integer(row, "deadline_ms"),
        value=value,
        previous=previous,
        feedback=optional_text(row, "feedback"),
        refused=refused,
        position=at,
        newest=optional_integer(row, "newest"),
        restored=optional_integer(row, "restored"),
        open_execution=optional_integer(row, "open_execution"),
        plan=plan,
        why_not=why_not,
        unreadable=unreadable,
        unreachable=unreachable,
        bad_row=bad_row,
        input_from=known_integer(row, "input_from"),
        template_version=-1 if template is None else known_integer(template, "version"),
    )


def _input(row: Row) -> tuple[Any, str | None]:
    """The task's input, and why it cannot be read."""
    try:
        return task_input(row), None
    except BadInput as error:
        return None, str(error)[:200]


def _integers(row: Row) -> dict[str, int | None]:
    """The integers of a row that cannot be read as a whole."""
    return {
        name: known_integer(row, name) if name in CLAIMED_NULLS else max(0, known_integer(row, name) or 0)
        for name in CLAIMED_INTEGERS
    }


def _plan(row: Row, template: Row | None) -> tuple[Plan | None, str | None]:
    if template is None:
        return None, f"no_route:{row['template_id'] or ''}"
    try:
        return read_plan(template), None
    except BadInput as error:
        return None, f"no_route:{row['template_id']}:{error}"[:200]
