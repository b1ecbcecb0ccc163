"""The commands about tasks: submit, show, adopt, inbox.  `change` has those that change tasks."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from consumer.cli.client import opened_at, organization, organization_id
from consumer.cli.group import Failure
from consumer.cli.options import TASK, anywhere, say, table
from consumer.cli.target import command
from consumer.core.errors import BadInput, Conflict, NotFound, Problem
from consumer.core.money import show as money
from consumer.core.strictjson import parse_json
from consumer.core.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from consumer.cli.client import Client
    from consumer.cli.target import Target

Lines = list[tuple[int, dict[str, Any]]]
"""Tasks with the numbers of their lines."""

_PLACE: Final = re.compile(r"^tasks\[(\d+)\]\.?(.*)$")
MAX_UNUSED_CHARS: Final = 500
"""Characters of an unused answer that `show` prints; `--json` prints all of it."""
SHOWN_PROBLEMS: Final = 20


@contextmanager
def advised(target: Target, conflict: str = "") -> Iterator[None]:
    """Add the next step to the error of a task that does not exist, or is not in the right state."""
    try:
        yield
    except NotFound as error:
        shown = "the tasks that this key may see" if target.remote else "the tasks of this data directory"
        raise Failure(f"{error}; {command('status')} counts {shown}") from None
    except Conflict as error:
        raise Failure(f"{error}; {conflict}" if conflict else str(error)) from None


# ------------------------------------------------------------------------------------- submit


@click.command()
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.option("--org", help="The organization, by id or name.  Lines that name another one are skipped.")
@anywhere
def submit(file: TextIO, org: str | None, target: Target, *, as_json: bool) -> None:
    """Add the tasks of FILE (`-` is standard input), all or none.

    Each line is one task, a JSON object.  Required: template (id or name), title.  Optional: description, input,
    priority, assigned_to (a user's id or e-mail), due_date, deadline, run_at, idempotency_key, organization (id or
    name)."""
    lines = read_lines(file)
    submitted, skipped = asyncio.run(_submit(target, org, lines))
    created = sum(task["created"] for task in submitted)
    existing = f", {len(submitted) - created} existed already" if created < len(submitted) else ""
    others = f", {skipped} lines of other organizations skipped" if skipped else ""
    last = f" to {submitted[-1]['id']}" if len(submitted) > 1 else ""
    say(
        submitted,
        f"{created} tasks submitted{existing}{others}: {submitted[0]['id']}{last}",
        as_json=as_json,
    )


async def _submit(target: Target, org: str | None, lines: Lines) -> tuple[list[dict[str, Any]], int]:
    """Submit the lines, or only those of the organization `org`, and count the lines that are skipped."""
    async with opened_at(target) as client:
        chosen = await _placed(client, org, lines)
        numbers = [number for number, _ in chosen]
        try:
            submitted = await client.submit([item for _, item in chosen])
        except BadInput as error:
            raise refused(located(error.problems, numbers)) from None
    return submitted, len(lines) - len(chosen)


async def _placed(client: Client, org: str | None, lines: Lines) -> Lines:
    """The lines to submit, each with its organization.  Raises Failure, NotFound."""
    if org is None and all(item.get("organization") is not None for _, item in lines):
        return lines
    owner = await organization(client, org)
    names = {owner["name"], owner["id"], str(owner["id"])}
    placed = [
        (number, {**item, "organization": owner["id"]})
        if item.get("organization") is None or item["organization"] in names
        else (number, item)
        for number, item in lines
    ]
    if org is None:
        return placed
    chosen = [(number, item) for number, item in placed if item["organization"] == owner["id"]]
    if not chosen:
        named = ", ".join(sorted({str(item["organization"]) for _, item in lines}))
        raise Failure(f"no line is for organization {org}: the lines name {named}")
    return chosen


def read_lines(file: Iterable[str]) -> Lines:
    """The JSON objects of a file with their line numbers, without blank lines.  Raises Failure."""
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
                problems.append(Problem(f"line {number}", "a task must be a JSON object"))
    except UnicodeDecodeError as error:
        raise Failure(f"the file is not UTF-8 text: {error}") from None
    if problems:
        raise refused(problems)
    if not read:
        raise Failure("the file has no tasks: write one JSON object per line")
    return read


def located(problems: Iterable[Problem], numbers: list[int]) -> list[Problem]:
    """The same problems, with line numbers in place of positions in the request."""
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
    """The error that nothing was submitted, with the first of its reasons."""
    shown, more = problems[:SHOWN_PROBLEMS], len(problems) - SHOWN_PROBLEMS
    if more > 0:
        shown.append(Problem("", f"and {more} more"))
    return Failure(
        "nothing was submitted", [*shown, Problem("", "nothing was submitted: correct this and submit again")]
    )


# ------------------------------------------------------------------------------------- one task


@click.command()
@click.argument("task", type=TASK)
@anywhere
def show(task: int, target: Target, *, as_json: bool) -> None:
    """Everything that happened to a task, and in one sentence why it is not running."""

    async def run() -> dict[str, Any]:
        async with opened_at(target) as client:
            with advised(target):
                return await client.history(task)

    found = asyncio.run(run())
    say(found, describe(found), as_json=as_json)


def describe(found: dict[str, Any]) -> str:
    """The history of a task, for people."""
    task = found["task"]
    template = task["template_name"] or task["template_id"]
    facts = f"template {template}, organization {task['organization_id']}, priority {task['priority']}"
    parts = [
        f"task {task['id']}: {task['title']}",
        f"{task['status']} since {task['updated_at']}, {facts}",
        found["why"],
    ]
    if found["executions"]:
        heads = ("execution", "stage", "kind", "with", "status", "started", "ended", "cost", "reason")
        rows = [
            (
                execution["id"],
                execution["stage"] + 1,
                execution["execution_type"],
                execution["profile"] or execution["provider"],
                execution["status"],
                execution["started_at"],
                execution["completed_at"],
                money(execution["cost_micro"]) if execution["cost_micro"] is not None else None,
                execution["reason"],
            )
            for execution in found["executions"]
        ]
        parts += ["", table(heads, rows)]
    for execution in found["executions"]:
        if execution["used"] is False:
            answer = json.dumps(execution["result"], ensure_ascii=False)
            parts.append(
                f"execution {execution['id']} answered, which was not used: {answer[:MAX_UNUSED_CHARS]}"
            )
    if found["audit"]:
        parts += [
            "",
            *(
                f"{entry['at']}  {entry['event']} by {entry['actor']}  {entry['detail'] or ''}".rstrip()
                for entry in found["audit"]
            ),
        ]
    if task["result"] is not None:
        parts += ["", json.dumps(task["result"], ensure_ascii=False, indent=2)]
    return "\n".join(parts)


# ------------------------------------------------------------------------------------- many tasks


@click.command()
@click.option("--org", help="Only tasks of this organization, by id or name.")
@anywhere
def adopt(org: str | None, target: Target, *, as_json: bool) -> None:
    """Let tasks run that are older than the installation."""

    async def run() -> dict[str, Any]:
        done = {"adopted": 0, "lacking": 0}
        async with opened_at(target) as client:
            owner = None if org is None else await organization_id(client, org)
            more = True
            while more:
                part = await client.adopt(owner)
                more = part["more"]
                done = {name: count + part[name] for name, count in done.items()}
        return done

    done = asyncio.run(run())
    lacking = (
        f"; {done['lacking']} have no route or no organization: run {command('doctor')} to diagnose"
        if done["lacking"]
        else ""
    )
    say(done, f"{done['adopted']} tasks may run now{lacking}", as_json=as_json)


@click.command()
@click.option("--org", help="Only tasks of this organization, by id or name.")
@click.option("--user", type=TASK, help="Only assignments that this user may answer, by id.")
@anywhere
def inbox(org: str | None, user: int | None, target: Target, *, as_json: bool) -> None:
    """The assignments that wait for people, the highest rank first, each with the link to its form."""

    async def run() -> list[dict[str, Any]]:
        async with opened_at(target) as client:
            return await client.inbox(None if org is None else await organization_id(client, org), user)

    waiting = asyncio.run(run())
    lines = "\n".join([*map(assignment, waiting), f"{len(waiting)} wait"] if waiting else [])
    say(waiting, lines or "nothing waits for people", as_json=as_json)


def assignment(entry: dict[str, Any]) -> str:
    """Two lines about an assignment: the task and its person, then the link alone."""
    person = f"user {entry['assigned_to']}" if entry["assigned_to"] else "anyone in the organization"
    until = f", until {iso(entry['resolve_by_ms'])}" if entry["resolve_by_ms"] else ""
    kind = "task" if entry["kind"] == "human" else entry["kind"]
    link = entry["link"] or "no link: a reader's key gets none"
    return f"{kind} {entry['task_id']}: {entry['title']} (for {person}{until})\n  {link}"
