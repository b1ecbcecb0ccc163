"""Two organizations with keys of every role, and the HTTP application in front of them.

Fixtures of the host: `database` (migrated, empty), `kv`, `blobs`.  Every response that a test asks for is checked
against the OpenAPI document.
"""

from __future__ import annotations

import io
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest

from consumer import telemetry
from consumer.app import App
from consumer.core.profile import accounts
from consumer.core.schema import mismatch
from consumer.ports import Statement
from consumer.service import admin
from consumer.service.keys import create_key
from consumer.service.organizations import create_organization
from consumer.web import openapi
from consumer.web.app import OPERATIONS, build
from tests.support.fakes import Network
from tests.support.ports import FakeClock, Faulty, RecordingKV, RecordingMessage, RecordingQueue
from tests.support.scene import make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from consumer.ports import Blobs, Database, KeyValue, Row, Value
    from consumer.web.operation import Operation
    from consumer.world import World

SECRETS: Final = {
    "ECHO_HOOK": "whsec_c2VjcmV0IG9mIHRoZSBlY2hvIHByb2ZpbGU=",
    "OTHER_HOOK": "whsec_c2VjcmV0IG9mIHRoZSBvdGhlciBwcm9maWxl",
}
PROFILES: Final = {
    "echo": {"provider": "echo", "price": {"per_task": "0.01"}, "webhook_secret": "ECHO_HOOK"},
    "other": {"provider": "echo", "price": {"per_task": "0.01"}, "webhook_secret": "OTHER_HOOK"},
    "inbox": {"provider": "inbox", "price": {"per_task": "0"}},
}
ROLES: Final = ("reader", "member", "admin", "operator")
SCHEMA: Final = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}


def stage(kind: str, profile: str, **settings: Any) -> dict[str, Any]:
    return {"kind": kind, "candidates": [{"profile": profile, "settings": settings}]}


def template(*stages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body of a template; by default with one stage of the echo."""
    route = {"stages": list(stages) or [stage("ai", "echo")]}
    return {"name": "echo", "output_schema": SCHEMA, "route": route, **fields}


def budget(scope_id: int, **fields: Any) -> dict[str, Any]:
    """A daily cap of an organization."""
    return {"scope": "organization", "scope_id": scope_id, "period": "day", "cap": "1.50", **fields}


@dataclass(slots=True)
class Deployment:
    """A served application and its rows.  `ours` owns `template`, and `theirs` owns `foreign_template`."""

    world: World
    client: httpx2.AsyncClient
    database: Faulty
    kv: RecordingKV
    queue: RecordingQueue
    clock: FakeClock
    log: io.StringIO
    ours: int
    theirs: int
    keys: dict[str, str]
    template: int
    foreign_template: int

    async def ask(
        self, method: str, path: str, value: Any = None, *, key: str | None = "member", **options: Any
    ) -> httpx2.Response:
        """Send a request with the key of a role (None: without a key), and check its response against the document."""
        headers = httpx2.Headers(options.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {self.keys.get(key, key)}"
        if value is not None:
            options["json"] = value
        response = await self.client.request(method, path, headers=headers, **options)
        check_documented(response)
        return response

    async def submit(self, template_id: int | None = None, **fields: Any) -> int:
        """Submit a task of our organization; return its id."""
        value = {"template": template_id or self.template, "title": "a task", **fields}
        response = await self.ask("POST", "/v1/tasks", value)
        assert response.status_code == 201, response.text
        return int(response.json()["id"])

    async def work(self) -> None:
        """Let the worker do all due work."""
        await App(self.world).on_messages([RecordingMessage({"v": 1})])

    async def put(self, *stages: dict[str, Any], **fields: Any) -> int:
        """Make a template of our organization; return its id."""
        return await admin.put_template(self.world, self.ours, template(*stages, **fields))

    async def rows(self, sql: str, *parameters: Value) -> list[Row]:
        """Rows straight from the database."""
        (result,) = await self.database.inner.batch([Statement(sql, parameters)])
        return list(result.rows)


class DeploymentSuite:
    """A contract whose tests take the fixture `deployment`."""

    @pytest.fixture
    async def deployment(self, database: Database, kv: KeyValue, blobs: Blobs) -> AsyncIterator[Deployment]:
        async with deployed(database, kv, blobs) as deployment:
            yield deployment


@asynccontextmanager
async def deployed(database: Database, kv: KeyValue, blobs: Blobs) -> AsyncIterator[Deployment]:
    """A deployment on the ports of a host."""
    log = io.StringIO()
    telemetry.configure("INFO", log)
    network, faulty, recording, queue, clock = (
        Network(),
        Faulty(database),
        RecordingKV(kv),
        RecordingQueue(),
        FakeClock(),
    )
    world = make_world(faulty, recording, blobs, network, clock=clock, queue=queue)
    config = replace(world.config, public_url="http://bizq.test")
    world = replace(world, accounts=accounts(PROFILES, SECRETS), config=config)
    ours, theirs = [await create_organization(world, name) for name in ("ours", "theirs")]
    keys = {role: await create_key(world, ours, role) for role in ROLES[:3]}
    keys["operator"] = await create_key(world, None, "operator")
    keys["foreign"] = await create_key(world, theirs, "admin")
    mine, foreign = [await admin.put_template(world, each, template()) for each in (ours, theirs)]
    transport = httpx2.ASGITransport(app=build(App(world)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://bizq.test") as client:
        yield Deployment(
            world, client, faulty, recording, queue, clock, log, ours, theirs, keys, mine, foreign
        )
    await network.client.aclose()


# --- responses follow the OpenAPI document ---------------------------------------------------------------------------


@lru_cache(maxsize=1)
def described() -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi.document(OPERATIONS, "http://bizq.test")


@lru_cache(maxsize=100)
def schema_of(name: str) -> Mapping[str, Any]:
    """One of the document's schemas, as a schema that stands alone."""
    schemas = json.dumps(described()["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/")
    return {"$ref": f"#/$defs/{name}", "$defs": json.loads(schemas)}


def operation_of(method: str, path: str) -> Operation | None:
    """The operation that a request asks for; None if there is none."""
    for operation in OPERATIONS:
        pattern = re.sub(r"\{\w+\}", "[^/]+", operation.path)
        if operation.method == method and re.fullmatch(pattern, path):
            return operation
    return None


def check_documented(response: httpx2.Response) -> None:
    """Assert that a response has the common headers and the schema that the document promises."""
    headers = response.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] in ("no-store", "private, no-cache")
    assert headers["x-robots-tag"] == "noindex, nofollow"
    if headers.get("content-type", "").startswith("text/html") or response.request.method == "HEAD":
        return
    if response.status_code >= 400:
        assert headers["content-type"] == "application/problem+json", response.text
        assert mismatch(schema_of("ProblemDocument"), response.json()) is None, response.text
        assert response.json()["status"] == response.status_code
        return
    operation = operation_of(response.request.method, response.request.url.path)
    assert operation is not None
    assert response.status_code in operation.answers, (operation.path, response.status_code)
    if response.status_code != 304:
        assert headers["content-type"] == "application/json"
        why = mismatch(schema_of(operation.answers[response.status_code]), response.json())
        assert why is None, (why, response.text)


def refused(response: httpx2.Response, status: int, *fields: str) -> dict[str, Any]:
    """Assert that a response refuses with this status and names these fields; return its problem document."""
    assert response.status_code == status, response.text
    problem: dict[str, Any] = response.json()
    named = [error["field"] for error in problem.get("errors", [])]
    assert not fields or named == list(fields), problem
    return problem
