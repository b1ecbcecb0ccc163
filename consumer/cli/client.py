"""The operations that commands ask for: on this machine's data directory, or over HTTP (`consumer.cli.remote`).

Their values are JSON, so that both give the same.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from consumer import telemetry
from consumer.cli.host import OpenOptions, opened
from consumer.cli.target import command
from consumer.core.errors import NotFound
from consumer.local.layout import Layout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from consumer.cli.host import Host
    from consumer.cli.target import Target

ACTOR = "bizq"
"""The actor in the audit log."""


class Client(Protocol):
    """Every operation of the command line.  All raise `BizQError` and `PortError`."""

    async def organizations(self) -> list[dict[str, Any]]:
        """The organizations that the client can see: [{id, name}]."""
        ...

    async def submit(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Add tasks, all or none: [{id, status, created}].  Each item names its organization."""
        ...

    async def history(self, task: int) -> dict[str, Any]: ...

    async def cancel(self, task: int) -> dict[str, Any]: ...

    async def retry(self, task: int) -> dict[str, Any]: ...

    async def release(self, task: int, *, questions: bool) -> dict[str, Any]: ...

    async def bulk(self, organization: int | None, action: Mapping[str, Any]) -> dict[str, Any]:
        """Count what an action on many tasks covers, or act on a page of them (`consumer.service.bulk`)."""
        ...

    async def adopt(self, organization: int | None) -> dict[str, Any]: ...

    async def inbox(self, organization: int | None, user: int | None) -> list[dict[str, Any]]: ...

    async def costs(
        self, organization: int | None, by: str, since: str | None, cursor: int | None
    ) -> dict[str, Any]:
        """The sums, and a cursor when older tasks are left."""
        ...

    async def tick(self) -> dict[str, Any]: ...

    async def stop(self, reason: str) -> dict[str, Any]:
        """Stop all spending.  Returns the stop that is in force: this one, or an earlier one."""
        ...

    async def resume(self) -> bool: ...

    async def restore(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Finish a restore of the database, or a part of it (`consumer.service.restore`)."""
        ...

    async def examine(self, *, probe: bool = False) -> list[dict[str, Any]]:
        """The findings of the doctor: [{level, what, advice}].  `probe`: ask the provider of each profile too."""
        ...

    async def create_organization(self, name: str) -> dict[str, Any]: ...

    async def create_user(self, organization: int, email: str, name: str, role: str) -> dict[str, Any]: ...

    async def create_key(self, organization: int | None, role: str) -> dict[str, Any]: ...

    async def revoke_key(self, key: str) -> dict[str, Any]: ...

    async def put_template(self, organization: int, template: Mapping[str, Any]) -> dict[str, Any]:
        """Write a template.  It replaces one of the same name."""
        ...

    async def put_budget(self, organization: int, budget: Mapping[str, Any]) -> dict[str, Any]: ...


async def organization(client: Client, named: str | None) -> dict[str, Any]:
    """An organization by id or name; without a name, the only one.  Raises NotFound."""
    known = await client.organizations()
    found = [entry for entry in known if named is None or named in (str(entry["id"]), entry["name"])]
    if len(found) == 1:
        return found[0]
    if not known:
        raise NotFound(f"there is no organization yet: create one with {command('org create NAME')}")
    choices = ", ".join(f"{entry['id']} ({entry['name']})" for entry in known)
    if named is None or found:
        raise NotFound(f"name the organization with --org: {choices}")
    raise NotFound(f"no organization {named}: --org takes one of {choices}")


async def organization_id(client: Client, named: str | None) -> int:
    """The id of `organization`."""
    return int((await organization(client, named))["id"])


@asynccontextmanager
async def opened_at(target: Target, options: OpenOptions | None = None) -> AsyncIterator[Client]:
    """The client of a target."""
    if target.remote is None:
        async with local(target.data, options) as client:
            yield client
        return
    from consumer.cli.remote import Api, RemoteClient  # only commands over HTTP need it

    api = Api(target.remote)
    try:
        yield RemoteClient(api)
    finally:
        api.close()


@asynccontextmanager
async def local(data: Path, options: OpenOptions | None = None) -> AsyncIterator[Client]:
    """The client of a data directory."""
    telemetry.silence()
    async with opened(Layout(data), options or OpenOptions()) as host:
        yield LocalClient(host)


class LocalClient:
    """`Client` on the database of this machine, with the rights of an operator.

    Each method imports the part of the product that it needs, because most commands need one only."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._world = host.world

    async def organizations(self) -> list[dict[str, Any]]:
        from consumer.service import queries

        return [dict(entry) for entry in await queries.organizations(self._world, None, None)]

    async def submit(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        from consumer.service import submissions

        return [asdict(task) for task in await submissions.submit(self._world, None, items)]

    async def history(self, task: int) -> dict[str, Any]:
        from consumer.service import queries

        return dict(await queries.history(self._world, None, task))

    async def cancel(self, task: int) -> dict[str, Any]:
        from consumer.service import commands

        return {"id": task, "status": await commands.cancel(self._world, None, task, ACTOR)}

    async def retry(self, task: int) -> dict[str, Any]:
        from consumer.service import retries

        return asdict(await retries.retry(self._world, None, task)) | {"retry_of": task}

    async def release(self, task: int, *, questions: bool) -> dict[str, Any]:
        from consumer.service import releases

        return asdict(await releases.release(self._world, None, task, ACTOR, questions=questions))

    async def bulk(self, organization: int | None, action: Mapping[str, Any]) -> dict[str, Any]:
        from consumer.core.model import parse
        from consumer.service import bulk

        return dict(await bulk.act(self._world, organization, parse(bulk.BulkAction, dict(action)), ACTOR))

    async def adopt(self, organization: int | None) -> dict[str, Any]:
        from consumer.service import commands

        return asdict(await commands.adopt(self._world, organization))

    async def inbox(self, organization: int | None, user: int | None) -> list[dict[str, Any]]:
        from consumer.service import queries

        return [dict(entry) for entry in await queries.inbox(self._world, organization, user)]

    async def costs(
        self, organization: int | None, by: str, since: str | None, cursor: int | None
    ) -> dict[str, Any]:
        from consumer.service import queries

        return dict(await queries.costs(self._world, organization, by, since, cursor))

    async def tick(self) -> dict[str, Any]:
        from consumer.run.schema import SchemaTrust
        from consumer.run.sweep import sweep

        await SchemaTrust().check(self._world)
        return asdict(await sweep(self._world))

    async def stop(self, reason: str) -> dict[str, Any]:
        from consumer.service import stops

        return await stops.stop(self._world, reason, ACTOR)

    async def resume(self) -> bool:
        from consumer.service import stops

        return await stops.resume(self._world, ACTOR)

    async def restore(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        from consumer.core.model import parse
        from consumer.service import restore

        return dict(await restore.finish(self._world, ACTOR, "", parse(restore.NewRestore, dict(wanted))))

    async def examine(self, *, probe: bool = False) -> list[dict[str, Any]]:
        from consumer.service import doctor

        findings = [asdict(finding) for finding in await doctor.examine(self._world)]
        findings += [
            {
                "level": "error",
                "what": f"the profiles name the secret {name}, which is not set",
                "advice": f"set it in the environment of {command('dev')}",
            }
            for name in self._host.unset
        ]
        findings += [
            {
                "level": "error",
                "what": what,
                "advice": "correct the secret in the environment, or the profile",
            }
            for what in self._host.wrong
        ]
        findings += [
            {
                "level": "warning",
                "what": f"profile {name} works only while a model runs",
                "advice": f"start one with {command('dev --model')}, or give the profile a base_url",
            }
            for name in self._host.idle
        ]
        if probe:
            from consumer.service import probes

            skip = {*self._host.idle, *self._without_secrets()}
            findings += [asdict(finding) for finding in await probes.probe(self._world, skip)]
        return findings

    def _without_secrets(self) -> list[str]:
        """The profiles that name a secret without a value: there is nothing to probe them with."""
        return [
            name
            for name, account in self._world.accounts.items()
            if {account.profile.key, *account.profile.secret_headers.values()} & {*self._host.unset}
        ]

    async def create_organization(self, name: str) -> dict[str, Any]:
        from consumer.service import organizations

        return {"id": await organizations.create_organization(self._world, name), "name": name}

    async def create_user(self, organization: int, email: str, name: str, role: str) -> dict[str, Any]:
        from consumer.service import organizations

        number = await organizations.create_user(self._world, organization, email, name, role)
        return {"id": number, "organization": organization, "email": email}

    async def create_key(self, organization: int | None, role: str) -> dict[str, Any]:
        from consumer.service import keys

        key = await keys.create_key(self._world, organization, role)
        return {"key": key, "organization": organization, "role": role}

    async def revoke_key(self, key: str) -> dict[str, Any]:
        from consumer.service import keys

        await keys.revoke_key(self._world, key)
        return {"revoked": key}

    async def put_template(self, organization: int, template: Mapping[str, Any]) -> dict[str, Any]:
        from consumer.service import admin, queries

        value, name = dict(template), template.get("name")
        if value.get("id") is None and isinstance(name, str):
            same_name = await queries.templates(self._world, organization, name)
            value["id"] = same_name[0]["id"] if same_name else None
        number = await admin.put_template(self._world, organization, value)
        return {"id": number, "organization": organization, "name": name, "created": value.get("id") is None}

    async def put_budget(self, organization: int, budget: Mapping[str, Any]) -> dict[str, Any]:
        from consumer.service import admin, queries

        number = await admin.put_budget(self._world, organization, budget, ACTOR, operator=True)
        (found,) = await queries.budgets(self._world, organization, number, operator=True)
        return dict(found)
