"""New tasks as callers hand them in, checked and turned into rows.

`check` reads the tasks of a request, finds the organization, template and user that each one names, and returns the
rows to insert.  It collects every problem of the request before it refuses, and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from consumer.core import policy
from consumer.core.checker import BUDGET, Work
from consumer.core.errors import BadInput, Problem
from consumer.core.model import PLAIN, Model, Text, parse
from consumer.core.schema import SchemaCheck
from consumer.core.strictjson import clean, dump_flat, dump_json
from consumer.core.times import iso, parse_time
from consumer.ports import MAX_INTEGER
from consumer.service.commands import GENERATED_KEY_PREFIX
from consumer.store import commands
from consumer.store.batch import NOTHING
from consumer.store.sql import known_integer, optional_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.ports import Row
    from consumer.store.batch import Handle
    from consumer.world import World

MAX_TASKS: Final = 1_000
"""Tasks in one submission."""
MAX_ORGANIZATIONS: Final = 100
"""Organizations in one submission.  Each one needs statements of its own, and D1 limits those of an invocation."""
REQUEST_WORK: Final = 3 * BUDGET
"""Units of work that the checks of a request's inputs may spend together: half a second."""
MAX_INPUT_BYTES: Final = 256_000
"""Bytes of a task's input as JSON."""
COMPARED: Final = (
    *(
        "template",
        "title",
        "description",
        "input",
        "priority",
        "assigned_to",
        "due_date",
        "run_at",
        "deadline",
    ),
)
"""Fields by which a repeated submission is compared with the first one."""
ORGANIZATION_NEEDED: Final = "an operator must name it in each task, or in the query: ?organization=ID"


def _id_or_name(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    an_id = type(value) is int and 1 <= value <= MAX_INTEGER
    if an_id or (isinstance(value, str) and 1 <= len(value) <= 200 and clean(value) == value):
        return value
    msg = "must be an id, or a name of 1 to 200 characters"
    raise ValueError(msg)


IdOrName = Annotated[
    int | str,
    BeforeValidator(_id_or_name),
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

    organization: IdOrName | None = None
    template: IdOrName
    title: Annotated[Text, Field(min_length=1, max_length=500)]
    description: Annotated[Text, Field(max_length=20_000)] | None = None
    input: dict[str, Any] | None = None
    priority: Literal["urgent", "high", "medium", "low"] = "medium"
    assigned_to: IdOrName | None = None
    due_date: Time | None = None
    run_at: Time | None = None
    deadline: Time | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^~]"), PLAIN] | None = (
        None
    )


class _Parsed(NamedTuple):
    """A task of a request.  `place` is its path in the request, for error messages."""

    place: str
    task: NewTask


class Placed(NamedTuple):
    """A task of a request whose organization is known."""

    place: str
    organization: int
    task: NewTask


class CheckedTask(NamedTuple):
    """A task that may be inserted.  `row` has the JSON keys that the statement `SUBMIT` reads.

    `place` is its path in the request, for error messages."""

    place: str
    organization: int
    key: str
    run_at_ms: int
    row: Mapping[str, Any]

    @property
    def keyed(self) -> dict[str, Any]:
        """The task as `SUBMIT` compares it with tasks that have its key."""
        return {
            "organization": self.organization,
            "key": self.key,
            "submitted": self.row["submitted"],
        }


class _OfOrganization(Protocol):
    @property
    def organization(self) -> int: ...


T = TypeVar("T", bound=_OfOrganization)


def by_organization(tasks: Iterable[T]) -> dict[int, list[T]]:
    """The tasks of each organization, in their order."""
    groups: dict[int, list[T]] = {}
    for task in tasks:
        groups.setdefault(task.organization, []).append(task)
    return groups


