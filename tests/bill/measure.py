"""Runs tasks through the shipped Worker in workerd and counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from consumer.service.keys import hash_key
from scripts.stage import shipped
from tests.bill.usage import Usage, add_up
from tests.workerd import pytest_inside
from tests.workerd.archives import ROOT, packages
from tests.workerd.configuration import Configuration, Options
from tests.workerd.deployed import ANSWER, DOORBELLS, ORGANIZATION, SECRETS, DeployedWorker, Models, profiles
from tests.workerd.harness import Workerd
from tests.workerd.loopback import Answer, Loopback, completion
from tests.workerd.replies import Event
from tests.workerd.toolchain import Toolchain

HERE: Final = Path(__file__).resolve().parent
NEVER: Final = 2**53 - 2
KEY: Final = "0123456789abcdef0123456789abcdef"
SLOW_S: Final = 1.2
"""A model that takes more than a second, so that a task is published twice."""


@contextmanager
def opened(batch: int = 10, *, live: bool = False) -> Iterator[DeployedWorker]:
    """The Worker with batches of this size; `live`: its queue delivers by itself."""
    configuration = Configuration.read(ROOT / "wrangler.toml", hurry=False)
    triggers = [{**one, "maxBatchTimeout": 0} for one in configuration.triggers] if live else []
    models = Models()
    with Loopback(models) as server:
        variables = {**SECRETS, "PROFILES": profiles(server), "BATCH_SIZE": str(batch)}
        chosen = replace(configuration, triggers=triggers).with_variables(**variables)
        options = Options(main_module="bill_worker", intercept=False)
        lab = {"bill_worker.py": HERE / "bill_worker.py"}
        site = packages(pytest_inside.WORKER_LOCK)
        with Workerd(shipped(), site, chosen, toolchain=Toolchain.find(), options=options, lab=lab) as worker:
            worker.database("DB").migrate(ROOT / "migrations")
            deployed = DeployedWorker(worker, server, models)
            deployed.create_organization()
            deployed.sql(
                "INSERT INTO api_keys (id, hash, organization_id, role, created_ms)"
                " VALUES ('bill', ?1, ?2, 'member', 0)",
                hash_key(KEY),
                ORGANIZATION,
            )
            deployed.ring()  # the first doorbell of an isolate also checks the schema
            yield deployed


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tasks."""

    name: str
    profile: str
    settings: Mapping[str, object]
    delay_s: float = 0.0
    """The delay of the model in seconds."""
    budgets: int = 0


INSTANT: Final = Kind("AI, at once", "model", {"model": "instant", "max_output_tokens": 10})
SLOW: Final = Kind("AI, 1.2 s", "model", {"model": "slow", "max_output_tokens": 10}, delay_s=SLOW_S)
BUDGET: Final = Kind("AI, at once, one budget", "model", INSTANT.settings, budgets=1)
ECHO: Final = Kind("echo", "echo", {})


@dataclass(frozen=True, slots=True)
class Measured:
    """The usage of `count` tasks, from doorbell to final status, and of their submission."""

    kind: Kind
    batch: int
    count: int
    work: Usage
    submission: Usage
    events: list[Event] = field(repr=False)
    seconds: float = 0.0

    @property
    def each(self) -> Usage:
        """The mean usage of a task, from doorbell to final status."""
        return self.work.each(self.count)


def run(deployed: DeployedWorker, kind: Kind, count: int, batch: int) -> Measured:
    """Submit tasks, then let them become due batch by batch, a doorbell for each."""
    template = prepare(deployed, kind)
    submission = submit(deployed, template, count)
    tasks = [
        row["id"] for row in deployed.sql("SELECT id FROM tasks WHERE template_id = ?1 ORDER BY id", template)
    ]
    deployed.sql("UPDATE tasks SET run_at_ms = ?1 WHERE template_id = ?2", NEVER, template)
    deployed.worker.logs()
    cpu, began = cpu_ms(deployed.worker.pid), time.perf_counter()
    for start in range(0, count, batch):
        due = tasks[start : start + batch]
        deployed.sql(
            "UPDATE tasks SET run_at_ms = 0 WHERE id IN (SELECT value FROM json_each(?1))", json.dumps(due)
        )
        verdicts = deployed.worker.deliver(DOORBELLS, deployed.doorbells(len(due)))
        assert len(verdicts.acked) == len(due), verdicts
    seconds = time.perf_counter() - began
    return _measured(
        deployed, kind, batch, tasks, submission, cpu_ms(deployed.worker.pid) - cpu, seconds, count
    )


