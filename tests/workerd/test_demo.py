"""The set of the demonstration, done by the Worker that is deployed and a real model on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from consumer.admin import hash_key
from consumer.local import model
from scripts.stage import shipped
from tests.workerd.archives import ROOT
from tests.workerd.deployment import Deployment, Options
from tests.workerd.guards import breaches
from tests.workerd.harness import Workerd
from tests.workerd.loopback import Loopback
from tests.workerd.office import SECRETS, Models, Office, eventually
from tests.workerd.toolchain import Toolchain

pytestmark = [pytest.mark.workerd, pytest.mark.heavy, pytest.mark.xdist_group("workerd-demo")]

EXAMPLES = ROOT / "examples"
KEY = "0123456789abcdef0123456789abcdef"
PATIENCE_S = 900.0
HEAP = 96 * 1024 * 1024
"""Of the 128 MB of an isolate, Python's own."""


@pytest.fixture
async def address(tmp_path: Path) -> Any:
    """Where the model listens."""
    try:
        model.weights()
    except model.NoModel as error:
        pytest.skip(str(error))
    async with model.running(tmp_path / "model.log") as url:
        yield url


@pytest.fixture
def office(toolchain: Toolchain, site: Path, deployment: Deployment, address: str) -> Iterator[Office]:
    profiles = json.loads((EXAMPLES / "profiles.json").read_text())
    profiles["local"]["base_url"] = address
    complete = deployment.with_variables(PROFILES=json.dumps(profiles), **SECRETS)
    options = Options(intercept=False)
    models = Models()
    with (
        Loopback(models) as unused,
        Workerd(shipped(), site, complete, toolchain=toolchain, options=options) as worker,
    ):
        worker.database("DB").migrate(ROOT / "migrations")
        yield Office(worker, unused, models)


def call(office: Office, organization: int, method: str, path: str, value: object = None) -> Any:
    headers = {"authorization": f"Bearer bizq_k{organization}_{KEY}", "content-type": "application/json"}
    body = None if value is None else json.dumps(value).encode()
    reply = office.worker.fetch(method, path, headers=headers, body=body)
    assert reply.status < 300, reply.text
    return reply.json()


def found(office: Office, organization: dict[str, Any]) -> int:
    """Make an organization with its people, a key and its templates."""
    (row,) = office.sql("INSERT INTO organizations (name) VALUES (?1) RETURNING id", organization["name"])
    number = int(row["id"])
    for user in organization["users"]:
        office.sql(
            "INSERT INTO users (organization_id, email, name) VALUES (?1, ?2, ?3)",
            number,
            user["email"],
            user["name"],
        )
    office.sql(
        "INSERT INTO api_keys (id, hash, organization_id, role, created_ms) VALUES (?1, ?2, ?3, 'admin', 0)",
        f"k{number}",
        hash_key(KEY),
        number,
    )
    for name in organization["templates"]:
        template = json.loads((EXAMPLES / "templates" / f"{name}.json").read_text())
        call(office, number, "POST", "/v1/templates", template)
    return number


def submitted(office: Office, organizations: dict[str, int]) -> list[int]:
    """Submit every task, with the ids of people in place of their addresses."""
    users = {row["email"]: row["id"] for row in office.sql("SELECT id, email FROM users")}
    tasks = []
    for line in (EXAMPLES / "tasks.jsonl").read_text().splitlines():
        task = json.loads(line)
        organization = organizations[task.pop("organization")]
        if "assigned_to" in task:
            task["assigned_to"] = users[task["assigned_to"]]
        tasks.append(int(call(office, organization, "POST", "/v1/tasks", task)["id"]))
    return tasks


def test_the_whole_set_is_done(office: Office) -> None:
    """What a model does alone ends; what waits for people waits, and a review is done in the inbox."""
    wanted = json.loads((EXAMPLES / "organizations.json").read_text())
    organizations = {one["name"]: found(office, one) for one in wanted}
    tasks = submitted(office, organizations)

    open_tasks = (
        "SELECT id FROM tasks WHERE status IN ('pending', 'running') OR (status = 'waiting' AND NOT EXISTS"
        " (SELECT 1 FROM task_executions e WHERE e.task_id = tasks.id AND e.provider = 'inbox'"
        " AND e.status = 'waiting'))"
    )
    eventually(lambda: not office.sql(open_tasks), PATIENCE_S)
    states = office.states(tasks)
    assert set(states) == {"completed", "waiting"}
    approve_drafts(office, organizations.values())

    reviewed = (
        "SELECT status FROM tasks"
        " WHERE id IN (SELECT task_id FROM task_executions WHERE execution_type = 'hybrid')"
    )
    assert {row["status"] for row in office.sql(reviewed)} == {"completed"}
    assert office.sql("SELECT * FROM leases") == []
    assert office.worker.heap_bytes() <= HEAP
    assert breaches(office.worker.events()) == []


def approve_drafts(office: Office, organizations: Any) -> None:
    """A person says yes to every draft, in the form behind the link."""
    for organization in organizations:
        for one in call(office, organization, "GET", "/v1/inbox")["assignments"]:
            path = urlsplit(one["link"]).path
            assert office.worker.fetch("GET", path).status == 200
            if one["execution_type"] == "hybrid":
                form = urlencode({"action": "submit", "decision": "approve"}).encode()
                headers = {"content-type": "application/x-www-form-urlencoded"}
                assert office.worker.fetch("POST", path, headers=headers, body=form).status == 200
