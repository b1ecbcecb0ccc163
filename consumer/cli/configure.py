"""The commands that set things up: org, user, key, template, budget."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.client import opened_at, organization_id
from consumer.cli.group import Failure
from consumer.cli.host import OpenOptions
from consumer.cli.options import anywhere, common, say
from consumer.cli.target import Target
from consumer.core.errors import NotFound
from consumer.core.money import show
from consumer.core.strictjson import parse_json
from consumer.service.keys import ROLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TextIO

    from consumer.cli.client import Client

org_option = click.option("--org", help="The organization, by id or name.  Required if there are several.")


def run_operation(
    target: Target,
    operation: Callable[[Client], Awaitable[dict[str, Any]]],
    options: OpenOptions | None = None,
) -> dict[str, Any]:
    """Run one operation of the client."""

    async def run() -> dict[str, Any]:
        async with opened_at(target, options) as client:
            return await operation(client)

    return asyncio.run(run())


@click.group()
def org() -> None:
    """Organizations.  `org` is short for organization."""


@org.command("create")
@click.argument("name")
@anywhere
def create_organization(name: str, target: Target, *, as_json: bool) -> None:
    """Create an organization, and the data directory if it does not exist."""
    created = run_operation(target, lambda client: client.create_organization(name), OpenOptions(create=True))
    say(created, f"organization {created['id']}: {name}", as_json=as_json)


@click.group()
def user() -> None:
    """People of an organization."""


@user.command("create")
@click.argument("email")
@click.argument("name")
@click.option(
    "--role", default="member", show_default=True, help="The role of the user in other applications."
)
@org_option
@anywhere
def create_user(email: str, name: str, role: str, org: str | None, target: Target, *, as_json: bool) -> None:
    """Create a user, to whom tasks can be assigned."""

    async def operation(client: Client) -> dict[str, Any]:
        return await client.create_user(await organization_id(client, org), email, name, role)

    created = run_operation(target, operation)
    say(
        created,
        f"user {created['id']}: {name} <{email}>, organization {created['organization']}",
        as_json=as_json,
    )


@click.group()
def key() -> None:
    """Keys for the HTTP API."""


@key.command("create")
@click.option(
    "--role", type=click.Choice(ROLES), default="member", show_default=True, help="The rights of the key."
)
@org_option
@common()
def create_key(role: str, org: str | None, data: Path, *, as_json: bool) -> None:
    """Create an API key, and show it once.  An operator's key is for all organizations."""

    async def operation(client: Client) -> dict[str, Any]:
        return await client.create_key(
            None if role == "operator" and org is None else await organization_id(client, org), role
        )

    created = run_operation(Target(data), operation)
    say(created, created["key"], as_json=as_json)


@key.command("revoke")
@click.argument("key")
@common()
def revoke_key(key: str, data: Path, *, as_json: bool) -> None:
    """End a key immediately.  KEY is its id or the whole key."""
    try:
        done = run_operation(Target(data), lambda client: client.revoke_key(key))
    except NotFound as error:
        raise Failure(f"{error}: give the whole key, or the 12 characters after `bizq_`") from None
    say(done, "the key is revoked", as_json=as_json)


@click.group()
def template() -> None:
    """Templates describe how tasks of a kind are done: prompt, schemas, route, limits."""


@template.command("put")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.option(
    "--profiles",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="BIZQ_PROFILES",
    help="The file of the profiles that the worker uses, if it is not that of the data directory.",
)
@org_option
@anywhere
def put_template(
    file: TextIO, profiles: Path | None, org: str | None, target: Target, *, as_json: bool
) -> None:
    """Write the template in FILE (JSON; `-` is standard input).  It replaces a template of the same name."""
    value = parse_json(file.read(), file.name)
    if not isinstance(value, dict):
        raise Failure(f"{file.name}: a template must be a JSON object with name, output_schema and route")

    async def operation(client: Client) -> dict[str, Any]:
        return await client.put_template(await organization_id(client, org), value)

    created = run_operation(target, operation, OpenOptions(accounts=True, profiles=profiles))
    done = "created" if created["created"] else "replaced"
    say(
        created,
        f"template {created['id']}: {created['name']}, {done}, organization {created['organization']}",
        as_json=as_json,
    )


@click.group()
def budget() -> None:
    """Limits on spending."""


@budget.command("put")
@click.argument("cap")
@click.option("--period", type=click.Choice(["day", "month", "total"]), default="month", show_default=True)
@click.option("--template", "template_id", type=click.IntRange(1), help="For one template, by id.")
@click.option("--task", "task_id", type=click.IntRange(1), help="For one task, by id.")
@click.option(
    "--refused",
    type=click.Choice(["wait", "fail"]),
    default="wait",
    show_default=True,
    help="For a task that finds no room: wait for room, or fail.",
)
@org_option
@anywhere
def put_budget(
    cap: str,
    period: str,
    template_id: int | None,
    task_id: int | None,
    refused: str,
    org: str | None,
    target: Target,
    *,
    as_json: bool,
) -> None:
    """Limit spending to CAP dollars, for the whole organization, for a template or for a task."""
    if template_id is not None and task_id is not None:
        raise Failure("give --template or --task, not both; without them the cap is for the organization")

    async def operation(client: Client) -> dict[str, Any]:
        number = await organization_id(client, org)
        scope = (
            ("template", template_id)
            if template_id
            else ("task", task_id)
            if task_id
            else ("organization", number)
        )
        value = {"scope": scope[0], "scope_id": scope[1], "period": period, "cap": cap, "refused": refused}
        return await client.put_budget(number, value)

    created = run_operation(target, operation)
    cap = f"{show(created['cap_micro'])} {'in total' if period == 'total' else f'a {period}'}"
    scope = f"{created['scope']} {created['scope_id']}"
    say(created, f"budget {created['id']}: {cap} for {scope}", as_json=as_json)
