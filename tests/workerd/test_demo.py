"""The tasks of the demonstration, done by the deployed Worker and a real model on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from consumer.cli.dev.seed import seed_and_submit
from consumer.cli.host import EXAMPLES, MODEL_NAME
from consumer.cli.remote import Api, RemoteClient
from consumer.cli.target import Remote
from consumer.local import model
from consumer.service.keys import hash_key
from scripts.stage import shipped
from tests.workerd.archives import ROOT
from tests.workerd.configuration import Configuration, Options
from tests.workerd.deployed import SECRETS, DeployedWorker, Models, eventually
from tests.workerd.guards import breaches
from tests.workerd.harness import Workerd
from tests.workerd.loopback import Loopback
from tests.workerd.toolchain import Toolchain

pytestmark = [pytest.mark.workerd, pytest.mark.heavy, pytest.mark.xdist_group("workerd-demo")]

KEY = "0123456789abcdef0123456789abcdef"
PATIENCE_S = 900.0
HEAP = 96 * 1024 * 1024
"""The limit of Python's memory, out of the 128 MB of an isolate."""


@pytest.fixture
async def address(tmp_path: Path) -> Any:
    """The address of the model."""
    try:
        model.weights()
    except model.NoModel as error:
        pytest.skip(str(error))
    async with model.running(tmp_path / "model.log") as url:
        yield url


@pytest.fixture
def deployed(
    toolchain: Toolchain, site: Path, configuration: Configuration, address: str
) -> Iterator[DeployedWorker]:
    profiles = json.loads((EXAMPLES / "profiles.json").read_text())
    profiles["local"]["base_url"] = address
    complete = configuration.with_variables(PROFILES=json.dumps(profiles), **SECRETS)
    options = Options(intercept=False)
    models = Models()
    with (
        Loopback(models) as unused,
        Workerd(shipped(), site, complete, toolchain=toolchain, options=options) as worker,
    ):
        worker.database("DB").migrate(ROOT / "migrations")
        yield DeployedWorker(worker, unused, models)


@pytest.fixture
def client(deployed: DeployedWorker) -> Iterator[RemoteClient]:
    """The command line's, with an operator's key."""
    deployed.sql(
        "INSERT INTO api_keys (id, hash, role, created_ms) VALUES ('demo', ?1, 'operator', 0)", hash_key(KEY)
    )
    api = Api(Remote(deployed.worker.info["url"].rstrip("/"), f"bizq_demo_{KEY}"))
    yield RemoteClient(api)
    api.close()


async def test_all_tasks_of_the_demonstration_are_done(
    deployed: DeployedWorker, client: RemoteClient
) -> None:
    """What a model does alone ends; what waits for people waits, and a review is done in the inbox."""
    tasks = await seed_and_submit(client, EXAMPLES, MODEL_NAME)

    open_tasks = (
        "SELECT id FROM tasks WHERE status IN ('pending', 'running') OR (status = 'waiting' AND NOT EXISTS"
        " (SELECT 1 FROM task_executions e WHERE e.task_id = tasks.id AND e.provider = 'inbox'"
        " AND e.status = 'waiting'))"
    )
    eventually(lambda: not deployed.sql(open_tasks), PATIENCE_S)
    states = deployed.states(tasks)
    assert set(states) == {"completed", "waiting"}
    await approve_drafts(deployed, client)

    reviewed = (
        "SELECT status FROM tasks"
        " WHERE id IN (SELECT task_id FROM task_executions WHERE execution_type = 'hybrid')"
    )
    assert {row["status"] for row in deployed.sql(reviewed)} == {"completed"}
    assert deployed.sql("SELECT * FROM leases") == []
    assert deployed.worker.heap_bytes() <= HEAP
    assert breaches(deployed.worker.events()) == []


async def approve_drafts(deployed: DeployedWorker, client: RemoteClient) -> None:
    """A person says yes to every draft, in the form behind the link."""
    for one in await client.inbox(None, None):
        path = urlsplit(one["link"]).path
        assert deployed.worker.fetch("GET", path).status == 200
        if one["kind"] == "review":
            form = urlencode({"action": "submit", "decision": "approve"}).encode()
            headers = {"content-type": "application/x-www-form-urlencoded"}
            assert deployed.worker.fetch("POST", path, headers=headers, body=form).status == 200
