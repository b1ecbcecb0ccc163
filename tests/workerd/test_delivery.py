"""Real queues and cron: sent messages are delivered to the Worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workerd.deployed import ANSWER, DeployedWorker, eventually
from tests.workerd.loopback import Answer, completion

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("workerd-live")]

LOST = "D1_ERROR: Network connection lost."
RETRIES = 5
"""The number of retries in wrangler.toml."""


@pytest.fixture
def prompt(live: DeployedWorker) -> Iterator[DeployedWorker]:
    """Every random delay is the shortest one."""
    live.worker.python("inside.steering", "draw", 0.0)
    yield live
    live.worker.python("inside.steering", "draw", None)


def send(deployed: DeployedWorker, *bodies: object, **options: object) -> None:
    deployed.worker.send("DOORBELLS", [{"body": body, "contentType": "json", **options} for body in bodies])


def test_a_doorbell_runs_its_tasks_to_their_end(live: DeployedWorker) -> None:
    tasks = live.tasks(live.asks("good"), 25)
    send(live, *[{"v": 1}] * 3)
    eventually(lambda: live.states(tasks) == ["completed"] * 25)


def test_a_delayed_doorbell_comes_late(live: DeployedWorker) -> None:
    (task,) = live.tasks(live.asks("good"))
    live.events()
    send(live, {"v": 1}, delaySeconds=1)
    assert live.states([task]) == ["pending"]
    eventually(lambda: live.states([task]) == ["completed"])


def test_cron_rings_again_for_a_lost_doorbell(live: DeployedWorker) -> None:
    tasks = live.tasks(live.asks("good"), 25)
    assert live.worker.tick() == "ok"
    eventually(lambda: live.states(tasks) == ["completed"] * 25)


def test_a_due_retry_is_rung_for(prompt: DeployedWorker) -> None:
    busy = Answer(status=429, json={"error": {"message": "slow down"}}, headers=[("retry-after", "1")])
    (task,) = prompt.tasks(prompt.asks("busy", busy, Answer(json=completion(ANSWER))))
    send(prompt, {"v": 1})
    eventually(lambda: prompt.states([task]) == ["completed"])
    assert [one["status"] for one in prompt.executions(task)] == ["failed", "succeeded"]


def test_an_unreadable_message_is_kept(live: DeployedWorker) -> None:
    send(live, {"v": 77, "from": "the future"})
    look = "SELECT body FROM dead_letters WHERE reason NOT LIKE '%often%' AND body LIKE '%the future%'"
    assert eventually(lambda: live.sql(look))


def test_while_d1_is_away_a_doorbell_is_delivered_again_and_then_kept(prompt: DeployedWorker) -> None:
    """After all retries, the message reaches the real dead letter queue, whose consumer stores it."""
    prompt.worker.faults(
        {"binding": "DB", "method": "batch", "message": LOST, "match": "INSERT INTO leases", "when": "before"}
    )
    send(prompt, {"v": 1, "task": 424_242})
    look = "SELECT reason FROM dead_letters WHERE body LIKE '%424242%'"
    assert eventually(lambda: prompt.sql(look), 30) == [{"reason": "delivered too often"}]
    deliveries = [event for event in prompt.events() if event.detail == "bizq-doorbells"]
    assert [event.attempts for event in deliveries] == list(range(1, RETRIES + 2))