def drain(deployed: DeployedWorker, kind: Kind, count: int, batch: int) -> Measured:
    """Submit tasks together, and deliver their one doorbell and those that the Worker sends itself."""
    template = prepare(deployed, kind)
    submission = submit(deployed, template, count, together=count)
    tasks = [
        row["id"] for row in deployed.sql("SELECT id FROM tasks WHERE template_id = ?1 ORDER BY id", template)
    ]
    deployed.worker.logs()
    cpu, began = cpu_ms(deployed.worker.pid), time.perf_counter()
    waiting, rung, seen = 1, 0, []
    while waiting:
        rung += waiting
        deployed.worker.deliver(DOORBELLS, deployed.doorbells(waiting))
        events = deployed.worker.events()
        waiting = sum(event.sent for event in events)
        seen += events
    seconds = time.perf_counter() - began
    cpu = cpu_ms(deployed.worker.pid) - cpu
    return _measured(deployed, kind, batch, tasks, submission, cpu, seconds, rung, seen)


def _measured(  # noqa: PLR0913, PLR0917  # the measurements of one run
    deployed: DeployedWorker,
    kind: Kind,
    batch: int,
    tasks: list[int],
    submission: Usage,
    cpu: float,
    seconds: float,
    doorbells: int,
    seen: list[Event] | None = None,
) -> Measured:
    events = [event for event in [*(seen or []), *deployed.worker.events()] if event.event == "queue"]
    states = deployed.states(tasks)
    assert states == ["completed"] * len(tasks), {state: states.count(state) for state in states}
    work = add_up(events, doorbells=doorbells, cpu_ms=cpu, log_lines=len(deployed.worker.logs()))
    return Measured(kind, batch, len(tasks), work, submission, events, seconds)


def prepare(deployed: DeployedWorker, kind: Kind) -> int:
    """Make a template, its model and its budgets."""
    name = str(kind.settings.get("model", ""))
    deployed.models.plays[name] = [Answer(json=completion(ANSWER), delay_s=kind.delay_s)]
    template = deployed.template(kind.profile, settings=kind.settings)
    for period in ("day", "month", "total")[: kind.budgets]:
        deployed.sql(
            "INSERT INTO budgets (organization_id, scope, scope_id, period, cap_micro)"
            " VALUES (?1, 'template', ?2, ?3, 1000000000)",
            ORGANIZATION,
            template,
            period,
        )
    return template


def submit(deployed: DeployedWorker, template: int, count: int, *, together: int = 1) -> Usage:
    """Submit tasks as a caller does, over HTTP; return the usage for each task."""
    deployed.worker.events()
    deployed.worker.logs()
    cpu = cpu_ms(deployed.worker.pid)
    headers = {"authorization": f"Bearer bizq_bill_{KEY}", "content-type": "application/json"}
    for start in range(0, count, together):
        tasks = [{"template": template, "title": f"task {start + n}"} for n in range(together)]
        body: Any = tasks[0] if together == 1 else tasks
        reply = deployed.worker.fetch("POST", "/v1/tasks", headers=headers, body=json.dumps(body).encode())
        assert reply.status in {200, 201}, reply.text
    events = deployed.worker.events()
    used = add_up(events, cpu_ms=cpu_ms(deployed.worker.pid) - cpu, log_lines=len(deployed.worker.logs()))
    return used.each(count)


def cpu_ms(node: int) -> float:
    """CPU time of workerd in milliseconds, the child of this Node process; 0 without /proc.

    It is more than Cloudflare would bill: D1's SQLite, KV and Queues run in the same process here.
    """
    try:
        children = Path(f"/proc/{node}/task/{node}/children").read_text().split()
    except OSError:
        return 0.0
    ticks = 0
    for child in children:
        values = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(values[11]) + int(values[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")
