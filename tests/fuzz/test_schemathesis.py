"""The OpenAPI document against the API, checked by an independent tool.

Schemathesis reads the document, sends allowed and forbidden requests, omits keys, tries other methods, and follows the
rows that it created.  A finding is a defect of the server or of the document.  `UNSAYABLE` lists the fields that may be
refused for a reason that a document cannot describe, because only the database and the deployment know it.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.app import App
from consumer.local.migrate import apply
from consumer.web.app import OPERATIONS, build
from scripts.stage import ROOT
from tests.fuzz.targets import opened
from tests.support.deployment import ROLES, budget, described, stage
from tests.support.webhooks import signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from schemathesis import Case, HookContext, Response
    from schemathesis.core.failures import Failure
    from schemathesis.schemas import BaseSchema

    from tests.fuzz.targets import Arena
    from tests.support.deployment import Deployment

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

pytestmark = pytest.mark.heavy

EACH: Final = 12
"""Examples of each operation, in addition to those that cover its schema and those that follow created rows."""
PEOPLE: Final = 40
"""The number of assignments: most requests to a link end its assignment."""
SHOWN: Final = 10

ROUTE: Final = {"stages": [stage("ai", "echo")]}
EXAMPLES: Final[dict[str, dict[str, list[Any]]]] = {
    "NewTask": {"template": [1, "echo"], "organization": [1, None], "assigned_to": [None]},
    "Candidate": {"profile": ["echo"], "settings": [{}]},
    "Template": {
        "id": [None],
        "organization_id": [1, None],
        "route": [ROUTE],
        "output_schema": [{"type": "object"}],
    },
    "Budget": {"scope_id": [1]},
}
"""Rows of the deployment, so that not every request is refused for naming a missing row."""

_ROUTED: Final = r"route|route\.stages\[\d+\]\.candidates\[\d+\]\.(profile|settings\b.*)"
_TEMPLATE: Final = rf"id|organization|organization_id|prompt|(in|out)put_schema(?!\.type$).*|{_ROUTED}"
UNSAYABLE: Final = {
    "/v1/tasks": r"(tasks\[\d+\]\.)?(organization|template|assigned_to|deadline|idempotency_key)|tasks",
    "/v1/users": "organization",
    "/v1/restore": "revoke",
    "/v1/bulk": "filter",
    "/v1/templates": _TEMPLATE,
    "/v1/templates/{id}": _TEMPLATE,
    "/v1/budgets": "organization|scope_id",
    "/v1/budgets/{id}": "organization|scope_id",
}
"""Fields that may be refused although they fit the document: they name a missing row, or one of another organization;
they are an invalid part of a schema; a review has no draft before it; an operator does not name an organization."""


class Served:
    """The application.  It builds its deployment at its start, on the thread that uses the database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._events = itertools.count()
        self._app: Any = None
        self.deployment: Deployment
        self.tokens: list[str] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with AsyncExitStack() as stack:
                await self._deploy(stack)
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if (scope["method"], scope["path"]) == ("POST", "/webhooks/echo"):
            scope, receive = await self._received(scope, receive)
        await self._app(scope, receive, send)

    async def _deploy(self, stack: AsyncExitStack) -> None:
        """Build a deployment with work for people, an ended task, and a budget."""
        migrated = self._directory / "migrated.sqlite3"
        apply(migrated, ROOT / "migrations")
        room = self._directory / "room"
        room.mkdir()
        arena: Arena = await opened(stack, room, migrated)
        self.deployment = deployment = arena.deployment
        person = await deployment.put(stage("human", "inbox"), name="people")
        for _ in range(PEOPLE):
            await deployment.submit(person)
        await deployment.work()
        await deployment.ask("POST", f"/v1/tasks/{arena.job}/cancel")
        await deployment.ask("POST", "/v1/budgets", budget(deployment.ours), key="admin")
        inbox = (await deployment.ask("GET", "/v1/inbox")).json()
        self.tokens = [one["link"].rpartition("/")[2] for one in inbox["assignments"]]
        self._app = build(App(deployment.world))

    async def _received(self, scope: Message, receive: Receive) -> tuple[Message, Receive]:
        """The same request with a signature, which the document cannot describe."""
        first = await receive()
        headers = signed(self.deployment, first.get("body", b""), f"event-{next(self._events)}")
        messages = iter([first])

        async def again() -> Message:
            for message in messages:
                return message
            return await receive()

        added = [(name.encode(), text.encode()) for name, text in headers.items()]
        return {**scope, "headers": [*scope["headers"], *added]}, again


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    from schemathesis.python import asgi

    made = Served(tmp_path)
    with asgi.get_client(made):
        yield made
    asgi.shutdown_lifespans()


