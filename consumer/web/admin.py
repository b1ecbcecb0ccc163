"""The API of administration: organizations, users, templates, budgets, the stop, the tick, the doctor, health.

Keys are made where the database is, with `bizq key create` or by SQL: a key that leaks must not make another one.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.service import queries, views
from consumer.web.operation import ORGANIZATION, Operation, reply
from consumer.web.problems import Unhealthy
from consumer.web.request import query_flag

if TYPE_CHECKING:
    from starlette.responses import Response

    from consumer.web.request import RequestContext

# --- organizations and users ----------------------------------------------------------------------------------------


async def organizations(context: RequestContext) -> Response:
    """The organizations that the key may see; with a name, only those of that name."""
    found = await queries.organizations(context.world, context.organization, context.query.get("name"))
    return reply(views.Organizations(organizations=found))


async def post_organization(context: RequestContext) -> Response:
    """Add an organization."""
    from consumer.service import admin, organizations

    value = parse(admin.NewOrganization, await context.json())
    made = await organizations.create_organization(context.world, value.name)
    return reply(views.Organization(id=made, name=value.name), 201)


async def post_user(context: RequestContext) -> Response:
    """Add a person, to whom tasks can be assigned."""
    from consumer.service import admin, organizations

    owner, value = await context.owner(), parse(admin.NewUser, await context.json())
    made = await organizations.create_user(context.world, owner, value.email, value.name, value.role)
    return reply(views.User(id=made, organization=owner, email=value.email), 201)


# --- templates and budgets ------------------------------------------------------------------------------------------


async def templates(context: RequestContext) -> Response:
    """The templates that the key may see; with a name, only those of that name."""
    found = await queries.templates(context.world, context.organization, context.query.get("name"))
    return reply(views.Templates(templates=found))


async def template(context: RequestContext) -> Response:
    """A template as `PUT` accepts it.  The tag is its version."""
    return await _template(context, context.number)


async def _template(context: RequestContext, number: int, status: int = 200) -> Response:
    found, version = await queries.template(context.world, context.organization, number)
    return reply(found, status, {"ETag": f'W/"{version}"', "Location": f"/v1/templates/{number}"})


async def post_template(context: RequestContext) -> Response:
    """Add a template."""
    from consumer.service import admin

    owner = await context.owner()
    value = _own(await context.json(), owner, None)
    return await _template(context, await admin.put_template(context.world, owner, value), 201)


async def put_template(context: RequestContext) -> Response:
    """Replace a template as a whole."""
    from consumer.service import admin

    owner = await context.owner()
    value = _own(await context.json(), owner, context.number)
    return await _template(context, await admin.put_template(context.world, owner, value))


def _own(value: object, owner: int, number: int | None) -> object:
    """The template with the id of its address.  Raises BadInput if it names another id, or another organization."""
    if not isinstance(value, dict):
        raise BadInput("", "a template is an object")
    if not _agrees(value, "id", number):
        raise BadInput(
            "id",
            "leave it out: a new template gets its own id"
            if number is None
            else f"must be {number}, the id in the address, or absent",
        )
    if not _agrees(value, "organization_id", owner):
        raise BadInput(
            "organization_id", f"must be {owner} or absent: a template cannot change its organization"
        )
    return {**value, "id": number, "organization_id": owner}


def _agrees(value: dict[str, Any], name: str, wanted: int | None) -> bool:
    """Whether a field is absent, null, or exactly the wanted number."""
    given = value.get(name)
    return given is None or (not isinstance(given, bool) and bool(given == wanted))


async def budgets(context: RequestContext) -> Response:
    """All budgets, each with its current period."""
    found = await queries.budgets(context.world, context.organization, operator=context.operates)
    return reply(views.Budgets(budgets=found))


async def budget(context: RequestContext) -> Response:
    """One budget with its current period."""
    (found,) = await queries.budgets(
        context.world, context.organization, context.number, operator=context.operates
    )
    return reply(found)


async def post_budget(context: RequestContext) -> Response:
    """Set the cap of a scope and period: there is one for each."""
    return await _put_budget(context, None)


async def put_budget(context: RequestContext) -> Response:
    """Change the cap of a budget."""
    return await _put_budget(context, context.number)


async def _put_budget(context: RequestContext, number: int | None) -> Response:
    from consumer.service import admin

    owner = await context.owner()
    value, operates = await context.json(), context.operates
    written = await admin.put_budget(context.world, owner, value, context.actor, number, operator=operates)
    (found,) = await queries.budgets(context.world, owner, written, operator=operates)
    return reply(found, headers={"Location": f"/v1/budgets/{written}"})


# --- the stop -------------------------------------------------------------------------------------------------------


async def stopped(context: RequestContext) -> Response:
    """Whether all spending is stopped."""
    from consumer.service import stops

    found = await stops.stopped(context.world)
    return reply(views.Stopped(stop=None if found is None else views.shown(views.Stop, found)))


async def stop(context: RequestContext) -> Response:
    """Stop all spending."""
    from consumer.service import admin, stops

    value = parse(admin.NewStop, await context.json())
    found = await stops.stop(context.world, value.reason, context.actor)
    return reply(views.Stopped(stop=views.shown(views.Stop, found)))


async def resume(context: RequestContext) -> Response:
    """End the stop."""
    from consumer.service import stops

    return reply(views.Resumed(resumed=await stops.resume(context.world, context.actor)))


# --- the deployment -------------------------------------------------------------------------------------------------


async def tick(context: RequestContext) -> Response:
    """Sweep, as cron does."""
    return reply(asdict(await context.app.on_tick()))


async def restore(context: RequestContext) -> Response:
    """Finish a restore of the database."""
    from consumer.service import restore as service

    wanted = parse(service.NewRestore, await context.json())
    return reply(await service.finish(context.world, context.actor, context.key, wanted))


async def examine(context: RequestContext) -> Response:
    """The findings of the doctor."""
    from consumer.service import doctor, probes

    findings = await doctor.examine(context.world)
    if query_flag(context.query, "probe"):
        findings += await probes.probe(context.world)
    return reply({"findings": [asdict(finding) for finding in findings]})


async def health(context: RequestContext) -> Response:
    """Whether the schema of the database is complete."""
    found = await queries.health(context.world)
    if found:
        raise Unhealthy(found)
    return reply(views.Health(status="ok"))


_NAMED: Final = ("name", "organization")

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        method="GET",
        path="/v1/organizations",
        handler=organizations,
        summary="List the organizations that the key may see, at most 1,000",
        role="reader",
        query=_NAMED,
        answers={200: "Organizations"},
    ),
    Operation(
        method="POST",
        path="/v1/organizations",
        handler=post_organization,
        summary="Add an organization.  Its keys are made elsewhere: a key cannot make another",
        role="operator",
        body="NewOrganization",
        answers={201: "Organization"},
    ),
    Operation(
        method="POST",
        path="/v1/users",
        handler=post_user,
        summary="Add a person, to whom tasks can be assigned",
        role="admin",
        query=ORGANIZATION,
        body="NewUser",
        answers={201: "User"},
    ),
    Operation(
        method="GET",
        path="/v1/templates",
        handler=templates,
        summary="List templates, at most 1,000",
        role="reader",
        query=_NAMED,
        answers={200: "Templates"},
    ),
    Operation(
        method="POST",
        path="/v1/templates",
        handler=post_template,
        summary="Add a template",
        role="admin",
        query=ORGANIZATION,
        body="Template",
        answers={201: "StoredTemplate"},
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/v1/templates/{id}",
        handler=template,
        summary="Show a template as PUT accepts it.  Its version is the ETag",
        role="reader",
        query=ORGANIZATION,
        answers={200: "StoredTemplate"},
        tagged=True,
    ),
    Operation(
        method="PUT",
        path="/v1/templates/{id}",
        handler=put_template,
        summary="Replace a template as a whole.  Tasks that waited for its route may run",
        role="admin",
        query=ORGANIZATION,
        body="Template",
        answers={200: "StoredTemplate"},
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/v1/budgets",
        handler=budgets,
        summary="List budgets: those of the tenant; with an operator's key those of the operator too",
        role="reader",
        query=ORGANIZATION,
        answers={200: "Budgets"},
    ),
    Operation(
        method="POST",
        path="/v1/budgets",
        handler=post_budget,
        summary="Set the cap of a scope and period.  It replaces an older cap of the same tier",
        role="admin",
        query=ORGANIZATION,
        body="Budget",
        answers={200: "StoredBudget"},
    ),
    Operation(
        method="GET",
        path="/v1/budgets/{id}",
        handler=budget,
        summary="Show a budget",
        role="reader",
        query=ORGANIZATION,
        answers={200: "StoredBudget"},
    ),
    Operation(
        method="PUT",
        path="/v1/budgets/{id}",
        handler=put_budget,
        summary="Change the cap of a budget.  Its scope and period stay",
        role="admin",
        query=ORGANIZATION,
        body="Budget",
        answers={200: "StoredBudget"},
    ),
    Operation(
        method="GET",
        path="/v1/stop",
        handler=stopped,
        summary="Show whether all spending is stopped",
        role="operator",
        answers={200: "Stopped"},
    ),
    Operation(
        method="PUT",
        path="/v1/stop",
        handler=stop,
        summary="Stop all spending immediately: no worker begins anything.  A stop in force stays as it is",
        role="operator",
        body="NewStop",
        answers={200: "Stopped"},
    ),
    Operation(
        method="DELETE",
        path="/v1/stop",
        handler=resume,
        summary="End a stop",
        role="operator",
        answers={200: "Resumed"},
    ),
    Operation(
        method="POST",
        path="/tick",
        handler=tick,
        summary="Sweep now, as cron does every minute",
        role="operator",
        answers={200: "Swept"},
    ),
    Operation(
        method="POST",
        path="/v1/restore",
        handler=restore,
        summary="Finish a restore of the database: stop spending, raise ids and versions, revoke keys.  docs/deploy.md"
        " has the steps before and after",
        role="operator",
        body="NewRestore",
        answers={200: "Restored"},
    ),
    Operation(
        method="GET",
        path="/v1/doctor",
        handler=examine,
        summary="Check everything that the worker depends on; with `probe`, send each provider one cheap request too",
        role="operator",
        query=("probe",),
        answers={200: "Findings"},
    ),
    Operation(
        method="GET",
        path="/healthz",
        handler=health,
        summary="Check whether the database can be worked with",
        answers={200: "Health"},
    ),
)
