"""Two hundred concurrent invocations stay within one budget; without reservations they do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import pytest

from tests.workerd.deployed import ANSWER, DOORBELLS, ORGANIZATION, DeployedWorker
from tests.workerd.loopback import Answer, Seen, completion

pytestmark = [pytest.mark.workerd, pytest.mark.heavy, pytest.mark.xdist_group("workerd-deployed")]

INVOCATIONS: Final = 200
ANSWERS: Final = 20
"""The number of answers that the budget can pay."""
PATIENCE_S: Final = 60.0

NO_RESERVATION: Final = """CREATE TRIGGER no_reservation AFTER INSERT ON task_executions WHEN NEW.reserved_micro > 0
BEGIN UPDATE task_executions SET reserved_micro = 0 WHERE id = NEW.id; END"""

Around = AbstractContextManager[None]


class Dear:
    """A model that uses its maximum.  The first `held` calls are answered after all of them have come."""

    def __init__(self, held: int = 0) -> None:
        self._held = held
        self._calls = 0
        self._lock = threading.Lock()
        self._opened = threading.Event()
        self.charged_micro = 0

    def __call__(self, seen: Seen) -> Answer:
        with self._lock:
            self._calls += 1
            if self._calls >= self._held:
                self._opened.set()
        assert self._opened.wait(PATIENCE_S), f"only {self._calls} calls came"
        body = seen.json()
        usage = {"prompt_tokens": len(seen.body) // 2, "completion_tokens": body["max_tokens"]}
        with self._lock:
            self.charged_micro += usage["prompt_tokens"] + 2 * usage["completion_tokens"]
        return Answer(json=completion(ANSWER) | {"usage": usage})


@dataclass(frozen=True, slots=True)
class Books:
    """Charges in micro-dollars."""

    cap: int
    charged: int
    counted: int


def crowd(deployed: DeployedWorker, model: Dear, around: Around) -> Books:
    """One task shows the reservation of a call; then there are tasks for all invocations, and a budget for a few."""
    template = deployed.asks("dear", Dear())
    (first,) = deployed.tasks(template)
    deployed.ring()
    cap = ANSWERS * int(deployed.executions(first)[0]["reserved_micro"])
    deployed.models.plays["dear"] = [model]
    (budget,) = deployed.sql(
        "INSERT INTO budgets (organization_id, scope, scope_id, period, cap_micro)"
        " VALUES (?1, 'template', ?2, 'total', ?3) RETURNING id",
        *(ORGANIZATION, template, cap),
    )
    tasks = deployed.tasks(template, INVOCATIONS)
    messages = deployed.doorbells(INVOCATIONS)
    with around, ThreadPoolExecutor(INVOCATIONS) as pool:
        verdicts = list(pool.map(lambda one: deployed.worker.deliver(DOORBELLS, [one]), messages))
    assert [one.outcome for one in verdicts] == ["ok"] * INVOCATIONS
    assert set(deployed.states(tasks)) <= {"completed", "pending"}
    (row,) = deployed.sql(
        "SELECT spent_micro + reserved_micro AS counted FROM budget_periods WHERE budget_id = ?1",
        budget["id"],
    )
    return Books(cap, model.charged_micro, int(row["counted"]))


def test_no_number_of_invocations_passes_the_cap(deployed: DeployedWorker) -> None:
    books = crowd(deployed, Dear(), nullcontext())
    assert books.charged == books.counted <= books.cap
    assert books.counted > books.cap // 2


@contextmanager
def without_reservations(deployed: DeployedWorker) -> Iterator[None]:
    """The reservation is released in the same statement."""
    deployed.sql(NO_RESERVATION)
    try:
        yield
    finally:
        deployed.sql("DROP TRIGGER no_reservation")


def test_without_reservations_the_same_runs_overspend(deployed: DeployedWorker) -> None:
    """Concurrent calls each find the budget unused."""
    books = crowd(deployed, Dear(held=4 * ANSWERS), without_reservations(deployed))
    assert books.charged > books.cap
