"""What administrators and operators change: templates, budgets, the stop of all spending, organizations, users.

Every value is checked here, before a statement is sent."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from consumer.core.errors import BadInput, NotFound, Problem
from consumer.core.model import Id, Model, dollars, parse
from consumer.core.money import show, to_micro
from consumer.core.strictjson import clean, dump_json
from consumer.core.template import Route, Template
from consumer.core.times import iso
from consumer.execution import doorbells
from consumer.store import admin, stops, sweep
from consumer.store.batch import NOTHING
from consumer.store.sql import integer, one, optional_integer
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumer.core.template import Candidate, Stage
    from consumer.ports import Value
    from consumer.store.batch import Handle, Results
    from consumer.world import World


def check_route(world: World, route: Route, organization: int) -> None:
    """Raises BadInput naming each candidate that this deployment cannot use for this organization."""
    problems = [
        problem
        for number, stage in enumerate(route.stages)
        for index, candidate in enumerate(stage.candidates)
        for problem in _candidate_problems(
            world, stage, candidate, organization, f"route.stages[{number}].candidates[{index}]"
        )
    ]
    if problems:
        raise BadInput.of(problems)


def _candidate_problems(
    world: World, stage: Stage, candidate: Candidate, organization: int, field: str
) -> Iterator[Problem]:
    name = candidate.profile
    account = world.accounts.get(name)
    if account is None:
        known = ", ".join(sorted(world.accounts)) or "none"
        yield Problem(
            f"{field}.profile", f"this deployment has no profile {name!r}; its profiles are: {known}"
        )
        return
    allowed = account.profile.organizations
    if allowed is not None and organization not in allowed:
        yield Problem(f"{field}.profile", f"profile {name!r} is not available to this organization")
        return
    provider = world.providers[account.profile.provider]
    if provider.kind != stage.provider_kind:
        wanted = f"a stage of kind {stage.kind} needs a profile of a provider of kind {stage.provider_kind}"
        yield Problem(f"{field}.profile", wanted)
    try:
        parse(provider.settings, candidate.settings, f"{field}.settings")
    except BadInput as error:
        yield from error.problems


async def put_template(world: World, organization: int, value: object) -> int:
    """Write a template, checked as a whole, and return its id.  Tasks that waited for a valid route become due.

    Raises BadInput, NotFound."""
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
    batch = world.batch()
    if template.id is None:
        inserted = batch.add(admin.INSERT_TEMPLATE(**fields, at=iso(now)))
        return _inserted_id(await batch.commit_once(), inserted)
    updated = batch.add(admin.UPDATE_TEMPLATE(**fields, id=template.id))
    unblocked = batch.add(admin.UNBLOCK_TEMPLATE(id=template.id, now=now))
    batch.add(admin.FORGET_NEEDS(id=template.id))
    results = await batch.commit()
    if not results.rows(updated):
        raise NotFound(f"no template {template.id}")
    if results.rows(unblocked):
        await doorbells.ring(world)
    return template.id


def _inserted_id(results: Results, inserted: Handle) -> int:
    (row,) = results.rows(inserted)
    return integer(row, "id")


class Budget(Model):
    """A cap in dollars.  `refused`: a task for which the budget has no room waits for room, or fails."""

    scope: Literal["organization", "template", "task"]
    scope_id: Id
    period: Literal["day", "month", "total"]
    cap: Annotated[Decimal, Field(ge=0, le=1_000_000_000, allow_inf_nan=False), dollars(9)]
    refused: Literal["wait", "fail"] = "wait"


async def put_budget(
    world: World, organization: int, value: object, actor: str, budget: int | None = None
) -> int:
    """Set a cap, and return the id of the budget.  Tasks that this budget blocked become due if it has room for them.

    `budget`: the id of the budget that the caller means to change.  Raises BadInput, NotFound."""
    new = parse(Budget, value)
    now, cap = world.clock.now_ms(), to_micro(new.cap)
    place: dict[str, Value] = {"scope": new.scope, "scope_id": new.scope_id, "period": new.period}
    found = one(await world.rows(admin.SCOPE(**place, organization=organization)))
    if found is None:
        raise BadInput("scope_id", f"this organization has no such {new.scope}")
    before = optional_integer(found, "budget")
    if budget is not None and budget != before:
        raise NotFound(f"no budget {budget} with this scope and period")
    detail = f"{new.scope} {new.scope_id}, {show(cap)} a {new.period}, else {new.refused}"
    audit: dict[str, Value] = {"organization": organization, "actor": actor, "detail": detail}
    batch = world.batch()
    written = batch.add(admin.PUT_BUDGET(**place, organization=organization, cap=cap, refused=new.refused))
    batch.add(admin.ALERT_AGAIN(**place, now=now), admin.BUDGET_AUDIT(**place, **audit, now=now))
    unblocked = NOTHING if before is None else batch.add(sweep.UNBLOCK(now=now, budget=before))
    results = await batch.commit()
    if results.rows(unblocked):
        await doorbells.ring(world)
    return _inserted_id(results, written)


Line = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": r"^[^\u0000]*[^\u0000\s][^\u0000]*$"}),
]
"""A text of 1 to 200 characters that is not blank."""

# --- the stop -----------------------------------------------------------------------------------------------


class NewStop(Model):
    """Why all spending should stop."""

    reason: Line


async def stop(world: World, reason: str, actor: str) -> dict[str, Any]:
    """Stop all spending immediately: no worker claims a task or begins an execution.  Executions in flight end, and are
    settled.  Returns the stop that is in force: this one, or an earlier one.  Raises BadInput."""
    values: dict[str, Value] = {"now": world.clock.now_ms(), "actor": actor}
    batch = world.batch()
    inserted = batch.add(stops.STOP(**values, reason=_line(reason, "reason")))
    batch.add(stops.STOP_AUDIT(**values))
    in_force = batch.add(stops.STOPPED())
    results = await batch.commit_once()
    if results.rows(inserted):
        log().warning(Event.SPENDING_STOPPED)
    (row,) = results.rows(in_force)
    return dict(row)


async def resume(world: World, actor: str) -> bool:
    """End the stop.  False when there was none."""
    batch = world.batch()
    batch.add(stops.RESUME_AUDIT(now=world.clock.now_ms(), actor=actor))
    ended = batch.add(stops.RESUME())
    results = await batch.commit_once()
    if not results.rows(ended):
        return False
    log().warning(Event.SPENDING_RESUMED)
    await doorbells.ring(world)
    return True


async def stopped(world: World) -> dict[str, Any] | None:
    """The stop of all spending (`at_ms`, `actor`, `reason`); None when spending is not stopped."""
    row = one(await world.rows(stops.STOPPED()))
    return None if row is None else dict(row)


# --- organizations and people -------------------------------------------------------------------------------


class NewOrganization(Model):
    """An organization as a caller hands it in."""

    name: Line


class NewUser(Model):
    """A user as a caller hands it in.  `role` is for other applications; the worker does not read it."""

    email: Line
    name: Line
    role: Line = "member"


async def create_organization(world: World, name: str) -> int:
    """Create an organization, and return its id.  Raises BadInput."""
    batch = world.batch()
    at = iso(world.clock.now_ms())
    inserted = batch.add(admin.CREATE_ORGANIZATION(name=_line(name, "name"), at=at))
    return _inserted_id(await batch.commit_once(), inserted)


async def create_user(world: World, organization: int, email: str, name: str, role: str = "member") -> int:
    """Create a user of an organization, and return its id.  Raises BadInput."""
    fields: dict[str, Value] = {
        "organization": organization,
        "email": _line(email, "email"),
        "name": _line(name, "name"),
        "role": _line(role, "role"),
    }
    batch = world.batch()
    inserted = batch.add(admin.CREATE_USER(**fields, at=iso(world.clock.now_ms())))
    return _inserted_id(await batch.commit_once(), inserted)


def _line(value: str, field: str) -> str:
    if not value.strip() or len(value) > 200 or clean(value) != value:
        raise BadInput(field, "must have 1 to 200 characters, and not only spaces")
    return value
