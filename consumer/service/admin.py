"""What administrators change: templates and budgets.  And the values that callers hand in for other services.

Every value is checked here, before a statement is sent.  `organizations`, `keys` and `spending` have the other
services of administrators and operators; they need no pydantic, so that commands which use them start fast."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from consumer.core.budget import OPERATOR, TENANT
from consumer.core.errors import BadInput, NotFound, Problem
from consumer.core.model import Id, Model, dollars, parse
from consumer.core.money import show, to_micro
from consumer.core.policy import WOKEN_FOR
from consumer.core.strictjson import dump_json
from consumer.core.template import Route, Template
from consumer.core.times import iso
from consumer.execution import doorbells
from consumer.service.organizations import inserted_id
from consumer.store import admin, room
from consumer.store.batch import NOTHING
from consumer.store.sql import one, optional_integer, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumer.core.template import Candidate, Stage
    from consumer.ports import Value
    from consumer.world import World


WAKE_MOST: Final = 1_000
"""Tasks that a change of a cap wakes at most.  The sweep wakes the rest."""


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
    provider = world.adapters[account.name]
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
        return inserted_id(await batch.commit_once(), inserted)
    updated = batch.add(admin.UPDATE_TEMPLATE(**fields, id=template.id))
    unblocked = batch.add(admin.UNBLOCK_TEMPLATE(id=template.id, now=now))
    batch.add(admin.FORGET_NEEDS(id=template.id))
    results = await batch.commit()
    if not results.rows(updated):
        raise NotFound(f"no template {template.id}")
    if results.rows(unblocked):
        await doorbells.ring(world)
    return template.id


class Budget(Model):
    """A cap in dollars.  `refused`: a task for which the budget has no room waits for room, or fails."""

    scope: Literal["organization", "template", "task"]
    scope_id: Id
    period: Literal["day", "month", "total"]
    cap: Annotated[Decimal, Field(ge=0, le=1_000_000_000, allow_inf_nan=False), dollars(9)]
    refused: Literal["wait", "fail"] = "wait"


async def put_budget(
    world: World,
    organization: int,
    value: object,
    actor: str,
    budget: int | None = None,
    *,
    operator: bool = False,
) -> int:
    """Set a cap, and return the id of the budget.  Tasks that this budget blocked become due if it has room for them.

    `budget`: the id of the budget that the caller means to change.  `operator`: the caller is the operator, who sets a
    limit of their own, or changes any budget by its id.  Everybody else works for the tenant, and for such a caller a
    budget of the operator does not exist.  Raises BadInput, NotFound."""
    new = parse(Budget, value)
    now, cap = world.clock.now_ms(), to_micro(new.cap)
    tier = await _tier(world, budget) if operator else TENANT
    place: dict[str, Value] = {
        "scope": new.scope,
        "scope_id": new.scope_id,
        "period": new.period,
        "tier": tier,
    }
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
    woken = room.WAKE_BUDGET(**place, now=now, since=now - WOKEN_FOR, most=WAKE_MOST)
    unblocked = NOTHING if before is None else batch.add(woken)
    results = await batch.commit()
    if results.rows(unblocked):
        await doorbells.ring(world)
    return inserted_id(results, written)


async def _tier(world: World, budget: int | None) -> str:
    """The tier of the budget that the operator means to change; the operator's own for a new one."""
    found = None if budget is None else one(await world.rows(admin.TIER(id=budget)))
    return OPERATOR if found is None else text(found, "tier")


Line = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": r"^[^\u0000]*[^\u0000\s][^\u0000]*$"}),
]
"""A text of 1 to 200 characters that is not blank."""


class NewStop(Model):
    """Why all spending should stop."""

    reason: Line


class NewOrganization(Model):
    """An organization as a caller hands it in."""

    name: Line


class NewUser(Model):
    """A user as a caller hands it in.  `role` is for other applications; the worker does not read it."""

    email: Line
    name: Line
    role: Line = "member"
