"""Batches of doorbells, delivered directly: the verdict of each message and the end of each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.workerd.deployed import ANSWER, DEAD_LETTERS, DOORBELLS, DeployedWorker
from tests.workerd.loopback import Answer, Seen, completion

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("workerd-deployed")]

LOST = "D1_ERROR: Network connection lost."
RETRY_S = 31
"""The longest delay of a message, in seconds."""


def ids(messages: Sequence[Mapping[str, object]]) -> set[object]:
    return {message["id"] for message in messages}


def test_all_tasks_of_a_batch_are_done_and_each_message_is_acknowledged(deployed: DeployedWorker) -> None:
    tasks = deployed.tasks(deployed.asks("good"), 10)
    batch = deployed.doorbells(10)
    verdicts = deployed.worker.deliver(DOORBELLS, batch)
    assert (verdicts.outcome, set(verdicts.acked), verdicts.retried) == ("ok", ids(batch), {})
    assert deployed.states(tasks) == ["completed"] * 10
    for task in tasks:
        status = deployed.status(task)
        assert status is not None
        assert (status["status"], status["cost_micro"]) == ("completed", 30)


def test_one_batch_can_hold_poison_failure_cancel_and_deadline(deployed: DeployedWorker) -> None:
    """Each task has its own end, and none affects another."""
    good = deployed.tasks(deployed.asks("good"), 3)
    (failing,) = deployed.tasks(deployed.asks("fails", Answer(status=400, json={"error": {"message": "no"}})))
    (late,) = deployed.tasks(deployed.asks("late", Answer(delay_s=1.5), call_s=1, unknown="wait"))
    (cancelled,) = deployed.tasks(deployed.asks("cancelled", cancel_during_the_call(deployed)))
    poison = {"id": "poison", "body": {"v": 99, "why": "unknown version"}}
    batch = [*deployed.doorbells(2), poison, *deployed.doorbells(2)]

    verdicts = deployed.worker.deliver(DOORBELLS, batch)

    assert (verdicts.outcome, set(verdicts.acked), verdicts.retried) == ("ok", ids(batch), {})
    assert deployed.states(good) == ["completed"] * 3
    assert (deployed.task(failing)["status"], deployed.task(cancelled)["status"]) == ("failed", "cancelled")
    (answer,) = deployed.executions(cancelled)
    assert (answer["status"], answer["cost_micro"]) == ("cancelled", 30)  # late, but paid
    (doubtful,) = deployed.executions(late)
    assert doubtful["status"] == "unknown"
    assert doubtful["reason"].startswith("timeout: no answer within 1 s from 127.0.0.1:")
    assert deployed.task(late)["status"] == "waiting"
    (letter,) = deployed.sql("SELECT reason, body FROM dead_letters WHERE message_id = 'poison'")
    assert "unknown version" in letter["body"]


def cancel_during_the_call(deployed: DeployedWorker) -> Callable[[Seen], Answer]:
    """A model whose task another application cancels while it works."""

    def play(_seen: Seen) -> Answer:
        deployed.sql(
            "UPDATE tasks SET status = 'cancelled' WHERE status = 'running' AND template_id IN"
            " (SELECT id FROM task_templates WHERE route LIKE '%\"cancelled\"%')"
        )
        return Answer(json=completion(ANSWER))

    return play


def test_a_redelivered_batch_does_nothing_twice(deployed: DeployedWorker) -> None:
    tasks = deployed.tasks(deployed.asks("good"), 3)
    batch = deployed.doorbells(3)
    deployed.worker.deliver(DOORBELLS, batch)
    again = deployed.worker.deliver(DOORBELLS, [{**message, "attempts": 2} for message in batch])
    assert set(again.acked) == ids(batch)
    assert len(deployed.server.drain()) == 3
    assert [len(deployed.executions(task)) for task in tasks] == [1, 1, 1]


def test_a_batch_delivered_twice_concurrently_does_nothing_twice(deployed: DeployedWorker) -> None:
    tasks = deployed.tasks(deployed.asks("slow", Answer(json=completion(ANSWER), delay_s=0.05)), 20)
    batch = deployed.doorbells(5)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: deployed.worker.deliver(DOORBELLS, batch), range(2)))
    assert [set(verdicts.acked) for verdicts in both] == [ids(batch)] * 2
    assert len(deployed.server.drain()) == 20
    assert deployed.states(tasks) == ["completed"] * 20


def test_at_most_five_calls_wait_for_headers(deployed: DeployedWorker) -> None:
    deployed.tasks(deployed.asks("slow", Answer(json=completion(ANSWER), delay_s=0.1)), 20)
    deployed.server.peak = 0
    deployed.ring()
    (event,) = deployed.events()
    assert (event.peak_calls, deployed.server.peak) == (5, 5)


def test_a_dead_letter_is_kept_before_it_is_acknowledged(deployed: DeployedWorker) -> None:
    letters = [{"id": f"dead-{n}", "body": {"v": 1, "n": n}} for n in range(100)]
    verdicts = deployed.worker.deliver(DEAD_LETTERS, letters)
    assert set(verdicts.acked) == ids(letters)
    rows = deployed.sql("SELECT count(*) AS n FROM dead_letters WHERE message_id LIKE 'dead-%'")
    assert rows == [{"n": 100}]


def test_dead_letters_that_cannot_be_kept_come_back(deployed: DeployedWorker) -> None:
    deployed.worker.faults(fault("INSERT INTO dead_letters", "before", times=5))
    verdicts = deployed.worker.deliver(DEAD_LETTERS, [{"id": "unkept", "body": "?"}])
    assert (verdicts.acked, list(verdicts.retried)) == ((), ["unkept"])


# --- failures of the platform ---------------------------------------------------------------------------


def fault(match: str, when: str, *, times: int = 1) -> dict[str, object]:
    """D1 loses the connection before or after it runs a batch with this text."""
    return {"binding": "DB", "method": "batch", "message": LOST, "match": match, "when": when, "times": times}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "step",
    ["INSERT INTO leases", "INSERT INTO task_executions", "UPDATE task_executions SET", "DELETE FROM leases"],
    ids=["claim", "begin", "settle", "finish"],
)
def test_a_lost_connection_to_d1_changes_nothing(deployed: DeployedWorker, step: str, when: str) -> None:
    """If the batch was committed or not, the work is done once."""
    tasks = deployed.tasks(deployed.asks("good"), 3)
    deployed.worker.faults(fault(step, when))
    verdicts = deployed.ring()
    assert len(verdicts.acked) == 1
    assert deployed.states(tasks) == ["completed"] * 3
    assert len(deployed.server.drain()) == 3
    assert deployed.sql("SELECT * FROM leases") == []


def test_while_d1_is_away_messages_come_back_later(deployed: DeployedWorker) -> None:
    tasks = deployed.tasks(deployed.asks("good"))
    deployed.worker.faults(fault("", "before", times=5))
    batch = deployed.doorbells(3)
    verdicts = deployed.worker.deliver(DOORBELLS, batch)
    assert (verdicts.outcome, verdicts.acked, set(verdicts.retried)) == ("ok", (), ids(batch))
    assert all(0 < (delay or 0) <= RETRY_S for delay in verdicts.retried.values())
    deployed.ring()
    assert deployed.states(tasks) == ["completed"]


def test_a_failing_status_store_fails_no_task(deployed: DeployedWorker) -> None:
    tasks = deployed.tasks(deployed.asks("good"), 3)
    deployed.worker.faults(
        {"binding": "STATUS", "method": "put", "message": "KV PUT failed: 503 Service Unavailable"}
    )
    deployed.ring()
    assert deployed.states(tasks) == ["completed"] * 3
    assert [deployed.status(task) for task in tasks] == [None] * 3
    deployed.worker.faults()
    deployed.later()
    deployed.ring()
    assert [(deployed.status(task) or {}).get("status") for task in tasks] == ["completed"] * 3
    assert deployed.sql("SELECT * FROM outbox") == []


def test_a_failing_blob_store_loses_no_paid_answer(deployed: DeployedWorker) -> None:
    """The blob store holds only large results; others of the same batch do not need it."""
    large = completion({"answer": "x" * 70_000})
    (task,) = deployed.tasks(deployed.asks("large", Answer(json=large)))
    others = deployed.tasks(deployed.asks("good"), 3)
    deployed.worker.faults(
        {
            "binding": "BLOBS",
            "method": "put",
            "message": "put: We encountered an internal error. (10001)",
            "times": 1,
        }
    )
    deployed.ring()
    assert deployed.states(others) == ["completed"] * 3
    deployed.later()
    deployed.ring()
    assert deployed.task(task)["status"] == "completed"
    assert len([seen for seen in deployed.server.drain() if seen.json()["model"] == "large"]) == 1
