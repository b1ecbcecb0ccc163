"""What callers may ask of tasks, checked at the edge: submit, cancel, retry, adopt.

`organization` is the caller's; None is an operator, who sees all.  Every refusal names the field, and nothing is
half done.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from consumer.core import policy
from consumer.core.errors import BadInput, Conflict, NotFound, Problem
from consumer.core.lifecycle import TASK_FINAL, TaskState
from consumer.core.model import PLAIN, Model, Text, parse
from consumer.core.schema import mismatch
from consumer.core.strictjson import clean, dump_json, parse_json
from consumer.core.template import Limits
from consumer.core.times import iso, parse_time
from consumer.execution import doorbells, publish
from consumer.ports import MAX_INTEGER
from consumer.store import commands, queries
from consumer.store.batch import commit
from consumer.store.sql import chunks, integer, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumer.ports import Row, Statement, Value
    from consumer.world import World

MAX_TASKS: Final = 1_000
"""Tasks in one submission."""
MAX_ORGANIZATIONS: Final = 100
"""Of the tasks in one submission: each asks for its names, and D1 limits the statements of an invocation."""
MAX_INPUT_BYTES: Final = 256_000
ADOPTED_AT_ONCE: Final = 1_000
MAX_ADOPTED: Final = 100_000
"""In one call: each thousand is a statement."""
GENERATED_KEY_PREFIX: Final = "~"
"""How an idempotency key begins that nobody chose."""


UNNAMED: Final = "an operator names it in each task, or in the query: ?organization=ID"

T = TypeVar("T")


def _named(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    an_id = type(value) is int and 1 <= value <= MAX_INTEGER
    if an_id or (isinstance(value, str) and 1 <= len(value) <= 200 and clean(value) == value):
        return value
    msg = "an id, or a name of 1 to 200 characters"
    raise ValueError(msg)


Named = Annotated[
    int | str,
    BeforeValidator(_named),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER},
                {"type": "string", "minLength": 1, "maxLength": 200},
            ]
        }
    ),
]
Time = Annotated[Text, Field(max_length=40, json_schema_extra={"format": "date-time"})]


class NewTask(Model):
    """One task as a caller hands it in.  `template` and `organization` are an id or a name, `assigned_to` is a user's
    id or e-mail.  Without `organization` it is the caller's; an operator names it here or in the address."""

    organization: Named | None = None
    template: Named
    title: Annotated[Text, Field(min_length=1, max_length=500)]
    description: Annotated[Text, Field(max_length=20_000)] | None = None
    input: dict[str, Any] | None = None
    priority: Literal["urgent", "high", "medium", "low"] = "medium"
    assigned_to: Named | None = None
    due_date: Time | None = None
    run_at: Time | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^~]"), PLAIN] | None = (
        None
    )


@dataclass(frozen=True, slots=True)
class Adopted:
    """How many tasks may run now, and how many lack a route or an organization.  `more` may be left: ask again."""

    adopted: int
    lacking: int
    more: bool


@dataclass(frozen=True, slots=True)
class Submitted:
    """`created` is False when the same key had made the task before."""

    id: int
    status: Annotated[str, Field(json_schema_extra={"enum": [state.value for state in TaskState]})]
    created: bool


async def submit(world: World, organization: int | None, items: Sequence[object]) -> list[Submitted]:
    """Add tasks, all or none.  Raises BadInput naming the task and the field of everything that is wrong."""
    if not items:
        raise BadInput("tasks", "at least one task")
    if len(items) > MAX_TASKS:
        raise BadInput("tasks", f"at most {MAX_TASKS} tasks at once")
    new, problems = _parse_all(items, organization, several=len(items) > 1)
    made = await _rows(world, organization, new, problems)
    now = iso(world.clock.now_ms())
    sent: list[tuple[int, Statement]] = []
    for whose, group in _by_organization(made):
        sent += [(whose, commands.SUBMIT(organization=whose, at=now, rows=part)) for part in chunks(group)]
        keys = ({"key": row["key"]} for row in group)
        sent += [(whose, commands.SUBMITTED(organization=whose, rows=part)) for part in chunks(keys)]
    results = await commit(world.database, world.entropy, [statement for _, statement in sent])
    created: set[tuple[int, object]] = set()
    found: dict[tuple[int, object], Row] = {}
    for (whose, _), result in zip(sent, results, strict=True):
        for row in result.rows:
            if "created_at" in row:
                found[whose, row["idempotency_key"]] = row
            else:
                created.add((whose, row["idempotency_key"]))
    # A key of our own making has no older task; after a lost answer RETURNING says nothing of it.
    done = [
        Submitted(
            integer(found[whose, row["key"]], "id"),
            text(found[whose, row["key"]], "status"),
            (whose, row["key"]) in created or row["key"].startswith(GENERATED_KEY_PREFIX),
        )
        for whose, row in made
    ]
    if any(row["run_at"] <= world.clock.now_ms() for _, row in made):
        await doorbells.ring(world, task=done[0].id)
    return done


