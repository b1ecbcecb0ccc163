"""`demo`: the whole worker on real tasks with a real model, on this machine and by itself.

Each run adds the tasks of `examples/tasks.jsonl` once more; organizations, people and templates are those of the
first run.  What people have not answered, and what an earlier run left undone, stays and goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from consumer import telemetry
from consumer.app import App
from consumer.cli.desk import LocalDesk
from consumer.cli.group import INTERRUPTED, Failure
from consumer.cli.host import (
    EXAMPLES,
    LOCAL_MODEL,
    MODEL_NAME,
    MODEL_PROFILE,
    Wanted,
    keep_profile,
    opened,
    prepare,
)
from consumer.cli.options import common, table
from consumer.cli.progress import Progress
from consumer.cli.seed import seed
from consumer.cli.working import Stop, working
from consumer.core.lifecycle import TASK_FINAL
from consumer.core.money import show
from consumer.local import model
from consumer.local.layout import Layout
from consumer.store.sql import Query
from consumer.world import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.cli.host import Host
    from consumer.ports import Row

DATA: Final = Path(".bizq/demo")
LIMIT_S: Final = 140.0
"""For all tasks together."""
LOOK_S: Final = 0.25

TASKS: Final = Query("""
    SELECT tasks.id, tasks.title, tasks.status, tasks.blocked_by, tasks.reason, organizations.name AS organization,
      template.name AS template, e.profile, e.provider,
      (SELECT count(*) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS attempts,
      (SELECT sum(s.cost_micro) FROM task_executions s WHERE s.id BETWEEN {ids of tasks.id}) AS cost_micro
    FROM tasks
      JOIN organizations ON organizations.id = tasks.organization_id
      JOIN task_templates template ON template.id = tasks.template_id
      LEFT JOIN task_executions e
        ON e.id = (SELECT max(n.id) FROM task_executions n WHERE n.id BETWEEN {ids of tasks.id})
    WHERE tasks.id IN (SELECT value FROM json_each(:tasks)) ORDER BY tasks.id
""")

COSTS: Final = Query(
    """
    SELECT organizations.name AS organization, e.profile, count(*) AS executions,
      COALESCE(sum(e.cost_micro), 0) AS cost_micro,
      sum(CASE WHEN e.cost_micro IS NULL AND e.status IN {FINISHED_CALLS} THEN 1 ELSE 0 END) AS unknown,
      COALESCE(sum(CASE WHEN e.cost_micro IS NULL THEN e.reserved_micro END), 0) AS reserved_micro
    FROM tasks JOIN organizations ON organizations.id = tasks.organization_id
      JOIN task_executions e ON e.id BETWEEN {ids of tasks.id}
    WHERE tasks.id IN (SELECT value FROM json_each(:tasks)) GROUP BY 1, 2 ORDER BY 1, 2
""".replace("{FINISHED_CALLS}", "('succeeded', 'failed', 'cancelled')")
)


@dataclass(frozen=True, slots=True)
class Brain:
    """Which model answers: the one on this machine, or any that speaks OpenAI's API at `url`."""

    url: str | None = None
    name: str = MODEL_NAME
    key: str | None = None


@dataclass(slots=True)
class Report:
    """What a demonstration came to."""

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
        return [row for row in self.tasks if not settled(row)]

    @property
    def cost_micro(self) -> int | None:
        """None when not every price is known."""
        if any(row["unknown"] for row in self.costs):
            return None
        return sum(int(row["cost_micro"] or 0) for row in self.costs)

    def value(self) -> dict[str, Any]:
        """For programs."""
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
        """The last line."""
        return (
            f"demo: {len(self.tasks)} tasks, {self.completed} completed, {len(self.waiting)} waiting for people, "
            f"{self.failed} failed, cost {show(self.cost_micro)}"
        )


def settled(row: Row) -> bool:
    """Whether nothing but a person is awaited."""
    return row["status"] in TASK_FINAL or (row["status"] == "waiting" and row["provider"] == "inbox")


@click.command()
@click.option(
    "--model-url",
    envvar="MODEL_URL",
    help="A server that speaks OpenAI's API (Ollama, vLLM, ...) in place of the local model.",
)
@click.option(
    "--model-name",
    envvar="MODEL_NAME",
    default=MODEL_NAME,
    show_default=True,
    help="The model to ask that server for.",
)
@click.option(
    "--model-key",
    envvar="MODEL_KEY",
    metavar="NAME",
    help="The environment variable that holds that server's key.",
)
@common(DATA)
def demo(model_url: str | None, model_name: str, model_key: str | None, data: Path, *, as_json: bool) -> int:
    """See it work: a real model does real tasks of two organizations on this machine."""
    console = Console(stderr=as_json)
    stop = Stop()
    report = asyncio.run(demonstrate(Layout(data), Brain(model_url, model_name, model_key), console, stop))
    click.echo(json.dumps(report.value()) if as_json else report.line())
    if stop():
        return INTERRUPTED
    return 1 if report.failed or report.unfinished else 0


async def demonstrate(layout: Layout, brain: Brain, console: Console, stop: Stop) -> Report:
    """Set up, submit, work until only people are waited for, and sum up.  Raises Failure, `BizQError`, `PortError`."""

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    prepare(layout, create=True)
    async with AsyncExitStack() as stack:
        telemetry.configure("INFO", stack.enter_context(layout.worker_log.open("w")))
        stack.enter_context(stop.listening())
        started = asyncio.get_running_loop().time()
        url = brain.url or await stack.enter_async_context(_local_model(layout))
        for name, profile in profiles(brain).items():
            keep_profile(layout, name, profile)
        wanted = Wanted(create=True, working=True, model_url=url, config=Config(connections=model.PARALLEL))
        host = await stack.enter_async_context(opened(layout, wanted))
        tell(f"database  {layout.database} ({len(host.applied) or 'no'} migrations to apply)")
        tell(f"model     {brain.name} at {url}")
        submitted = await seed(LocalDesk(host), EXAMPLES, brain.name)
        seconds = asyncio.get_running_loop().time() - started
        tell(f"tasks     {len(submitted)} submitted from examples/tasks.jsonl; ready after {seconds:.1f} s")
        async with working(host, App(host.world, stop), runs=1):
            await _follow(host, submitted, console, stop)
        report = await sum_up(host, submitted)
    for line in summary(report, layout, brain):
        tell(line)
    return report


def _local_model(layout: Layout) -> Any:
    try:
        model.weights()
    except model.NoModel as error:
        raise Failure(
            f"{error}: `bizq demo --model-url URL --model-name NAME` takes any server that speaks OpenAI's API, "
            "such as http://127.0.0.1:11434/v1"
        ) from None
    return model.running(layout.model_log)


def profiles(brain: Brain) -> dict[str, Any]:
    """The profiles of the examples; at another server the price is not ours to declare."""
    known: dict[str, Any] = json.loads((EXAMPLES / "profiles.json").read_text())
    if brain.url is not None:
        local = {"provider": MODEL_PROFILE["provider"], "base_url": brain.url}
        known[LOCAL_MODEL] = local | ({"key": brain.key} if brain.key else {})
    return known


async def _follow(host: Host, tasks: list[int], console: Console, stop: Stop) -> None:
    """Show how it goes until only people are waited for, or the time is over."""
    loop, clock, progress = asyncio.get_running_loop(), host.world.clock, Progress(console)
    until = loop.time() + LIMIT_S
    with progress.shown():
        while True:
            found = await _tasks(host, tasks)
            over = stop() or loop.time() >= until or all(settled(row) for row in found)
            progress.update(found, clock.now_ms(), last=over)
            if over:
                return
            await asyncio.sleep(LOOK_S)


async def _tasks(host: Host, tasks: list[int]) -> Sequence[Row]:
    return await host.world.rows(TASKS(tasks=json.dumps(tasks)))


async def sum_up(host: Host, tasks: list[int]) -> Report:
    """What became of these tasks."""
    costs = await host.world.rows(COSTS(tasks=json.dumps(tasks)))
    waiting = [one for one in await LocalDesk(host).inbox(None, None) if one["task_id"] in tasks]
    return Report(await _tasks(host, tasks), costs, waiting)


def summary(report: Report, layout: Layout, brain: Brain) -> list[str]:
    """For people: states, costs, and what to do next."""
    states = {
        name: sum(row["status"] == name for row in report.tasks)
        for name in ("completed", "waiting", "failed")
    }
    heads = ("organization", "provider", "executions", "cost", "at an unknown price", "reserved")
    costs = [
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
    lines = ["", table(("state", "tasks"), list(states.items())), "", table(heads, costs), ""]
    lines += [
        f"task {row['id']} failed: {row['reason']}"
        for row in report.tasks
        if row["status"] in ("failed", "cancelled")
    ]
    if report.unfinished:
        blocked = {str(row["blocked_by"]) for row in report.unfinished if row["blocked_by"]}
        why = f" (blocked by {', '.join(sorted(blocked))})" if blocked else ""
        lines.append(f"{len(report.unfinished)} tasks are not done{why}: the next run goes on with them")
    command = program()
    if report.waiting:
        lines.append("These wait for people:")
        for one in report.waiting:
            kind = "task" if one["kind"] == "human" else one["kind"]
            lines += [f"  {kind} {one['task_id']}, {one['title']}", f"    {one['link']}"]
        flag = "" if brain.url else " --model"
        lines.append(f"To answer them: {command} dev --data {layout.root}{flag}, then open a link.")
    last = report.tasks[0]["id"] if report.tasks else 1
    lines += [f"To look closer: {command} show {last} --data {layout.root}", ""]
    return lines


def program() -> str:
    """How to call this program again."""
    path = Path(sys.argv[0])
    return os.path.relpath(path) if path.name == "bizq" and path.is_file() else "bizq"