async def check(world: World, organization: int | None, items: Sequence[object]) -> list[CheckedTask]:
    """The tasks of a request, in its order.  Raises BadInput naming the task and the field of every problem."""
    if not items:
        raise BadInput("tasks", "must have at least one task")
    if len(items) > MAX_TASKS:
        raise BadInput("tasks", f"must have at most {MAX_TASKS} tasks; submit the others in another request")
    problems: list[Problem] = []
    placed = await _place(world, organization, _parse(items, organization, problems), problems)
    groups = by_organization(placed)
    if len(groups) > MAX_ORGANIZATIONS:
        raise BadInput("tasks", f"must belong to at most {MAX_ORGANIZATIONS} organizations")
    known = await _look_up(world, groups)
    token, now = world.entropy.token(), world.clock.now_ms()
    checked, work = [], Work(REQUEST_WORK)
    problems += _repeated(placed)
    for index, item in enumerate(placed):
        generated_key = f"{GENERATED_KEY_PREFIX}{token}:{index}"
        try:
            checked.append(_check(item, known[item.organization], generated_key, now, work))
        except BadInput as error:
            problems += error.within(item.place).problems
    if problems:
        raise BadInput.of(problems)
    return checked


def _parse(items: Sequence[object], organization: int | None, problems: list[Problem]) -> list[_Parsed]:
    """The tasks that can be read.  Appends the problems of the others."""
    parsed: list[_Parsed] = []
    for index, item in enumerate(items):
        place = f"tasks[{index}]" if len(items) > 1 else ""
        if organization is None and not (isinstance(item, dict) and item.get("organization") is not None):
            problems += BadInput("organization", ORGANIZATION_NEEDED).within(place).problems
            continue
        try:
            parsed.append(_Parsed(place, parse(NewTask, item, place)))
        except BadInput as error:
            problems += error.problems
    return parsed


async def _place(
    world: World, organization: int | None, parsed: Sequence[_Parsed], problems: list[Problem]
) -> list[Placed]:
    """The tasks whose organization exists and is the caller's.  Appends the problems of the others."""
    named = sorted({str(item.task.organization) for item in parsed if item.task.organization is not None})
    ids: dict[object, object] = {}
    shared: dict[object, list[object]] = {}
    if named:
        found = await world.rows(commands.ORGANIZATIONS_NAMED(names=json.dumps(named)))
        ids, shared = _ids(found, "name")
    placed = []
    for item in parsed:
        wanted = item.task.organization
        owner = organization if wanted is None else ids.get(wanted)
        if isinstance(owner, int) and organization in (None, owner):
            placed.append(Placed(item.place, owner, item.task))
            continue
        missing = _ambiguous("organizations", wanted, shared) or f"no organization {wanted}"
        mine = f"must be {organization} or absent, because the key is for organization {organization}"
        why = missing if organization is None else mine
        problems += BadInput("organization", why).within(item.place).problems
    return placed


def _ids(rows: Sequence[Row], name: str) -> tuple[dict[object, object], dict[object, list[object]]]:
    """The ids of rows by id and by a name that one of them alone has; and the ids of those that share a name."""
    sharing: dict[object, list[object]] = {}
    for row in rows:
        sharing.setdefault(row[name], []).append(row["id"])
    ids = {each: found[0] for each, found in sharing.items() if len(found) == 1}
    return ids | {row["id"]: row["id"] for row in rows}, sharing


def _ambiguous(what: str, wanted: object, sharing: Mapping[object, list[object]]) -> str | None:
    """Why a name that several rows have names none of them: they were made before names were unique."""
    found = sharing.get(wanted, [])
    several = " and ".join(map(str, found))
    return f"{what} {several} share the name {wanted}: use an id" if len(found) > 1 else None


class _Known:
    """The templates and users that the tasks of one organization name, by id and by name."""

    def __init__(self, templates: Sequence[Row], users: Sequence[Row]) -> None:
        self.templates: dict[object, Row] = {row["name"]: row for row in templates}
        self.templates |= {row["id"]: row for row in templates}
        self.users, self.shared = _ids(users, "email")


class _Lookup(NamedTuple):
    """The statements of one organization in the batch of `_look_up`."""

    templates: Handle
    users: Handle


