"""What callers may ask for, checked at the edge: submit, cancel, retry, adopt; templates, budgets, keys.

`organization` is the caller's; None is an operator, who sees all.  Every refusal names the field, and nothing is
half done.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from consumer import doorbells, publish
from consumer.core import policy
from consumer.core.errors import BadInput, Conflict, NotFound, Problem
from consumer.core.lifecycle import TASK_FINAL, TaskState
from consumer.core.money import show, to_micro
from consumer.core.schema import clean, dump_json, mismatch, parse_json
from consumer.core.template import Limits, Model, Route, Template, parse
from consumer.core.times import iso, parse_time
from consumer.ports import MAX_INTEGER
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


Id = Annotated[int, Field(ge=1, le=MAX_INTEGER, strict=True)]
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
    by_name: dict[object, Row] = {row["name"]: row for row in reversed(templates.rows)}
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
        store.TASK(**scope),
    ]
    results = await commit(world.database, world.entropy, batch)
    row = one(results[-1].rows)
    if row is None:
        raise NotFound(f"no task {task}")
    if row["status"] != TaskState.CANCELLED:
        raise Conflict(f"task {task} has ended already: it is {row['status']}")
    await publish.later(world, [task])
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


# --- templates and budgets ----------------------------------------------------------------------------------


def check_route(world: World, route: Route, organization: int) -> None:
    """Raises BadInput naming each candidate that this deployment cannot do for this organization."""
    problems: list[Problem] = []
    for number, stage in enumerate(route.stages):
        for index, candidate in enumerate(stage.candidates):
            where = f"route.stages[{number}].candidates[{index}]"
            account = world.accounts.get(candidate.profile)
            if account is None:
                known = ", ".join(sorted(world.accounts)) or "none"
                problems.append(
                    Problem(f"{where}.profile", f"no profile {candidate.profile!r} here; there are: {known}")
                )
                continue
            allowed = account.profile.organizations
            if allowed is not None and organization not in allowed:
                problems.append(
                    Problem(f"{where}.profile", f"{candidate.profile!r} is not for this organization")
                )
                continue
            provider = world.providers[account.profile.provider]
            if provider.kind != stage.provider_kind:
                problems.append(
                    Problem(f"{where}.profile", f"a stage of kind {stage.kind} needs a {stage.provider_kind}")
                )
            try:
                parse(provider.settings, candidate.settings, f"{where}.settings")
            except BadInput as error:
                problems += error.problems
    if problems:
        raise BadInput.of(problems)


async def put_template(world: World, organization: int, value: object) -> int:
    """Write a template, checked as a whole; tasks that waited for its route may run.  Raises BadInput, NotFound."""
    template = parse(Template, value)
    check_route(world, template.route, organization)
    now = world.clock.now_ms()
    fields: dict[str, Value] = {
        "organization": organization,
        "name": template.name,
        "description": template.description,
        "category": template.category,
        "duration": template.estimated_duration,
        "prompt": template.prompt,
        "input_schema": dump_json(template.input_schema) if template.input_schema is not None else None,
        "output_schema": dump_json(template.output_schema),
        "route": template.route.model_dump_json(exclude_defaults=True),
        "limits": template.limits.model_dump_json(exclude_defaults=True),
    }
    if template.id is None:
        written = await world.database.batch([admin.INSERT_TEMPLATE(**fields, at=iso(now))])
        return integer(written[0].rows[0], "id")
    batch = [admin.UPDATE_TEMPLATE(**fields, id=template.id), admin.UNBLOCK_TEMPLATE(id=template.id, now=now)]
    written = await commit(world.database, world.entropy, batch)
    if not written[0].rows:
        raise NotFound(f"no template {template.id}")
    if written[1].rows:
        await doorbells.ring(world)
    return template.id


class Budget(Model):
    """A cap in dollars.  `refused`: what happens to work that finds no room."""

    scope: Literal["organization", "template", "task"]
    scope_id: Id
    period: Literal["day", "month", "total"]
    cap: Annotated[Decimal, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
    refused: Literal["wait", "fail"] = "wait"


async def put_budget(
    world: World, organization: int, value: object, actor: str, budget: int | None = None
) -> int:
    """Set a cap; what it blocked may try again.  Raises BadInput, NotFound."""
    new = parse(Budget, value)
    now, cap = world.clock.now_ms(), to_micro(new.cap)
    scope: dict[str, Value] = {"organization": organization, "scope": new.scope, "scope_id": new.scope_id}
    if not await rows(world.database, world.entropy, admin.SCOPE_EXISTS(**scope)):
        raise BadInput("scope_id", f"this organization has no such {new.scope}")
    values: dict[str, Value] = {**scope, "period": new.period, "cap": cap, "refused": new.refused}
    written = admin.PUT_BUDGET(**values) if budget is None else admin.UPDATE_BUDGET(**values, id=budget)
    found = await rows(world.database, world.entropy, written)
    if not found:
        raise NotFound(f"no budget {budget} with this scope and period")
    number = integer(found[0], "id")
    detail = f"budget {number}: {new.scope} {new.scope_id}, {show(cap)} a {new.period}, else {new.refused}"
    results = await commit(
        world.database,
        world.entropy,
        [
            admin.UNBLOCK_BUDGET(budget=number, now=now),
            admin.BUDGET_AUDIT(now=now, organization=organization, actor=actor, detail=detail),
        ],
    )
    if results[0].rows:
        await doorbells.ring(world)
    return number


# --- organizations, people, keys ----------------------------------------------------------------------------


async def create_organization(world: World, name: str) -> int:
    """Raises BadInput."""
    name = _name(name, "name")
    written = await world.database.batch([admin.CREATE_ORGANIZATION(name=name, at=iso(world.clock.now_ms()))])
    return integer(written[0].rows[0], "id")


async def create_user(world: World, organization: int, email: str, name: str, role: str = "member") -> int:
    """A person of an organization.  Raises BadInput."""
    fields: dict[str, Value] = {
        "organization": organization,
        "email": _name(email, "email"),
        "name": _name(name, "name"),
        "role": role,
    }
    written = await world.database.batch([admin.CREATE_USER(**fields, at=iso(world.clock.now_ms()))])
    return integer(written[0].rows[0], "id")


def _name(value: str, field: str) -> str:
    if not value.strip() or len(value) > 200 or clean(value) != value:
        raise BadInput(field, "1 to 200 characters")
    return value


ROLES: Final = ("reader", "member", "admin", "operator")
"""Each may do what those before it may.  An operator belongs to no organization and sees all."""


def hash_key(secret: str) -> str:
    """What the database knows of a key.  The secret is 128 random bits, so that a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def create_key(world: World, organization: int | None, role: str) -> str:
    """A new API key, shown only this once.  Raises BadInput."""
    if role not in ROLES:
        raise BadInput("role", f"one of {', '.join(ROLES)}")
    if (role == "operator") != (organization is None):
        raise BadInput("organization", "an operator's key has none, every other key has one")
    if organization is not None and not await rows(
        world.database, world.entropy, admin.ORGANIZATION(organization=organization)
    ):
        raise BadInput("organization", f"no organization {organization}")
    name, secret = world.entropy.token()[:12], world.entropy.token()
    fields: dict[str, Value] = {
        "id": name,
        "hash": hash_key(secret),
        "organization": organization,
        "role": role,
    }
    await commit(world.database, world.entropy, [admin.CREATE_KEY(**fields, now=world.clock.now_ms())])
    return f"bizq_{name}_{secret}"


async def revoke_key(world: World, name: str) -> None:
    """End a key at once.  Accepts its id or the whole key.  Raises NotFound."""
    wanted = name.removeprefix("bizq_").partition("_")[0]
    found = await rows(world.database, world.entropy, admin.REVOKE_KEY(id=wanted, now=world.clock.now_ms()))
    if not found:
        raise NotFound(f"no key {wanted} that is not revoked")
