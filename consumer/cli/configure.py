"""The commands that set things up: org, user, key, template, budget."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.desk import opened_at, organization_id
from consumer.cli.group import Failure
from consumer.cli.host import Wanted
from consumer.cli.options import Where, anywhere, common, say
from consumer.core.errors import NotFound
from consumer.core.money import show
from consumer.core.strictjson import parse_json
from consumer.service.admin import ROLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TextIO

    from consumer.cli.desk import Desk

org_option = click.option("--org", help="The organization, by id or name; needed where there are several.")


def ask(
    where: Where, question: Callable[[Desk], Awaitable[dict[str, Any]]], wanted: Wanted | None = None
) -> dict[str, Any]:
    """One question to the desk."""

    async def run() -> dict[str, Any]:
        async with opened_at(where, wanted) as desk:
            return await question(desk)

    return asyncio.run(run())


@click.group()
def org() -> None:
    """Organizations."""


@org.command("create")
@click.argument("name")
@anywhere
def create_organization(name: str, where: Where, *, as_json: bool) -> None:
    """Add an organization, and the data directory when it is missing."""
    made = ask(where, lambda desk: desk.create_organization(name), Wanted(create=True))
    say(made, f"organization {made['id']}: {name}", as_json=as_json)


@click.group()
def user() -> None:
    """People of an organization."""


@user.command("create")
@click.argument("email")
@click.argument("name")
@click.option(
    "--role", default="member", show_default=True, help="What other applications know as the user's role."
)
@org_option
@anywhere
def create_user(email: str, name: str, role: str, org: str | None, where: Where, *, as_json: bool) -> None:
    """Add a person, to whom tasks can be assigned."""

    async def question(desk: Desk) -> dict[str, Any]:
        return await desk.create_user(await organization_id(desk, org), email, name, role)

    made = ask(where, question)
    say(made, f"user {made['id']}: {name} <{email}>, organization {made['organization']}", as_json=as_json)


@click.group()
def key() -> None:
    """Keys for the HTTP API."""


@key.command("create")
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True, help="What it allows.")
@org_option
@common()
def create_key(role: str, org: str | None, data: Path, *, as_json: bool) -> None:
    """Make an API key.  It is shown only this once.  An operator's key is for all organizations."""

    async def question(desk: Desk) -> dict[str, Any]:
        return await desk.create_key(
            None if role == "operator" and org is None else await organization_id(desk, org), role
        )

    made = ask(Where(data), question)
    say(made, made["key"], as_json=as_json)


@key.command("revoke")
@click.argument("key")
@common()
def revoke_key(key: str, data: Path, *, as_json: bool) -> None:
    """End a key at once, by its id or the whole of it."""
    try:
        done = ask(Where(data), lambda desk: desk.revoke_key(key))
    except NotFound as error:
        raise Failure(f"{error}: give the key, or the 12 characters after `bizq_`") from None
    say(done, "the key is revoked", as_json=as_json)


@click.group()
def template() -> None:
    """How tasks of a kind are done: prompt, schemas, route, limits."""


@template.command("put")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option(
    "--profiles",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="BIZQ_PROFILES",
    help="The profiles that the worker runs with, when they are not those of the data directory.",
)
@org_option
@anywhere
def put_template(
    file: TextIO, profiles: Path | None, org: str | None, where: Where, *, as_json: bool
) -> None:
    """Write the template in FILE (JSON; `-` is standard input).  One of the same name is replaced."""
    value = parse_json(file.read(), file.name)
    if not isinstance(value, dict):
        raise Failure(f"{file.name}: a template is a JSON object with name, output_schema and route")

    async def question(desk: Desk) -> dict[str, Any]:
        return await desk.put_template(await organization_id(desk, org), value)

    made = ask(where, question, Wanted(profiles=profiles))
    done = "created" if made["created"] else "replaced"
    say(
        made,
        f"template {made['id']}: {made['name']}, {done}, organization {made['organization']}",
        as_json=as_json,
    )


@click.group()
def budget() -> None:
    """Caps on money."""


@budget.command("put")
@click.argument("cap")
@click.option("--period", type=click.Choice(["day", "month", "total"]), default="month", show_default=True)
@click.option("--template", "template_id", type=click.IntRange(1), help="For one template, by id.")
@click.option("--task", "task_id", type=click.IntRange(1), help="For one task, by id.")
@click.option(
    "--refused", type=click.Choice(["wait", "fail"]), default="wait", show_default=True, help="Without room."
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
    where: Where,
    *,
    as_json: bool,
) -> None:
    """Set a cap of CAP dollars for the whole organization, a template or a task."""
    if template_id is not None and task_id is not None:
        raise Failure("give --template or --task, not both: without them the cap is for the organization")

    async def question(desk: Desk) -> dict[str, Any]:
        number = await organization_id(desk, org)
        scope = (
            ("template", template_id)
            if template_id
            else ("task", task_id)
            if task_id
            else ("organization", number)
        )
        value = {"scope": scope[0], "scope_id": scope[1], "period": period, "cap": cap, "refused": refused}
        return await desk.put_budget(number, value)

    made = ask(where, question)
    words = (
        f"budget {made['id']}: {show(made['cap_micro'])} a {period} for {made['scope']} {made['scope_id']}"
    )
    say(made, words.replace(" a total", " in total"), as_json=as_json)
