"""`bizq demo`: the whole worker on real tasks with a real model, on this machine.

Each run submits the tasks of `examples/tasks.jsonl` once more.  The organizations, people and templates are those of
the first run.  Tasks that wait for people, and tasks that an earlier run did not finish, stay and continue.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from consumer import telemetry
from consumer.app import App
from consumer.cli.client import LocalClient
from consumer.cli.dev import models
from consumer.cli.dev.progress import Progress
from consumer.cli.dev.seed import seed_and_submit
from consumer.cli.dev.working import Stop, working
from consumer.cli.group import INTERRUPTED
from consumer.cli.host import (
    EXAMPLES,
    LOCAL_MODEL,
    MODEL_PROFILE,
    OpenOptions,
    keep_profile,
    opened,
    prepare,
)
from consumer.cli.options import table
from consumer.cli.target import command
from consumer.core.lifecycle import TASK_FINAL
from consumer.core.money import show
from consumer.local import model
from consumer.local.layout import Layout
from consumer.store.demo import DEMO_COSTS, DEMO_TASKS
from consumer.world import Config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumer.cli.dev.options import ModelServer
    from consumer.cli.host import Host
    from consumer.ports import Row

LIMIT_S: Final = 140.0
"""Seconds for all tasks together."""
POLL_S: Final = 0.25


@dataclass(slots=True)
class Report:
    """The tasks of a demo at its end, their costs, and the assignments that wait for people."""

    tasks: Sequence[Row]
    costs: Sequence[Row]
    waiting: list[dict[str, Any]]

    @property
    def completed(self) -> int:
        return sum(row["status"] == "completed" for row in self.tasks)

    @property
    def failed(self) -> int:
        return sum(row["status"] in ("failed", "cancelled") for row in self.tasks)

    @property
    def unfinished(self) -> list[Row]:
        return [row for row in self.tasks if not is_done(row)]

    @property
    def cost_micro(self) -> int | None:
        """The sum of all costs; None if one of them is unknown."""
        if any(row["unknown"] for row in self.costs):
            return None
        return sum(int(row["cost_micro"] or 0) for row in self.costs)

    def value(self) -> dict[str, Any]:
        """The report as JSON, for programs."""
        return {
            "tasks": len(self.tasks),
            "completed": self.completed,
            "waiting": len(self.waiting),
            "failed": self.failed,
            "unfinished": len(self.unfinished),
            "cost_micro": self.cost_micro,
            "costs": [dict(row) for row in self.costs],
            "inbox": self.waiting,
        }

    def line(self) -> str:
        """The report in one line."""
        return (
            f"demo: {len(self.tasks)} tasks, {self.completed} completed, {len(self.waiting)} waiting for people, "
            f"{self.failed} failed, cost {show(self.cost_micro)}"
        )


def is_done(row: Row) -> bool:
    """Whether a task has ended, or waits only for a person."""
    return row["status"] in TASK_FINAL or (row["status"] == "waiting" and row["provider"] == "inbox")


def run(data: Path, server: ModelServer, *, as_json: bool) -> int:
    """Run the demo, and print its report.  Raises `BizQError`, `PortError`, Failure."""
    console = Console(stderr=as_json)
    stop = Stop()
    report = asyncio.run(demonstrate(Layout(data), server, console, stop))
    click.echo(json.dumps(report.value()) if as_json else report.line())
    if stop():
        return INTERRUPTED
    return 1 if report.failed or report.unfinished else 0


async def demonstrate(layout: Layout, server: ModelServer, console: Console, stop: Stop) -> Report:
    """Set up, submit, work until every remaining task waits for a person, and report.  Raises as `run` does."""

    def print_line(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    prepare(layout, create=True)
    async with AsyncExitStack() as stack:
        telemetry.configure("INFO", stack.enter_context(layout.worker_log.open("w")))
        stack.enter_context(stop.listening())
        started = asyncio.get_running_loop().time()
        url = await models.address(stack, layout, server.url)
        for name, profile in profiles(server).items():
            keep_profile(layout, name, profile)
        config = Config(connections=model.PARALLEL)
        options = OpenOptions(create=True, working=True, model_url=url, config=config)
        host = await stack.enter_async_context(opened(layout, options))
        print_line(f"database  {layout.database} ({len(host.applied) or 'no'} migrations to apply)")
        print_line(f"model     {server.name} at {url}")
        submitted = await seed_and_submit(LocalClient(host), EXAMPLES, server.name)
        seconds = asyncio.get_running_loop().time() - started
        print_line(
            f"tasks     {len(submitted)} submitted from examples/tasks.jsonl; ready after {seconds:.1f} s"
        )
        async with working(host, App(host.world, stop), runs=1):
            await _follow(host, submitted, console, stop)
        report = await read_report(host, submitted)
    for line in summary(report, server):
        print_line(line)
    return report


def profiles(server: ModelServer) -> dict[str, Any]:
    """The profiles of the examples.  The one of another server has no price, because we do not know its prices."""
    known: dict[str, Any] = json.loads((EXAMPLES / "profiles.json").read_text())
    if server.url is not None:
        local = {"provider": MODEL_PROFILE["provider"], "base_url": server.url}
        known[LOCAL_MODEL] = local | ({"key": server.key} if server.key else {})
    return known


async def _follow(host: Host, tasks: list[int], console: Console, stop: Stop) -> None:
    """Show the progress until every remaining task waits for a person, or the time is over."""
    loop, clock, progress = asyncio.get_running_loop(), host.world.clock, Progress(console)
    until = loop.time() + LIMIT_S
    with progress.shown():
        while True:
            rows = await _tasks(host, tasks)
            over = stop() or loop.time() >= until or all(is_done(row) for row in rows)
            progress.update(rows, clock.now_ms(), last=over)
            if over:
                return
            await asyncio.sleep(POLL_S)


async def _tasks(host: Host, tasks: list[int]) -> Sequence[Row]:
    return await host.world.rows(DEMO_TASKS(tasks=json.dumps(tasks)))


async def read_report(host: Host, tasks: list[int]) -> Report:
    """The report about these tasks."""
    costs = await host.world.rows(DEMO_COSTS(tasks=json.dumps(tasks)))
    assignments = await LocalClient(host).inbox(None, None)
    waiting = [assignment for assignment in assignments if assignment["task_id"] in tasks]
    return Report(await _tasks(host, tasks), costs, waiting)


def summary(report: Report, server: ModelServer) -> list[str]:
    """The report for people: states, costs, and the next steps."""
    states = {
        name: sum(row["status"] == name for row in report.tasks)
        for name in ("completed", "waiting", "failed")
    }
    lines = ["", table(("state", "tasks"), list(states.items())), "", _costs(report), ""]
    lines += [
        f"task {row['id']} failed: {row['reason']}"
        for row in report.tasks
        if row["status"] in ("failed", "cancelled")
    ]
    if report.unfinished:
        blocked = {str(row["blocked_by"]) for row in report.unfinished if row["blocked_by"]}
        why = f" (blocked by {', '.join(sorted(blocked))})" if blocked else ""
        lines.append(f"{len(report.unfinished)} tasks are not done{why}: the next run continues them")
    if report.waiting:
        lines.append("These tasks wait for people:")
        for assignment in report.waiting:
            kind = "task" if assignment["kind"] == "human" else assignment["kind"]
            lines += [f"  {kind} {assignment['task_id']}, {assignment['title']}", f"    {assignment['link']}"]
        answer = command("dev" if server.url else "dev --model")
        lines.append(f"To answer them, run {answer} and open a link.")
    first = report.tasks[0]["id"] if report.tasks else 1
    lines += [f"To see everything that happened to a task: {command(f'show {first}')}", ""]
    return lines


def _costs(report: Report) -> str:
    """The table of costs."""
    heads = ("organization", "profile", "executions", "cost", "cost unknown", "reserved")
    rows = [
        (
            row["organization"],
            row["profile"],
            row["executions"],
            show(int(row["cost_micro"] or 0)),
            row["unknown"],
            show(int(row["reserved_micro"] or 0)),
        )
        for row in report.costs
    ]
    return table(heads, rows)
