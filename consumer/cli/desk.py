"""What the commands ask for, whoever answers: this machine's data directory, or a worker elsewhere.

Values are JSON, so that both answer the same.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from consumer import telemetry
from consumer.app import App
from consumer.cli.host import Wanted, opened
from consumer.core.errors import NotFound
from consumer.local.layout import Layout
from consumer.service import admin, commands, doctor, queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from consumer.cli.host import Host
    from consumer.cli.options import Where

ACTOR = "bizq"
"""Who the audit log says it was."""


class Desk(Protocol):
    """Every operation of the command line.  All raise `BizQError` and `PortError`."""

    async def organizations(self) -> list[dict[str, Any]]:
        """All that can be seen: [{id, name}]."""
        ...

    async def submit(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Add tasks, all or none: [{id, status, created}].  Each names its organization."""
        ...

    async def history(self, task: int) -> dict[str, Any]: ...

    async def cancel(self, task: int) -> dict[str, Any]: ...

    async def retry(self, task: int) -> dict[str, Any]: ...

    async def adopt(self, organization: int | None) -> dict[str, Any]: ...

    async def inbox(self, organization: int | None, user: int | None) -> list[dict[str, Any]]: ...

    async def costs(self, organization: int | None, by: str, since: str | None) -> list[dict[str, Any]]: ...

    async def tick(self) -> dict[str, Any]: ...

    async def stop(self, reason: str) -> dict[str, Any]:
        """Stop all spending: the stop that holds, this one or one before it."""
        ...

    async def resume(self) -> bool: ...

    async def examine(self) -> list[dict[str, Any]]:
        """What is wrong: [{level, what, advice}]."""
        ...

    async def create_organization(self, name: str) -> dict[str, Any]: ...

    async def create_user(self, organization: int, email: str, name: str, role: str) -> dict[str, Any]: ...

    async def create_key(self, organization: int | None, role: str) -> dict[str, Any]: ...

    async def revoke_key(self, key: str) -> dict[str, Any]: ...

    async def put_template(self, organization: int, template: Mapping[str, Any]) -> dict[str, Any]:
        """Write a template; one of the same name is replaced."""
        ...

    async def put_budget(self, organization: int, budget: Mapping[str, Any]) -> dict[str, Any]: ...


async def organization(desk: Desk, named: str | None) -> dict[str, Any]:
    """One organization by id or name; without a name, the only one there is.  Raises NotFound."""
    known = await desk.organizations()
    found = [one for one in known if named is None or named in (str(one["id"]), one["name"])]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"{one['id']} ({one['name']})" for one in known)
    if not known:
        raise NotFound("there is no organization yet: `bizq org create NAME` makes one")
    if named is None or found:
        raise NotFound(f"say for which organization with --org: {there}")
    raise NotFound(f"no organization {named}: --org takes one of {there}")


async def organization_id(desk: Desk, named: str | None) -> int:
    """The id of `organization`."""
    return int((await organization(desk, named))["id"])


@asynccontextmanager
async def opened_at(where: Where, wanted: Wanted | None = None) -> AsyncIterator[Desk]:
    """The desk of a target or of a data directory."""
    if where.target is None:
        async with local(where.data, wanted) as desk:
            yield desk
        return
    from consumer.cli.remote import Api, RemoteDesk  # noqa: PLC0415  # only who asks elsewhere needs it

    api = Api(where.target)
    try:
        yield RemoteDesk(api)
    finally:
        api.close()


@asynccontextmanager
async def local(data: Path, wanted: Wanted | None = None) -> AsyncIterator[Desk]:
    """The desk of a data directory."""
    telemetry.configure("CRITICAL")  # what goes wrong is said once, by the command
    async with opened(Layout(data), wanted or Wanted()) as host:
        yield LocalDesk(host)


class LocalDesk:
    """`Desk` on the database of this machine, as its operator."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._world = host.world

    async def organizations(self) -> list[dict[str, Any]]:
        return [dict(one) for one in await queries.organizations(self._world, None, None)]

    async def submit(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [asdict(one) for one in await commands.submit(self._world, None, items)]

    async def history(self, task: int) -> dict[str, Any]:
        return dict(await queries.history(self._world, None, task))

    async def cancel(self, task: int) -> dict[str, Any]:
        return {"id": task, "status": await commands.cancel(self._world, None, task, ACTOR)}

    async def retry(self, task: int) -> dict[str, Any]:
        return asdict(await commands.retry(self._world, None, task)) | {"retry_of": task}

    async def adopt(self, organization: int | None) -> dict[str, Any]:
        return asdict(await commands.adopt(self._world, organization))

    async def inbox(self, organization: int | None, user: int | None) -> list[dict[str, Any]]:
        return [dict(one) for one in await queries.inbox(self._world, organization, user)]

    async def costs(self, organization: int | None, by: str, since: str | None) -> list[dict[str, Any]]:
        return [dict(one) for one in await queries.costs(self._world, organization, by, since)]

    async def tick(self) -> dict[str, Any]:
        return asdict(await App(self._world).on_tick())

    async def stop(self, reason: str) -> dict[str, Any]:
        return await admin.stop(self._world, reason, ACTOR)

    async def resume(self) -> bool:
        return await admin.resume(self._world, ACTOR)

    async def examine(self) -> list[dict[str, Any]]:
        findings = [asdict(finding) for finding in await doctor.examine(self._world)]
        findings += [
            {
                "level": "error",
                "what": f"the profiles name the secret {name}, which is not set",
                "advice": "set it in the environment of `bizq dev`",
            }
            for name in self._host.unset
        ]
        findings += [
            {
                "level": "warning",
                "what": f"profile {name} works while a model runs",
                "advice": "start one with `bizq dev --model`, or give the profile a base_url",
            }
            for name in self._host.idle
        ]
        return findings

    async def create_organization(self, name: str) -> dict[str, Any]:
        return {"id": await admin.create_organization(self._world, name), "name": name}

    async def create_user(self, organization: int, email: str, name: str, role: str) -> dict[str, Any]:
        made = await admin.create_user(self._world, organization, email, name, role)
        return {"id": made, "organization": organization, "email": email}

    async def create_key(self, organization: int | None, role: str) -> dict[str, Any]:
        key = await admin.create_key(self._world, organization, role)
        return {"key": key, "organization": organization, "role": role}

    async def revoke_key(self, key: str) -> dict[str, Any]:
        await admin.revoke_key(self._world, key)
        return {"revoked": key}

    async def put_template(self, organization: int, template: Mapping[str, Any]) -> dict[str, Any]:
        value, name = dict(template), template.get("name")
        if value.get("id") is None and isinstance(name, str):
            there = await queries.templates(self._world, organization, name)
            value["id"] = there[0]["id"] if there else None
        number = await admin.put_template(self._world, organization, value)
        return {"id": number, "organization": organization, "name": name, "created": value.get("id") is None}

    async def put_budget(self, organization: int, budget: Mapping[str, Any]) -> dict[str, Any]:
        number = await admin.put_budget(self._world, organization, budget, ACTOR)
        (found,) = await queries.budgets(self._world, organization, number)
        return dict(found)