def _by_organization(made: Iterable[tuple[int, T]]) -> Iterable[tuple[int, list[T]]]:
    groups: dict[int, list[T]] = {}
    for whose, value in made:
        groups.setdefault(whose, []).append(value)
    return groups.items()


def _parse_all(
    items: Sequence[object], organization: int | None, *, several: bool
) -> tuple[list[tuple[str, NewTask]], list[Problem]]:
    """The tasks that can be read, each with its place in the request, and what is wrong with the others."""
    new: list[tuple[str, NewTask]] = []
    problems: list[Problem] = []
    for index, item in enumerate(items):
        place = f"tasks[{index}]" if several else ""
        if organization is None and not (isinstance(item, dict) and item.get("organization") is not None):
            problems += BadInput("organization", UNNAMED).within(place).problems
            continue
        try:
            new.append((place, parse(NewTask, item, place)))
        except BadInput as error:
            problems += error.problems
    return new, problems


async def _rows(
    world: World, organization: int | None, new: Sequence[tuple[str, NewTask]], problems: list[Problem]
) -> list[tuple[int, dict[str, Any]]]:
    """The rows to write, each with its organization.  Raises BadInput with all problems."""
    placed = await _placed(world, organization, new, problems)
    groups = [(whose, [task for _, task in group]) for whose, group in _by_organization(placed)]
    if len(groups) > MAX_ORGANIZATIONS:
        raise BadInput("tasks", f"of at most {MAX_ORGANIZATIONS} organizations at once")
    asked = [statement for whose, tasks in groups for statement in _names(whose, tasks)]
    results = await commit(world.database, world.entropy, asked) if asked else []
    known = {
        whose: _Known(templates.rows, users.rows)
        for (whose, _), templates, users in zip(groups, results[::2], results[1::2], strict=True)
    }
    token, now = world.entropy.token(), world.clock.now_ms()
    made = []
    for index, (whose, (place, task)) in enumerate(placed):
        try:
            made.append((whose, _row(task, known[whose], f"{GENERATED_KEY_PREFIX}{token}:{index}", now)))
        except BadInput as error:
            problems += error.within(place).problems
    if problems:
        raise BadInput.of(problems)
    return made


def _names(organization: int, tasks: Iterable[NewTask]) -> list[Statement]:
    """Ask for the templates and people that tasks of one organization name."""
    tasks = list(tasks)
    templates = sorted({str(task.template) for task in tasks})
    people = sorted({str(task.assigned_to) for task in tasks if task.assigned_to is not None})
    return [
        commands.TEMPLATES_NAMED(organization=organization, wanted=json.dumps(templates)),
        commands.USERS_NAMED(organization=organization, wanted=json.dumps(people)),
    ]


class _Known:
    """What the names of one organization's tasks stand for."""

    def __init__(self, templates: Sequence[Row], users: Sequence[Row]) -> None:
        self.templates: dict[object, Row] = {row["name"]: row for row in templates}
        self.templates |= {row["id"]: row for row in templates}
        self.users: dict[object, object] = {row["email"]: row["id"] for row in reversed(users)}
        self.users |= {row["id"]: row["id"] for row in users}


async def _placed(
    world: World, organization: int | None, new: Sequence[tuple[str, NewTask]], problems: list[Problem]
) -> list[tuple[int, tuple[str, NewTask]]]:
    """Each task with its organization; what is not there, or not the caller's, is a problem."""
    named = sorted({str(task.organization) for _, task in new if task.organization is not None})
    by_name: dict[object, object] = {}
    if named:
        wanted = commands.ORGANIZATIONS_NAMED(wanted=json.dumps(named))
        found = await world.rows(wanted)
        by_name.update((row["name"], row["id"]) for row in reversed(found))
        by_name.update((row["id"], row["id"]) for row in found)
    placed = []
    for place, task in new:
        whose = organization if task.organization is None else by_name.get(task.organization)
        if isinstance(whose, int) and organization in (None, whose):
            placed.append((whose, (place, task)))
            continue
        theirs = f"no organization {task.organization}"
        why = theirs if organization is None else f"this is for organization {organization}"
        problems += BadInput("organization", why).within(place).problems
    return placed


