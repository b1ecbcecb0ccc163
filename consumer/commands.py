"""What callers may ask of tasks, checked at the edge: submit, cancel, retry, adopt.

`organization` is the caller's; None is an operator, who sees all.  Every refusal names the field, and nothing is
half done.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from consumer import doorbells, publish
from consumer.core import policy
from consumer.core.errors import BadInput, Conflict, NotFound, Problem
from consumer.core.lifecycle import TASK_FINAL, TaskState
from consumer.core.schema import clean, dump_json, mismatch, parse_json
from consumer.core.template import Id, Limits, Model, parse
from consumer.core.times import iso, parse_time
from consumer.store import admin
from consumer.store import tasks as store
from consumer.store.commit import commit, rows
from consumer.store.sql import chunks, integer, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Row, Value
    from consumer.world import World

MAX_TASKS: Final = 1_000
"""Tasks in one submission."""
MAX_INPUT_BYTES: Final = 256_000
MADE_KEY: Final = "~"
"""How an idempotency key begins that nobody chose."""


def _plain(value: object) -> object:
    if isinstance(value, str) and clean(value) != value:
        msg = "text without NUL characters and without half surrogate pairs"
        raise ValueError(msg)
    return value


Text = Annotated[str, BeforeValidator(_plain)]


class NewTask(Model):
    """One task as a caller hands it in.  `template` is an id or a name."""

    template: Id | Annotated[Text, Field(min_length=1, max_length=200)]
    title: Annotated[Text, Field(min_length=1, max_length=500)]
    description: Annotated[Text, Field(max_length=20_000)] | None = None
    input: dict[str, Any] | None = None
    priority: Literal["urgent", "high", "medium", "low"] = "medium"
    assigned_to: Id | None = None
    due_date: Annotated[Text, Field(max_length=40)] | None = None
    run_at: Annotated[Text, Field(max_length=40)] | None = None
    idempotency_key: Annotated[Text, Field(min_length=1, max_length=200, pattern=r"^[^~]")] | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """`created` is False when the same key had made the task before."""

    id: int
    status: str
    created: bool


async def submit(world: World, organization: int, items: Sequence[object]) -> list[Submitted]:
    """Add tasks, all or none.  Raises BadInput naming the task and the field of everything that is wrong."""
    if not items:
        raise BadInput("tasks", "at least one task")
    if len(items) > MAX_TASKS:
        raise BadInput("tasks", f"at most {MAX_TASKS} tasks at once")
    several = len(items) > 1
    new, problems = _parse_all(items, several=several)
    made = await _rows(world, organization, new, problems, several=several)
    now = iso(world.clock.now_ms())
    keys = ({"key": row["key"]} for row in made)
    batch = [store.SUBMIT(organization=organization, at=now, rows=part) for part in chunks(made)]
    batch += [store.SUBMITTED(organization=organization, rows=part) for part in chunks(keys)]
    results = await commit(world.database, world.entropy, batch)
    created = {row["idempotency_key"] for result in results for row in result.rows if "created_at" not in row}
    found = {row["idempotency_key"]: row for result in results for row in result.rows if "created_at" in row}
    # A key of our own making has no older task; after a lost answer RETURNING says nothing of it.
    done = [
        Submitted(
            integer(found[row["key"]], "id"),
            text(found[row["key"]], "status"),
            row["key"] in created or row["key"].startswith(MADE_KEY),
        )
        for row in made
    ]
    if any(row["run_at"] <= world.clock.now_ms() for row in made):
        await doorbells.ring(world, task=done[0].id)
    return done


def _parse_all(items: Sequence[object], *, several: bool) -> tuple[list[NewTask | None], list[Problem]]:
    new: list[NewTask | None] = []
    problems: list[Problem] = []
    for index, item in enumerate(items):
        try:
            new.append(parse(NewTask, item, f"tasks[{index}]" if several else ""))
        except BadInput as error:
            new.append(None)
            problems += error.problems
    return new, problems


async def _rows(
    world: World, organization: int, new: Sequence[NewTask | None], problems: list[Problem], *, several: bool
) -> list[dict[str, Any]]:
    wanted = sorted({str(task.template) for task in new if task is not None})
    users = sorted({task.assigned_to for task in new if task is not None and task.assigned_to is not None})
    templates, known = await commit(
        world.database,
        world.entropy,
        [
            admin.TEMPLATES_NAMED(organization=organization, wanted=json.dumps(wanted)),
            store.USERS_OF(organization=organization, users=json.dumps(users)),
        ],
    )
    by_name: dict[object, Row] = {row["name"]: row for row in templates.rows}
    by_name |= {row["id"]: row for row in templates.rows}
    members: set[object] = {row["id"] for row in known.rows}
    token, now = world.entropy.token(), world.clock.now_ms()
    made = []
    for index, task in enumerate(new):
        if task is None:
            continue
        try:
            made.append(_row(task, by_name.get(task.template), members, f"{MADE_KEY}{token}:{index}", now))
        except BadInput as error:
            problems += (error.within(f"tasks[{index}]") if several else error).problems
    if problems:
        raise BadInput.of(problems)
    return made


def _row(
    task: NewTask, template: Row | None, members: set[object], made_key: str, now: int
) -> dict[str, Any]:
    if template is None:
        raise BadInput("template", f"this organization has no template {task.template!r}")
    if template["route"] is None:
        raise BadInput(
            "template", f"template {task.template!r} has no route yet: put one with its output_schema"
        )
    if task.assigned_to is not None and task.assigned_to not in members:
        raise BadInput("assigned_to", "not a user of this organization")
    due = parse_time(task.due_date, "due_date") if task.due_date else None
    run_at = parse_time(task.run_at, "run_at") if task.run_at else now
    limits = Limits.model_validate_json(text(template, "limits") or "{}")
    return {
        "template": template["id"],
        "title": task.title,
        "description": task.description,
        "priority": task.priority,
        "assigned_to": task.assigned_to,
        "due_date": iso(due) if due is not None else None,
        "run_at": max(run_at, now),
        "raise_at": policy.raise_at(now, due),
        "deadline": now + limits.task_s * policy.SECOND if limits.task_s else None,
        "input": _input(task, template),
        "key": task.idempotency_key or made_key,
        "retry_of": None,
    }


def _input(task: NewTask, template: Row) -> str | None:
    value = task.input
    if value is None:
        value = {"title": task.title, "description": task.description or ""}
    schema = optional_text(template, "input_schema")
    why = mismatch(parse_json(schema), value) if schema else None
    if why:
        raise BadInput("input", why)
    if task.input is None:
        return None
    stored = dump_json(task.input)
    if len(stored.encode()) > MAX_INPUT_BYTES:
        raise BadInput(
            "input", f"at most {MAX_INPUT_BYTES} bytes of JSON; put larger things elsewhere and name them"
        )
    return stored


async def cancel(world: World, organization: int | None, task: int, actor: str) -> str:
    """End a task at any moment; what is open at a provider is cancelled there.  A second time changes nothing.

    Raises NotFound; Conflict when it had ended otherwise."""
    now = world.clock.now_ms()
    scope: dict[str, Value] = {"task": task, "organization": organization}
    batch = [
        store.CANCEL(**scope, reason=f"cancelled by {actor}", at=iso(now)),
        store.CANCEL_CALLS(**scope),
        store.CANCEL_AUDIT(**scope, now=now, actor=actor),
        store.CANCEL_STATUS(**scope, due=now + publish.REPAIR_AFTER_MS),
        store.TASK(**scope),
    ]
    results = await commit(world.database, world.entropy, batch)
    row = one(results[-1].rows)
    if row is None:
        raise NotFound(f"no task {task}")
    if row["status"] != TaskState.CANCELLED:
        raise Conflict(f"task {task} has ended already: it is {row['status']}")
    await publish.again(world, [task])
    await doorbells.ring(world, task=task)
    return text(row, "status")


async def retry(world: World, organization: int | None, task: int) -> Submitted:
    """A new task like a finished one, that names it.  Raises NotFound, Conflict when it has not ended."""
    row = one(await rows(world.database, world.entropy, store.TASK(task=task, organization=organization)))
    if row is None:
        raise NotFound(f"no task {task}")
    if row["status"] not in TASK_FINAL:
        raise Conflict(f"task {task} has not ended: it is {row['status']}")
    owner = optional_integer(row, "organization_id")
    if owner is None or row["route"] is None:
        raise Conflict(f"task {task} has no organization or no route")
    now = world.clock.now_ms()
    limits = await _limits(world, row)
    copy = {
        "template": row["template_id"],
        "title": row["title"],
        "description": row["description"],
        "priority": row["priority"],
        "assigned_to": row["assigned_to"],
        "due_date": row["due_date"],
        "run_at": now,
        "raise_at": None,
        "deadline": now + limits.task_s * policy.SECOND if limits.task_s else None,
        "input": row["input"],
        "key": f"{MADE_KEY}{world.entropy.token()}",
        "retry_of": task,
    }
    part = json.dumps([copy])
    batch = [
        store.SUBMIT(organization=owner, at=iso(now), rows=part),
        store.SUBMITTED(organization=owner, rows=part),
    ]
    results = await commit(world.database, world.entropy, batch)
    made = results[-1].rows[0]
    await doorbells.ring(world, task=integer(made, "id"))
    return Submitted(integer(made, "id"), text(made, "status"), created=True)


async def _limits(world: World, row: Row) -> Limits:
    statement = admin.TEMPLATE(id=row["template_id"], organization=None)
    template = one(await rows(world.database, world.entropy, statement))
    return Limits.model_validate_json((optional_text(template, "limits") if template else None) or "{}")


async def adopt(world: World, organization: int | None) -> tuple[int, int]:
    """Let tasks older than the installation run: how many may now, and how many lack a route or an organization."""
    ready = lacking = 0
    while True:
        now = world.clock.now_ms()
        found = await rows(
            world.database, world.entropy, store.ADOPT(organization=organization, now=now, size=1_000)
        )
        ready += sum(1 for row in found if row["blocked_by"] is None)
        lacking += sum(1 for row in found if row["blocked_by"] is not None)
        if not found:
            break
    if ready:
        await doorbells.ring(world)
    return ready, lacking
