"""What an administrator may change, checked at the edge: templates, budgets, organizations, people, keys."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from consumer.core.errors import BadInput, NotFound, Problem
from consumer.core.model import Id, Model, dollars, parse
from consumer.core.money import show, to_micro
from consumer.core.strictjson import clean, dump_json
from consumer.core.template import Route, Template
from consumer.core.times import iso
from consumer.execution import doorbells
from consumer.store import admin, stops, sweep
from consumer.store.batch import commit
from consumer.store.sql import integer, one, optional_integer
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from consumer.ports import Value
    from consumer.world import World


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
    batch = [
        admin.UPDATE_TEMPLATE(**fields, id=template.id),
        admin.UNBLOCK_TEMPLATE(id=template.id, now=now),
        admin.TEMPLATE_NEEDS(id=template.id),
    ]
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
    cap: Annotated[Decimal, Field(ge=0, le=1_000_000_000, allow_inf_nan=False), dollars(9)]
    refused: Literal["wait", "fail"] = "wait"


async def put_budget(
    world: World, organization: int, value: object, actor: str, budget: int | None = None
) -> int:
    """Set a cap, all at once: what it blocked and has room for may try again.  Raises BadInput, NotFound."""
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
    written, _, _, *unblocked = await commit(
        world.database,
        world.entropy,
        [
            admin.PUT_BUDGET(**place, organization=organization, cap=cap, refused=new.refused),
            admin.ALERT_AGAIN(**place, now=now),
            admin.BUDGET_AUDIT(**place, **audit, now=now),
            *([] if before is None else [sweep.UNBLOCK(now=now, budget=before)]),
        ],
    )
    if any(result.rows for result in unblocked):
        await doorbells.ring(world)
    return integer(written.rows[0], "id")


Line = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": r"^[^\u0000]*[^\u0000\s][^\u0000]*$"}),
]
"""Words; blank ones are none."""

# --- the stop -----------------------------------------------------------------------------------------------


class NewStop(Model):
    """Why all spending shall stop."""

    reason: Line


async def stop(world: World, reason: str, actor: str) -> dict[str, Any]:
    """Stop all spending at once: nothing is claimed and no execution begins, on any worker.  What is in flight ends,
    and is settled.  The stop that holds: this one, or one before it.  Raises BadInput."""
    values: dict[str, Value] = {"now": world.clock.now_ms(), "actor": actor}
    batch = [
        stops.STOP(**values, reason=_name(reason, "reason")),
        stops.STOP_AUDIT(**values),
        stops.STOPPED(),
    ]
    made, _, found = await world.database.batch(batch)
    if made.rows:
        log().warning(Event.SPENDING_STOPPED)
    return dict(found.rows[0])


async def resume(world: World, actor: str) -> bool:
    """Go on after a stop.  False when there was none."""
    batch = [stops.RESUME_AUDIT(now=world.clock.now_ms(), actor=actor), stops.RESUME()]
    _, resumed = await world.database.batch(batch)
    if resumed.rows:
        log().warning(Event.SPENDING_RESUMED)
        await doorbells.ring(world)
    return bool(resumed.rows)


async def stopped(world: World) -> dict[str, Any] | None:
    """Since when, by whom and why all spending is stopped; None while it is not."""
    row = one(await world.rows(stops.STOPPED()))
    return None if row is None else dict(row)


# --- organizations, people, keys ----------------------------------------------------------------------------


class NewOrganization(Model):
    """As a caller hands it in."""

    name: Line


class NewUser(Model):
    """A person as a caller hands them in.  `role` is what other applications know."""

    email: Line
    name: Line
    role: Line = "member"


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
        "role": _name(role, "role"),
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
    if organization is not None and not await world.rows(admin.ORGANIZATION(organization=organization)):
        raise BadInput("organization", f"no organization {organization}")
    name, secret = world.entropy.token()[:12], world.entropy.token()
    fields: dict[str, Value] = {
        "id": name,
        "hash": hash_key(secret),
        "organization": organization,
        "role": role,
    }
    await world.write(admin.CREATE_KEY(**fields, now=world.clock.now_ms()))
    return f"bizq_{name}_{secret}"


async def revoke_key(world: World, name: str) -> None:
    """End a key at once.  Accepts its id or the whole key.  Raises NotFound."""
    wanted = name.removeprefix("bizq_").partition("_")[0]
    found = await world.rows(admin.REVOKE_KEY(id=wanted, now=world.clock.now_ms()))
    if not found:
        raise NotFound(f"no key {wanted} that is not revoked")
