"""The API of what tasks stand on: organizations, people, templates, budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.service import admin, queries
from consumer.web.api import Operation, reply

if TYPE_CHECKING:
    from starlette.responses import Response

    from consumer.web.ask import Ask

# --- organizations and people ---------------------------------------------------------------------------------------


async def organizations(ask: Ask) -> Response:
    """All that the key may see, or those of a name."""
    found = await queries.organizations(ask.world, ask.organization, ask.query.get("name"))
    return reply({"organizations": found})


async def post_organization(ask: Ask) -> Response:
    """A new one."""
    value = parse(admin.NewOrganization, await ask.json())
    made = await admin.create_organization(ask.world, value.name)
    return reply({"id": made, "name": value.name}, 201)


async def post_user(ask: Ask) -> Response:
    """A person, to whom tasks can be assigned."""
    owner, value = await ask.owner(), parse(admin.NewUser, await ask.json())
    made = await admin.create_user(ask.world, owner, value.email, value.name, value.role)
    return reply({"id": made, "organization": owner, "email": value.email}, 201)


# --- templates and budgets ------------------------------------------------------------------------------------------


async def templates(ask: Ask) -> Response:
    """All, or those of a name."""
    return reply({"templates": await queries.templates(ask.world, ask.organization, ask.query.get("name"))})


async def template(ask: Ask) -> Response:
    """As `PUT` accepts it; its version is the tag."""
    return await _template(ask, ask.number)


async def _template(ask: Ask, number: int, status: int = 200) -> Response:
    found = await queries.template(ask.world, ask.organization, number)
    version = found.pop("version")
    return reply(found, status, {"ETag": f'W/"{version}"', "Location": f"/v1/templates/{number}"})


async def post_template(ask: Ask) -> Response:
    """A new one."""
    owner = await ask.owner()
    value = _own(await ask.json(), owner, None)
    return await _template(ask, await admin.put_template(ask.world, owner, value), 201)


async def put_template(ask: Ask) -> Response:
    """Replace one as a whole."""
    owner = await ask.owner()
    value = _own(await ask.json(), owner, ask.number)
    return await _template(ask, await admin.put_template(ask.world, owner, value))


def _own(value: object, owner: int, number: int | None) -> object:
    """A template with the id of its address.  Raises BadInput when it names another one, or another organization."""
    if not isinstance(value, dict):
        raise BadInput("", "a template is an object")
    if not _says(value, "id", number):
        raise BadInput(
            "id", "a new template gets its own" if number is None else f"the address says {number}"
        )
    if not _says(value, "organization_id", owner):
        raise BadInput("organization_id", f"{owner}, or nothing: a template stays where it is written")
    return {**value, "id": number, "organization_id": owner}


def _says(value: dict[str, Any], name: str, wanted: int | None) -> bool:
    """Whether a field says the one thing that it may say, or nothing."""
    said = value.get(name)
    return said is None or (not isinstance(said, bool) and bool(said == wanted))


async def budgets(ask: Ask) -> Response:
    """All, with their current period."""
    return reply({"budgets": await queries.budgets(ask.world, ask.organization)})


async def budget(ask: Ask) -> Response:
    """One, with its current period."""
    (found,) = await queries.budgets(ask.world, ask.organization, ask.number)
    return reply(found)


async def post_budget(ask: Ask) -> Response:
    """Set the cap of a scope and period: there is one for each."""
    return await _put_budget(ask, None)


async def put_budget(ask: Ask) -> Response:
    """Change the cap of a budget."""
    return await _put_budget(ask, ask.number)


async def _put_budget(ask: Ask, number: int | None) -> Response:
    owner = await ask.owner()
    written = await admin.put_budget(ask.world, owner, await ask.json(), ask.actor, number)
    (found,) = await queries.budgets(ask.world, owner, written)
    return reply(found, headers={"Location": f"/v1/budgets/{written}"})


# --- the stop -------------------------------------------------------------------------------------------------------


async def stopped(ask: Ask) -> Response:
    """Whether all spending is stopped."""
    return reply({"stop": await admin.stopped(ask.world)})


async def stop(ask: Ask) -> Response:
    """Stop all spending."""
    value = parse(admin.NewStop, await ask.json())
    return reply({"stop": await admin.stop(ask.world, value.reason, ask.actor)})


async def resume(ask: Ask) -> Response:
    """Go on."""
    return reply({"resumed": await admin.resume(ask.world, ask.actor)})


_ONE: Final = ("organization",)
_NAMED: Final = ("name", "organization")

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        "GET",
        "/v1/organizations",
        organizations,
        "List the organizations that the key may see, at most 1,000",
        "reader",
        _NAMED,
        answers={200: "Organizations"},
    ),
    Operation(
        "POST",
        "/v1/organizations",
        post_organization,
        "Add an organization.  Keys for it are made elsewhere: a key cannot make another",
        "operator",
        body="NewOrganization",
        answers={201: "Organization"},
    ),
    Operation(
        "POST",
        "/v1/users",
        post_user,
        "Add a person, to whom tasks can be assigned",
        "admin",
        _ONE,
        "NewUser",
        {201: "User"},
    ),
    Operation(
        "GET",
        "/v1/templates",
        templates,
        "List templates, at most 1,000",
        "reader",
        _NAMED,
        answers={200: "Templates"},
    ),
    Operation(
        "POST",
        "/v1/templates",
        post_template,
        "Write a new template",
        "admin",
        _ONE,
        "Template",
        {201: "StoredTemplate"},
    ),
    Operation(
        "GET",
        "/v1/templates/{id}",
        template,
        "Show a template as PUT accepts it.  Its version is the ETag",
        "reader",
        _ONE,
        answers={200: "StoredTemplate"},
    ),
    Operation(
        "PUT",
        "/v1/templates/{id}",
        put_template,
        "Replace a template as a whole.  Tasks that waited for its route may run",
        "admin",
        _ONE,
        "Template",
        {200: "StoredTemplate"},
    ),
    Operation("GET", "/v1/budgets", budgets, "List budgets", "reader", _ONE, answers={200: "Budgets"}),
    Operation(
        "POST",
        "/v1/budgets",
        post_budget,
        "Set the cap of a scope and period.  There is one for each: an older cap is replaced",
        "admin",
        _ONE,
        "Budget",
        {200: "StoredBudget"},
    ),
    Operation(
        "GET", "/v1/budgets/{id}", budget, "Show a budget", "reader", _ONE, answers={200: "StoredBudget"}
    ),
    Operation(
        "PUT",
        "/v1/budgets/{id}",
        put_budget,
        "Change the cap of a budget.  Its scope and period stay",
        "admin",
        _ONE,
        "Budget",
        {200: "StoredBudget"},
    ),
    Operation(
        "GET",
        "/v1/stop",
        stopped,
        "Say whether all spending is stopped",
        "operator",
        answers={200: "Stopped"},
    ),
    Operation(
        "PUT",
        "/v1/stop",
        stop,
        "Stop all spending at once: no worker begins anything.  A stop that holds already stays",
        "operator",
        body="NewStop",
        answers={200: "Stopped"},
    ),
    Operation("DELETE", "/v1/stop", resume, "Go on after a stop", "operator", answers={200: "Resumed"}),
)