def loaded(served: Served, role: str | None) -> BaseSchema:
    """The OpenAPI document with examples, and the settings under which it is tried."""
    import schemathesis
    from schemathesis.config import SchemathesisConfig

    known: dict[str, list[Any]] = {
        "organization": [1],
        "profile": ["echo"],
        "token": served.tokens,
        "id": [1, 2],
        "template": [1],
    }
    where = {name: name for name in known} | {"template": "body.template"}
    people = {"positive_data_acceptance": ["2xx", "404", "410", "422"], "negative_data_rejection": ["4xx"]}
    config: dict[str, Any] = {
        "seed": 1,
        "continue-on-failure": True,
        "suppress-health-check": ["all"],
        "generation": {"max-examples": EACH, "database": "none", "allow-x00": False},
        "dictionaries": {name: {"values": values} for name, values in known.items()},
        "parameters": {where[name]: {"dictionary": name, "probability": 0.8} for name in known},
        "output": {"sanitization": {"enabled": False}},
        # The template of a task decides which fields its form needs, and a link ends with its assignment.
        "operations": [
            {
                "include-path": "/inbox/{token}",
                "checks": {name: {"expected-statuses": statuses} for name, statuses in people.items()},
            }
        ],
    }
    if role is None:
        config["headers"] = {"Accept": "application/json"}
    else:
        config["auth"] = {"openapi": {"key": {"bearer": served.deployment.keys[role]}}}
    document = with_examples(known, without_a_key=role is None)
    schema: BaseSchema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))
    schema.app = served
    schema.hook("filter_failure")(is_defect)
    return schema


def with_examples(known: dict[str, list[Any]], *, without_a_key: bool) -> dict[str, Any]:
    """The OpenAPI document with examples; `without_a_key`: only the operations that need none."""
    document = copy.deepcopy(described())
    for name, examples in EXAMPLES.items():
        for field, values in examples.items():
            document["components"]["schemas"][name]["properties"][field]["examples"] = values
    if without_a_key:  # the other operations are tried without a key in the runs of the roles
        document["paths"] = {
            operation.path: document["paths"][operation.path]
            for operation in OPERATIONS
            if operation.role is None
        }
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in known:
                    parameter["example"] = known[parameter["name"]][0]
    return document


def is_defect(_: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Whether a failure is a defect: a refusal for a reason that only the database knows is none."""
    from schemathesis.openapi.checks import RejectedPositiveData

    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    fields = [error["field"] for error in response.json().get("errors", [])]
    known = UNSAYABLE.get(case.operation.path)
    return not (known and fields and all(re.fullmatch(known, field, re.DOTALL) for field in fields))


@pytest.mark.parametrize("role", [None, "reader", "admin", "operator"])
def test_the_document_is_what_is_served(served: Served, role: str | None) -> None:
    from schemathesis.engine import events, from_schema

    found: dict[tuple[object, ...], str] = {}
    answered: dict[str, set[int]] = defaultdict(set)
    for event in from_schema(loaded(served, role)).execute():
        assert not isinstance(event, events.FatalError), event.exception
        assert not isinstance(event, events.NonFatalError), (event.label, event.value)
        if not isinstance(event, events.ScenarioFinished):
            continue
        for name, interaction in event.recorder.interactions.items():
            if interaction.response is not None:
                case = event.recorder.cases[name].value
                answered[f"{case.method} {case.operation.path}"].add(interaction.response.status_code)
        for name, checks in event.recorder.checks.items():
            response = event.recorder.interactions[name].response
            for failed in (check.failure_info for check in checks if check.failure_info):
                failure, status = failed.failure, response.status_code if response else None
                answer = response.text[:500] if response else ""
                said = f"{failure.operation}: {failure}\n{failed.code_sample}\n{status} {answer}"
                found.setdefault((failure.operation, type(failure), status), said)

    assert not found, "\n\n".join([f"{len(found)} kinds of defects", *list(found.values())[:SHOWN]])
    may = [
        one for one in OPERATIONS if one.role is None or (role and ROLES.index(one.role) <= ROLES.index(role))
    ]
    missed = [
        f"{one.method} {one.path}" for one in may if not answered[f"{one.method} {one.path}"] & {*one.answers}
    ]
    assert missed == [], "nothing that was sent was accepted"
