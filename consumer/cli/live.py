"""The commands `status` and `watch`, which read how tasks stand.  They import little, and need no worker."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from consumer.cli.group import Failure
from consumer.cli.options import TASK, anywhere, say
from consumer.cli.target import command, no_data
from consumer.core import snapshot
from consumer.core.lifecycle import TASK_FINAL
from consumer.core.money import show
from consumer.core.policy import NEVER
from consumer.local.database import SqliteDatabase
from consumer.local.layout import Layout
from consumer.store import publish, queries

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.cli.target import Target

POLL_S: Final = 0.2
POLL_REMOTE_S: Final = 0.5


class Statuses(Protocol):
    """The live statuses of tasks."""

    def task(self, number: int) -> dict[str, Any]:
        """The live status of a task.  Raises Failure if there is no such task."""
        ...

    def counts(self) -> dict[str, Any]:
        """Tasks by status, their total, and whether older ones are not counted (`more`)."""
        ...

    def close(self) -> None: ...


def reader_at(target: Target) -> Statuses:
    """The statuses of a target.  Raises Failure."""
    if target.remote is None:
        return Reader(target.data)
    from consumer.cli.remote import Api, RemoteReader

    return RemoteReader(Api(target.remote))


class Reader:
    """The live statuses of a data directory, from its database."""

    def __init__(self, root: Path) -> None:
        layout = Layout(root)
        if not layout.database.exists():
            raise Failure(no_data(root))
        self.database = SqliteDatabase(layout.database)

    def task(self, number: int) -> dict[str, Any]:
        """The live status of a task.  Raises Failure if there is no such task."""
        rows = self.database.run([publish.SNAPSHOTS(tasks=json.dumps([number]))])[0].rows
        if not rows:
            raise Failure(f"no task {number}; {command('status')} counts the tasks of this data directory")
        return snapshot.snapshot(rows[0])

    def close(self) -> None:
        """Close the files."""
        self.database.close()

    def counts(self) -> dict[str, Any]:
        """All tasks of this machine by status."""
        rows = self.database.run([queries.COUNTS_ALL(most=NEVER)])[0].rows
        tasks = {str(row["status"]): int(row["tasks"] or 0) for row in rows}
        return {"total": sum(tasks.values()), "tasks": tasks, "more": False}


@click.command()
@click.argument("task", type=TASK, required=False)
@anywhere
def status(task: int | None, target: Target, *, as_json: bool) -> None:
    """Count the tasks, or show the live status of one."""
    with closing(reader_at(target)) as reader:
        if task is not None:
            value = reader.task(task)
            say(value, sentence(value), as_json=as_json)
            return
        counts = reader.counts()
    words = ", ".join(f"{count} {name}" for name, count in counts["tasks"].items())
    which = f"the newest {counts['total']} tasks" if counts["more"] else f"{counts['total']} tasks"
    say(counts, which + (f": {words}" if words else ""), as_json=as_json)


@click.command()
@click.argument("task", type=TASK)
@click.option("--timeout", type=click.FloatRange(0), help="Seconds after which to give up.")
@anywhere
def watch(task: int, timeout: float | None, target: Target, *, as_json: bool) -> int:
    """Follow a task until it has ended.  The exit code is 0 if it is completed."""
    until = None if timeout is None else time.monotonic() + timeout
    pause = POLL_S if target.remote is None else POLL_REMOTE_S
    seen = -1
    with closing(reader_at(target)) as reader:
        while True:
            value = reader.task(task)
            if value["version"] > seen:
                seen = value["version"]
                say(value, sentence(value), as_json=as_json)
            if value["status"] in TASK_FINAL:
                return int(value["status"] != "completed")
            if until is not None and time.monotonic() >= until:
                raise Failure(
                    f"task {task} is still {value['status']}: {command(f'show {task}')} explains why"
                )
            time.sleep(pause)


def sentence(value: dict[str, Any]) -> str:
    """One line about a task."""
    parts = [f"task {value['task']}: {value['status']}"]
    if value["profile"]:
        parts += [f"with {value['profile']}", f"stage {value['stage'] + 1}"]
        parts += [f"try {value['attempt'] + 1}"] if value["attempt"] else []
        parts.append(show(value["cost_micro"]) if value["cost_micro"] is not None else "cost not known yet")
    parts += [value["reason"]] if value["reason"] else []
    return ", ".join([*parts, str(value["updated_at"])])
