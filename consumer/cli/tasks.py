"""The commands about tasks: submit, show, cancel, retry, adopt, inbox."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from consumer.cli.desk import opened_at, organization, organization_id
from consumer.cli.group import Failure
from consumer.cli.options import TASK, anywhere, say, table
from consumer.core.errors import BadInput, Conflict, NotFound, Problem
from consumer.core.money import show as money
from consumer.core.strictjson import parse_json
from consumer.core.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from consumer.cli.desk import Desk
    from consumer.cli.options import Where

Lines = list[tuple[int, dict[str, Any]]]
"""Line numbers, and the tasks that stand there."""

_PLACE: Final = re.compile(r"^tasks\[(\d+)\]\.?(.*)$")
SHOWN_PROBLEMS: Final = 20


@contextmanager
def advised(where: Where, task: int, conflict: str) -> Iterator[None]:
    """Say what to do next about a task that is not there, or not in the right state."""
    try:
        yield
    except NotFound as error:
        there = "this key may see" if where.target else "is there, --data names another directory"
        raise Failure(f"{error}; `bizq status` counts what {there}") from None
    except Conflict as error:
        raise Failure(f"{error}; {conflict.format(task=task)}") from None


# ------------------------------------------------------------------------------------- submit


@click.command()
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--org", help="The organization, by id or name; lines that name another one are left out.")
@anywhere
def submit(file: TextIO, org: str | None, where: Where, *, as_json: bool) -> None:
    """Add the tasks of FILE (`-` is standard input), all or none.

    Each line is one task, a JSON object: template (id or name), title, and if wanted description, input, priority,
    assigned_to (a user's id or e-mail), due_date, run_at, idempotency_key, organization (id or name)."""
    lines = read_lines(file)
    done, others = asyncio.run(_submit(where, org, lines))
    made = sum(one["created"] for one in done)
    known = f", {len(done) - made} were there already" if made < len(done) else ""
    left = f", {others} lines are for other organizations" if others else ""
    ids = f": {done[0]['id']} to {done[-1]['id']}" if len(done) > 1 else f": {done[0]['id']}"
    say(done, f"{made} tasks submitted{known}{left}{ids}", as_json=as_json)


async def _submit(where: Where, org: str | None, lines: Lines) -> tuple[list[dict[str, Any]], int]:
    """Submit the lines, of one organization if one is named, and count those of others."""
    async with opened_at(where) as desk:
        mine = await _placed(desk, org, lines)
        numbers = [number for number, _ in mine]
        try:
            done = await desk.submit([item for _, item in mine])
        except BadInput as error:
            raise refused(located(error.problems, numbers)) from None
    return done, len(lines) - len(mine)


async def _placed(desk: Desk, org: str | None, lines: Lines) -> Lines:
    """The lines that are meant, each with its organization.  Raises Failure, NotFound."""
    if org is None and all(item.get("organization") is not None for _, item in lines):
        return lines
    meant = await organization(desk, org)
    names = {meant["name"], meant["id"], str(meant["id"])}
    mine = [
        (number, {**item, "organization": meant["id"]})
        if item.get("organization") is None or item["organization"] in names
        else (number, item)
        for number, item in lines
    ]
    if org is None:
        return mine
    mine = [(number, item) for number, item in mine if item["organization"] == meant["id"]]
    if not mine:
        there = ", ".join(sorted({str(item["organization"]) for _, item in lines}))
        raise Failure(f"no line is for organization {org}: the lines name {there}")
    return mine


def read_lines(file: Iterable[str]) -> Lines:
    """The objects of a file with their line numbers; blank lines are left out.  Raises Failure."""
    read: Lines = []
    problems: list[Problem] = []
    try:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = parse_json(line)
            except BadInput as error:
                problems.append(Problem(f"line {number}", str(error)))
                continue
            if isinstance(value, dict):
                read.append((number, value))
            else:
                problems.append(Problem(f"line {number}", "a task is a JSON object"))
    except UnicodeDecodeError as error:
        raise Failure(f"the file is not UTF-8 text: {error}") from None
    if problems:
        raise refused(problems)
    if not read:
        raise Failure("the file has no tasks: each line is one, as a JSON object")
    return read


def located(problems: Iterable[Problem], numbers: list[int]) -> list[Problem]:
    """The same problems, with line numbers in place of positions."""
    placed = []
    for problem in problems:
        found = _PLACE.match(problem.field)
        if found is None and len(numbers) > 1:
            placed.append(problem)
            continue
        number = numbers[int(found[1])] if found else numbers[0]
        field = found[2] if found else problem.field
        placed.append(Problem(f"line {number}: {field}" if field else f"line {number}", problem.message))
    return placed


def refused(problems: list[Problem]) -> Failure:
    """Nothing was submitted, for these reasons."""
    first, more = problems[:SHOWN_PROBLEMS], len(problems) - SHOWN_PROBLEMS
    said = [*first, *([Problem("", f"and {more} more")] if more > 0 else [])]
    return Failure(
        "nothing was submitted", [*said, Problem("", "nothing was submitted: correct this and submit again")]
    )


# ------------------------------------------------------------------------------------- one task


@click.command()
@click.argument("task", type=TASK)
@anywhere
def show(task: int, where: Where, *, as_json: bool) -> None:
    """All that happened to a task, and in one sentence why it is not running."""

    async def run() -> dict[str, Any]:
        async with opened_at(where) as desk:
            with advised(where, task, ""):
                return await desk.history(task)

    found = asyncio.run(run())
    say(found, describe(found), as_json=as_json)


def describe(found: dict[str, Any]) -> str:
    """A task's history for people."""
    task = found["task"]
    template = task["template_name"] or task["template_id"]
    whose = f"template {template}, organization {task['organization_id']}, priority {task['priority']}"
    parts = [
        f"task {task['id']}: {task['title']}",
        f"{task['status']} since {task['updated_at']}, {whose}",
        found["why"],
    ]
    if found["executions"]:
        heads = ("execution", "stage", "kind", "with", "status", "started", "ended", "cost", "reason")
        rows = [
            (
                one["id"],
                one["stage"] + 1,
                one["execution_type"],
                one["profile"] or one["provider"],
                one["status"],
                one["started_at"],
                one["completed_at"],
                money(one["cost_micro"]) if one["cost_micro"] is not None else None,
                one["reason"],
            )
            for one in found["executions"]
        ]
        parts += ["", table(heads, rows)]
    if found["audit"]:
        parts += [
            "",
            *(
                f"{one['at']}  {one['event']} by {one['actor']}  {one['detail'] or ''}".rstrip()
                for one in found["audit"]
            ),
        ]
    if task["result"] is not None:
        parts += ["", json.dumps(task["result"], ensure_ascii=False, indent=2)]
    return "\n".join(parts)


@click.command()
@click.argument("task", type=TASK)
@anywhere
def cancel(task: int, where: Where, *, as_json: bool) -> None:
    """End a task.  What is open at a provider is cancelled there; what it cost stays on the books."""

    async def run() -> dict[str, Any]:
        async with opened_at(where) as desk:
            with advised(where, task, "`bizq show {task}` has the result"):
                return await desk.cancel(task)

    say(asyncio.run(run()), f"task {task} is cancelled", as_json=as_json)


@click.command()
@click.argument("task", type=TASK)
@anywhere
def retry(task: int, where: Where, *, as_json: bool) -> None:
    """A new task like one that has ended."""

    async def run() -> dict[str, Any]:
        async with opened_at(where) as desk:
            with advised(where, task, "`bizq watch {task}` waits for its end, `bizq cancel {task}` ends it"):
                return await desk.retry(task)

    made = asyncio.run(run())
    what = "a new task like" if made["created"] else "already there, as the retry of"
    say(made, f"task {made['id']} is {what} task {task}", as_json=as_json)


# ------------------------------------------------------------------------------------- many tasks


@click.command()
@click.option("--org", help="Only this organization, by id or name.")
@anywhere
def adopt(org: str | None, where: Where, *, as_json: bool) -> None:
    """Let tasks run that are older than the installation."""

    async def run() -> dict[str, Any]:
        done = {"adopted": 0, "lacking": 0}
        async with opened_at(where) as desk:
            whose = None if org is None else await organization_id(desk, org)
            more = True
            while more:
                part = await desk.adopt(whose)
                more = part["more"]
                done = {name: count + part[name] for name, count in done.items()}
        return done

    done = asyncio.run(run())
    lacking = (
        f"; {done['lacking']} lack a route or an organization: `bizq doctor` says more"
        if done["lacking"]
        else ""
    )
    say(done, f"{done['adopted']} tasks may run now{lacking}", as_json=as_json)


@click.command()
@click.option("--org", help="Only this organization, by id or name.")
@click.option("--user", type=TASK, help="Only what this user may answer, by id.")
@anywhere
def inbox(org: str | None, user: int | None, where: Where, *, as_json: bool) -> None:
    """What waits for people, first things first, with the links to answer."""

    async def run() -> list[dict[str, Any]]:
        async with opened_at(where) as desk:
            return await desk.inbox(None if org is None else await organization_id(desk, org), user)

    waiting = asyncio.run(run())
    say(waiting, "\n".join(assignment(one) for one in waiting) or "nothing waits for people", as_json=as_json)


def assignment(one: dict[str, Any]) -> str:
    """Two lines about one that waits: what and for whom, then the link alone."""
    whom = f"user {one['assigned_to']}" if one["assigned_to"] else "anybody"
    until = f", until {iso(one['resolve_by_ms'])}" if one["resolve_by_ms"] else ""
    kind = "task" if one["kind"] == "human" else one["kind"]
    link = one["link"] or "no link: the key of a reader gets none"
    return f"{kind} {one['task_id']}: {one['title']} (for {whom}{until})\n  {link}"
