"""The speed of tasks in workerd on this machine, in real time and through the real queue."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.bill.measure import ECHO, Kind, prepare, submit
from tests.workerd.deployed import DeployedWorker, eventually

DELAYED: Final = Kind("echo, 50 ms", "echo", {"delay_ms": 50})
PATIENCE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Tasks per second, and milliseconds from the sending of a doorbell to the start of its task."""

    no_op: float
    delayed: float
    p50_ms: float
    p95_ms: float


def measure(deployed: DeployedWorker, count: int, lone: int = 50) -> Speed:
    """Measure on a Worker whose queue delivers without waiting for its batches to fill."""
    waits = latencies(deployed, lone)
    return Speed(
        no_op=throughput(deployed, ECHO, count),
        delayed=throughput(deployed, DELAYED, count),
        p50_ms=statistics.median(waits),
        p95_ms=waits[int(len(waits) * 0.95)],
    )


def throughput(deployed: DeployedWorker, kind: Kind, count: int) -> float:
    """Submit all tasks together, and wait for the last one; return tasks per second."""
    template = prepare(deployed, kind)
    began = time.perf_counter()
    submit(deployed, template, count, together=count)
    open_tasks = "SELECT count(*) AS n FROM tasks WHERE template_id = ?1 AND status <> 'completed'"
    eventually(lambda: not deployed.sql(open_tasks, template)[0]["n"], PATIENCE_S)
    return count / (time.perf_counter() - began)


def latencies(deployed: DeployedWorker, count: int) -> list[float]:
    """The waits of single tasks in milliseconds, sorted."""
    template = prepare(deployed, ECHO)
    waits = []
    for _ in range(count):
        (task,) = deployed.tasks(template)
        sent = time.time() * 1000
        deployed.worker.send("DOORBELLS", [{"body": {"v": 1}, "contentType": "json"}])
        (execution,) = eventually(partial(ended, deployed, task))
        waits.append(execution["started_ms"] - sent)
    return sorted(waits)


def ended(deployed: DeployedWorker, task: int) -> list[dict[str, int]]:
    """The execution of a task, when it has ended."""
    return deployed.sql(
        "SELECT started_ms FROM task_executions WHERE task_id = ?1 AND status = 'succeeded'", task
    )
