"""How fast tasks go through workerd here, by the clock on the wall and through the real queue."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.bill.measure import ECHO, Kind, prepare, submit
from tests.workerd.office import Office, eventually

DELAYED: Final = Kind("echo, 50 ms", "echo", {"delay_ms": 50})
PATIENCE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Tasks a second, and milliseconds from the sending of a doorbell to the start of its task."""

    no_op: float
    delayed: float
    p50_ms: float
    p95_ms: float


def measure(office: Office, count: int, lone: int = 50) -> Speed:
    """Measure on a Worker whose queue delivers without waiting for its batches to fill."""
    waits = latencies(office, lone)
    return Speed(
        no_op=throughput(office, ECHO, count),
        delayed=throughput(office, DELAYED, count),
        p50_ms=statistics.median(waits),
        p95_ms=waits[int(len(waits) * 0.95)],
    )


def throughput(office: Office, kind: Kind, count: int) -> float:
    """Submit all at once, and wait for the last."""
    template = prepare(office, kind)
    began = time.perf_counter()
    submit(office, template, count, immediate_outcome=count)
    open_tasks = "SELECT count(*) AS n FROM tasks WHERE template_id = ?1 AND status <> 'completed'"
    eventually(lambda: not office.sql(open_tasks, template)[0]["n"], PATIENCE_S)
    return count / (time.perf_counter() - began)


def latencies(office: Office, count: int) -> list[float]:
    """One task at a time, in order of size."""
    template = prepare(office, ECHO)
    waits = []
    for _ in range(count):
        (task,) = office.tasks(template)
        sent = time.time() * 1000
        office.worker.send("DOORBELLS", [{"body": {"v": 1}, "contentType": "json"}])
        (execution,) = eventually(partial(ended, office, task))
        waits.append(execution["started_ms"] - sent)
    return sorted(waits)


def ended(office: Office, task: int) -> list[dict[str, int]]:
    """The execution of a task, when it has ended."""
    return office.sql(
        "SELECT started_ms FROM task_executions WHERE task_id = ?1 AND status = 'succeeded'", task
    )