async def _look_up(world: World, groups: Mapping[int, Sequence[Placed]]) -> dict[int, _Known]:
    """Read the templates and users that tasks name, for each organization, in one batch."""
    batch = world.batch()
    lookups: dict[int, _Lookup] = {}
    for organization, items in groups.items():
        templates = sorted({str(item.task.template) for item in items})
        users = sorted({str(item.task.assigned_to) for item in items if item.task.assigned_to is not None})
        lookups[organization] = _Lookup(
            batch.add(commands.TEMPLATES_NAMED(organization=organization, names=json.dumps(templates))),
            batch.add(commands.USERS_NAMED(organization=organization, names=json.dumps(users)))
            if users
            else NOTHING,
        )
    results = await batch.commit()
    return {
        organization: _Known(results.rows(lookup.templates), results.rows(lookup.users))
        for organization, lookup in lookups.items()
    }


def _check(item: Placed, known: _Known, generated_key: str, now: int, work: Work) -> CheckedTask:
    """Raises BadInput naming a field of the task."""
    task = item.task
    template = known.templates.get(task.template)
    if template is None:
        raise BadInput("template", f"this organization has no template {task.template!r}")
    if template["route"] is None:
        why = f"template {task.template!r} has no route yet: write the template with a route and an output_schema"
        raise BadInput("template", why)
    if task.assigned_to is not None and task.assigned_to not in known.users:
        missing = f"this organization has no user {task.assigned_to}"
        raise BadInput("assigned_to", _ambiguous("users", task.assigned_to, known.shared) or missing)
    due = parse_time(task.due_date, "due_date") if task.due_date is not None else None
    given_run_at = parse_time(task.run_at, "run_at") if task.run_at is not None else None
    deadline = parse_time(task.deadline, "deadline") if task.deadline is not None else None
    ends = [
        end for end in (deadline, policy.deadline(now, known_integer(template, "task_s"))) if end is not None
    ]
    run_at = max(now, given_run_at or now)
    key = task.idempotency_key or generated_key
    row: dict[str, Any] = {
        "template": template["id"],
        "title": task.title,
        "description": task.description,
        "priority": task.priority,
        "assigned_to": known.users[task.assigned_to] if task.assigned_to is not None else None,
        "due_date": iso(due) if due is not None else None,
        "run_at": run_at,
        "raise_at": policy.raise_at(now, due),
        "deadline": min(ends, default=None),
        "input": _input(task, template, work),
        "key": key,
        "retry_of": None,
    }
    row["submitted"] = None if task.idempotency_key is None else _submitted(row, given_run_at, deadline)
    return CheckedTask(item.place, item.organization, key, run_at, row)


def _submitted(row: Mapping[str, Any], run_at: int | None, deadline: int | None) -> str:
    """A short hash of each field that was submitted.  The order of the names in an input does not matter."""
    given = {"run_at": run_at, "deadline": deadline}
    values = {**row, **given, "input": row["input"] and json.loads(row["input"])}
    texts = {name: json.dumps(values[name], sort_keys=True) for name in COMPARED if values[name] is not None}
    return dump_flat({name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in texts.items()})


def _repeated(placed: Sequence[Placed]) -> list[Problem]:
    """The tasks of a request that have the key of an earlier one."""
    first: dict[tuple[int, str], str] = {}
    problems: list[Problem] = []
    for item in placed:
        key = item.task.idempotency_key
        if key is None:
            continue
        before = first.setdefault((item.organization, key), item.place)
        if before != item.place:
            why = f"{before} has the same key: give each task of a request a key of its own"
            problems += BadInput("idempotency_key", why).within(item.place).problems
    return problems


def _input(task: NewTask, template: Row, work: Work) -> str | None:
    """The input as JSON; None if the caller gave none.  Raises BadInput when it does not fit the template's schema."""
    value = task.input
    if value is None:
        value = {"title": task.title, "description": task.description or ""}
    schema = optional_text(template, "input_schema")
    problem = SchemaCheck(schema).mismatch(value, work) if schema else None
    if problem is not None:
        raise BadInput.of([problem]).within("input")
    if task.input is None:
        return None
    stored = dump_json(task.input)
    if len(stored.encode()) > MAX_INPUT_BYTES:
        raise BadInput(
            "input",
            f"must be at most {MAX_INPUT_BYTES} bytes of JSON; store larger data elsewhere and put its address here",
        )
    return stored
