"""HTTP and webhooks, through the Worker's own `fetch`."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from standardwebhooks import Webhook

from consumer.execution.call import KEY_PREFIX
from consumer.store.sql import execution_id
from tests.workerd.deployed import SECRETS, DeployedWorker
from tests.workerd.replies import Reply

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("workerd-deployed")]


def job(deployed: DeployedWorker) -> int:
    """A task whose provider accepts it and reports later."""
    settings = {"asynchronous": True, "check_after_ms": None}
    (task,) = deployed.tasks(deployed.template("hooked", settings=settings))
    return task


def tell(deployed: DeployedWorker, task: int, event: str = "", *, answer: str = "by webhook") -> Reply:
    """Send the webhook about the success of a task's first execution."""
    from datetime import UTC, datetime

    data = {"external_id": f"echo-{execution_id(task, 1)}", "output": {"answer": answer}}
    body = json.dumps({"type": "echo.completed", "data": data})
    event = event or f"event-{task}"
    now = datetime.fromtimestamp(int(time.time()), UTC)
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRETS["HOOK_SECRET"]).sign(event, now, body),
        "content-type": "application/json",
    }
    return deployed.worker.fetch("POST", "/webhooks/hooked", headers=headers, body=body.encode())


def outcome(deployed: DeployedWorker, task: int) -> tuple[Any, Any]:
    """A task's status and the result of its only execution."""
    (execution,) = deployed.executions(task)
    return deployed.task(task)["status"], execution["result"] and json.loads(execution["result"])


def test_a_webhook_ends_its_waiting_execution(deployed: DeployedWorker) -> None:
    task = job(deployed)
    deployed.ring()
    assert outcome(deployed, task) == ("waiting", None)
    assert tell(deployed, task).status == 200
    deployed.ring()
    assert outcome(deployed, task) == ("completed", {"answer": "by webhook"})
    assert (deployed.status(task) or {})["status"] == "completed"


def test_a_webhook_that_comes_before_the_acceptance_is_used(deployed: DeployedWorker) -> None:
    task = job(deployed)
    assert tell(deployed, task).status == 200
    deployed.ring()
    deployed.ring()
    assert outcome(deployed, task) == ("completed", {"answer": "by webhook"})


def test_a_webhook_that_comes_twice_is_used_once(deployed: DeployedWorker) -> None:
    task = job(deployed)
    deployed.ring()
    assert [tell(deployed, task).status for _ in range(2)] == [200, 200]
    deployed.ring()
    assert tell(deployed, task).status == 200
    deployed.ring()
    assert outcome(deployed, task) == ("completed", {"answer": "by webhook"})
    rows = deployed.sql("SELECT count(*) AS n FROM webhooks WHERE event_id = ?1", f"event-{task}")
    assert rows == [{"n": 1}]


def test_a_webhook_after_the_end_changes_nothing(deployed: DeployedWorker) -> None:
    task = job(deployed)
    deployed.ring()
    tell(deployed, task)
    deployed.ring()
    assert tell(deployed, task, "another", answer="too late").status == 200
    deployed.ring()
    assert outcome(deployed, task) == ("completed", {"answer": "by webhook"})


def test_a_webhook_of_another_signer_is_refused(deployed: DeployedWorker) -> None:
    task = job(deployed)
    deployed.ring()
    body = json.dumps({"type": "echo.completed", "data": {"external_id": "echo-1"}}).encode()
    headers = {"webhook-id": "x", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,AAAA"}
    assert deployed.worker.fetch("POST", "/webhooks/hooked", headers=headers, body=body).status in {
        400,
        401,
        403,
    }
    assert outcome(deployed, task) == ("waiting", None)


def test_the_health_of_the_deployment(deployed: DeployedWorker) -> None:
    reply = deployed.worker.fetch("GET", "/healthz")
    assert (reply.status, reply.json()["status"]) == (200, "ok")


def test_without_a_key_nothing_is_disclosed(deployed: DeployedWorker) -> None:
    assert deployed.worker.fetch("GET", "/v1/tasks").status == 401
    assert KEY_PREFIX not in deployed.worker.fetch("GET", "/v1/tasks/1").text


def test_a_body_of_any_bytes_is_answered(deployed: DeployedWorker) -> None:
    """In this runtime, too deep nesting in a parser would end Python for all requests."""
    for body in (b"[" * 200_000, b"\xff\xfe", b"", b'{"a":' * 50_000, b"0" * 1_000_000):
        for path in ("/v1/tasks", "/webhooks/hooked"):
            reply = deployed.worker.fetch(
                "POST", path, headers={"content-type": "application/json"}, body=body
            )
            assert 400 <= reply.status < 500
    assert deployed.worker.fetch("GET", "/healthz").status == 200
