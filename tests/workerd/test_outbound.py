"""What providers do to us: everything that can go wrong between a request and its reply."""

from __future__ import annotations

import pytest

from tests.workerd.loopback import Answer, completion
from tests.workerd.office import ANSWER, Office

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("workerd-office")]

GOOD = Answer(json=completion(ANSWER))


def ended(office: Office, template: int) -> tuple[str, str, str | None]:
    """Run one task once: its status, and its execution's status and reason."""
    (task,) = office.tasks(template)
    office.ring()
    execution = office.executions(task)[0]
    return office.task(task)["status"], execution["status"], execution["reason"]


@pytest.mark.parametrize("reset", ["headers", "body"])
def test_a_connection_that_breaks_leaves_a_doubt(office: Office, reset: str) -> None:
    """The request had arrived: the work may be done and paid.  So it is not simply sent again."""
    broken = Answer(json=completion(ANSWER), reset=reset)  # type: ignore[arg-type]
    found = ended(office, office.asks(f"reset-{reset}", broken, unknown="wait"))
    assert found == ("waiting", "unknown", "network: ReadError")
    assert len(office.server.drain()) == 1


def test_a_refused_connection_is_as_doubtful_as_a_broken_one(office: Office) -> None:
    """`fetch` does not tell them apart."""
    template = office.template("refused", settings={"model": "nobody"}, limits={"unknown": "wait"})
    assert ended(office, template) == ("waiting", "unknown", "network: ReadError")


def test_a_reply_whose_headers_do_not_come_is_given_up(office: Office) -> None:
    template = office.asks(
        "slow", Answer(json=completion("x" * 100_000), delay_s=1.6), call_s=1, unknown="wait"
    )
    found = ended(office, template)
    assert found == ("waiting", "unknown", "timeout: no answer within 1 s")


def test_too_many_requests_are_repeated_when_the_provider_says(office: Office) -> None:
    busy = Answer(status=429, json={"error": {"message": "slow down"}}, headers=[("retry-after", "7")])
    (task,) = office.tasks(office.asks("busy", busy, GOOD))
    office.ring()
    row = office.task(task)
    assert row["status"] == "pending"
    (first,) = office.executions(task)
    wait = row["run_at_ms"] - first["started_ms"]
    assert 7_000 <= wait <= 9_000
    office.later()
    office.ring()
    assert [one["status"] for one in office.executions(task)] == ["failed", "succeeded"]


@pytest.mark.parametrize(("status", "expected"), [(500, "pending"), (502, "waiting"), (400, "failed")])
def test_each_status_has_its_meaning(office: Office, status: int, expected: str) -> None:
    template = office.asks(f"status-{status}", Answer(status=status, body=b"<h1>no</h1>"), unknown="wait")
    assert ended(office, template)[0] == expected


def test_a_redirect_is_not_followed_with_our_key(office: Office) -> None:
    elsewhere = Answer(status=307, headers=[("location", f"{office.server.url}/elsewhere")])
    assert ended(office, office.asks("moved", elsewhere))[:2] == ("failed", "failed")
    assert [seen.path for seen in office.server.drain()] == ["/v1/chat/completions"]


def test_a_reply_without_a_body_is_a_reply(office: Office) -> None:
    found = ended(office, office.asks("empty", Answer(status=204), unknown="wait"))
    assert found == ("waiting", "unknown", "unreadable_reply: it is empty")


def test_a_flood_is_cut_off(office: Office) -> None:
    """And the memory of the isolate does not grow with it."""
    before = office.worker.heap_bytes()
    template = office.asks("flood", Answer(flood=200 * 1024 * 1024))
    assert ended(office, template) == ("failed", "failed", "reply larger than 4194304 bytes")
    assert office.worker.heap_bytes() - before < 32 * 1024 * 1024


def test_twenty_slow_calls_go_five_at_a_time(office: Office) -> None:
    tasks = office.tasks(office.asks("twenty", Answer(json=completion(ANSWER), delay_s=0.2)), 20)
    office.ring()
    (event,) = office.events()
    assert office.states(tasks) == ["completed"] * 20
    assert 800 <= event.ms <= 3_000
    assert event.fetches == 20
