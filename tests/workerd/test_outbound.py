"""Misbehaving providers: failures between a request and its reply."""

from __future__ import annotations

import re

import pytest

from tests.workerd.deployed import ANSWER, DeployedWorker
from tests.workerd.loopback import Answer, completion

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("workerd-deployed")]

GOOD = Answer(json=completion(ANSWER))
PORT = re.compile(r":\d+\b", re.ASCII)
BROKE_OFF = "network: the request to 127.0.0.1:PORT broke off (ReadError)"


def ended(deployed: DeployedWorker, template: int) -> tuple[str, str, str | None]:
    """Run one task once; return its status, and its execution's status and reason."""
    (task,) = deployed.tasks(template)
    deployed.ring()
    execution = deployed.executions(task)[0]
    return deployed.task(task)["status"], execution["status"], PORT.sub(":PORT", execution["reason"] or "")


@pytest.mark.parametrize("reset", ["headers", "body"])
def test_a_broken_connection_leaves_the_call_unknown(deployed: DeployedWorker, reset: str) -> None:
    """The request had arrived, so the work may be done and paid, and the call is not simply repeated."""
    broken = Answer(json=completion(ANSWER), reset=reset)  # type: ignore[arg-type]
    found = ended(deployed, deployed.asks(f"reset-{reset}", broken, unknown="wait"))
    assert found == ("waiting", "unknown", BROKE_OFF)
    assert len(deployed.server.drain()) == 1


def test_a_refused_connection_leaves_the_call_unknown_too(deployed: DeployedWorker) -> None:
    """`fetch` does not distinguish them."""
    template = deployed.template("refused", settings={"model": "none"}, limits={"unknown": "wait"})
    assert ended(deployed, template) == ("waiting", "unknown", BROKE_OFF)


def test_a_reply_without_headers_is_given_up(deployed: DeployedWorker) -> None:
    template = deployed.asks(
        "slow", Answer(json=completion("x" * 100_000), delay_s=1.6), call_s=1, unknown="wait"
    )
    found = ended(deployed, template)
    assert found == ("waiting", "unknown", "timeout: no answer within 1 s from 127.0.0.1:PORT")


def test_too_many_requests_are_repeated_when_the_provider_says(deployed: DeployedWorker) -> None:
    busy = Answer(status=429, json={"error": {"message": "slow down"}}, headers=[("retry-after", "7")])
    (task,) = deployed.tasks(deployed.asks("busy", busy, GOOD))
    deployed.ring()
    row = deployed.task(task)
    assert row["status"] == "pending"
    (first,) = deployed.executions(task)
    wait = row["run_at_ms"] - first["started_ms"]
    assert 7_000 <= wait <= 9_000
    deployed.later()
    deployed.ring()
    assert [one["status"] for one in deployed.executions(task)] == ["failed", "succeeded"]


@pytest.mark.parametrize(("status", "expected"), [(500, "waiting"), (502, "waiting"), (400, "failed")])
def test_each_status_has_its_meaning(deployed: DeployedWorker, status: int, expected: str) -> None:
    template = deployed.asks(f"status-{status}", Answer(status=status, body=b"<h1>no</h1>"), unknown="wait")
    assert ended(deployed, template)[0] == expected


def test_a_redirect_is_not_followed_with_our_key(deployed: DeployedWorker) -> None:
    elsewhere = Answer(status=307, headers=[("location", f"{deployed.server.url}/elsewhere")])
    assert ended(deployed, deployed.asks("moved", elsewhere))[:2] == ("failed", "failed")
    assert [seen.path for seen in deployed.server.drain()] == ["/v1/chat/completions"]


def test_a_reply_without_a_body_is_a_reply(deployed: DeployedWorker) -> None:
    found = ended(deployed, deployed.asks("empty", Answer(status=204), unknown="wait"))
    assert found == ("waiting", "unknown", "unreadable_reply: it is empty")


def test_a_flood_is_cut_off(deployed: DeployedWorker) -> None:
    """The memory of the isolate does not grow either."""
    before = deployed.worker.heap_bytes()
    template = deployed.asks("flood", Answer(flood=200 * 1024 * 1024))
    assert ended(deployed, template) == ("failed", "failed", "reply_too_large: more than 4194304 bytes")
    assert deployed.worker.heap_bytes() - before < 32 * 1024 * 1024


def test_twenty_slow_calls_go_five_at_a_time(deployed: DeployedWorker) -> None:
    tasks = deployed.tasks(deployed.asks("twenty", Answer(json=completion(ANSWER), delay_s=0.2)), 20)
    deployed.ring()
    (event,) = deployed.events()
    assert deployed.states(tasks) == ["completed"] * 20
    assert 800 <= event.ms <= 3_000
    assert event.fetches == 20