def _row(task: NewTask, known: _Known, made_key: str, now: int) -> dict[str, Any]:
    template = known.templates.get(task.template)
    if template is None:
        raise BadInput("template", f"this organization has no template {task.template!r}")
    if template["route"] is None:
        raise BadInput(
            "template", f"template {task.template!r} has no route yet: put one with its output_schema"
        )
    if task.assigned_to is not None and task.assigned_to not in known.users:
        raise BadInput("assigned_to", f"this organization has no user {task.assigned_to}")
    due = parse_time(task.due_date, "due_date") if task.due_date is not None else None
    run_at = parse_time(task.run_at, "run_at") if task.run_at is not None else now
    limits = Limits.model_validate_json(text(template, "limits") or "{}")
    return {
        "template": template["id"],
        "title": task.title,
        "description": task.description,
        "priority": task.priority,
        "assigned_to": known.users[task.assigned_to] if task.assigned_to is not None else None,
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
        commands.CANCEL(**scope, reason=f"cancelled by {actor}", at=iso(now)),
        commands.CANCEL_CALLS(**scope),
        commands.CANCEL_AUDIT(**scope, now=now, actor=actor),
        commands.CANCEL_STATUS(**scope, due=now + publish.REPAIR_AFTER_MS),
        queries.TASK(**scope),
    ]
    results = await commit(world.database, world.entropy, batch)
    row = one(results[-1].rows)
    if row is None:
        raise NotFound(f"no task {task}")
    if row["status"] != TaskState.CANCELLED:
        raise Conflict(f"task {task} has ended already: it is {row['status']}")
    await publish.republish(world, [task])
    await doorbells.ring(world, task=task)
    return text(row, "status")


async def retry(world: World, organization: int | None, task: int) -> Submitted:
    """A new task like a finished one, that names it; the same one however often it is asked for, until it has ended.

    Raises NotFound, Conflict when it has not ended."""
    row = one(await world.rows(queries.TASK(task=task, organization=organization)))
    if row is None:
        raise NotFound(f"no task {task}")
    if row["status"] not in TASK_FINAL:
        raise Conflict(f"task {task} has not ended: it is {row['status']}")
    owner = optional_integer(row, "organization_id")
    if owner is None or row["route"] is None:
        raise Conflict(f"task {task} has no organization or no route")
    now = world.clock.now_ms()
    limits = await _limits(world, row)
    key = f"{GENERATED_KEY_PREFIX}retry-{task}-"
    earlier = commands.RETRIES(organization=owner, first=key, beyond=f"{key}~")
    (found,) = await world.rows(earlier)
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
        "key": f"{key}{found['ended']}",
        "retry_of": task,
    }
    part = json.dumps([copy])
    batch = [
        commands.SUBMIT(organization=owner, at=iso(now), rows=part),
        commands.SUBMITTED(organization=owner, rows=part),
    ]
    created, submitted = await commit(world.database, world.entropy, batch)
    made = submitted.rows[0]
    await doorbells.ring(world, task=integer(made, "id"))
    return Submitted(integer(made, "id"), text(made, "status"), created=bool(created.rows))


async def _limits(world: World, row: Row) -> Limits:
    statement = queries.TEMPLATE(id=row["template_id"], organization=None)
    template = one(await world.rows(statement))
    return Limits.model_validate_json((optional_text(template, "limits") if template else None) or "{}")


async def adopt(world: World, organization: int | None) -> Adopted:
    """Let tasks older than the installation run, up to `MAX_ADOPTED` of them."""
    ready = lacking = 0
    more = True
    while more and ready + lacking < MAX_ADOPTED:
        now = world.clock.now_ms()
        statement = commands.ADOPT(organization=organization, now=now, size=ADOPTED_AT_ONCE)
        found = await world.rows(statement)
        ready += sum(1 for row in found if row["blocked_by"] is None)
        lacking += sum(1 for row in found if row["blocked_by"] is not None)
        more = len(found) == ADOPTED_AT_ONCE
    if ready:
        await doorbells.ring(world)
    return Adopted(ready, lacking, more)
