"""The command `restore`, for after the database was restored to an earlier time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.client import opened_at
from consumer.cli.host import OpenOptions
from consumer.cli.options import anywhere, say, table
from consumer.cli.target import command
from consumer.core.money import show
from consumer.core.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumer.cli.target import Target

_FOUND_BY = {
    "lookup": "before a call is repeated, the worker asks for it by its key",
    "key": "the worker repeats each call under its old key",
    None: "compare with the provider's records: such a call may be paid twice",
}


@click.command()
@click.option(
    "--revoke",
    required=True,
    help="API keys to revoke: `all` except the one of this command, `none`, or ids with commas between them.",
)
@click.option(
    "--above",
    type=click.IntRange(1),
    help="The highest task id that was ever given out.  Without it, ids go on a million higher.",
)
@anywhere
def restore(revoke: str, above: int | None, target: Target, *, as_json: bool) -> None:
    """Finish a restore of the database to an earlier time.  docs/deploy.md has the steps before and after.

    It stops all spending until `bizq resume`, keeps ids and versions from being used twice, and shows what went back:
    keys, budgets, calls that may be repeated."""
    named = revoke if revoke in ("all", "none") else [key.strip() for key in revoke.split(",")]

    async def run() -> dict[str, Any]:
        async with opened_at(target, OpenOptions(accounts=True)) as client:
            done = part = await client.restore({"revoke": named, "above": above})
            while part["next"] is not None:
                part = await client.restore({"revoke": named, "above": above, "after": part["next"]})
                done = _together(done, part)
            return done

    done = asyncio.run(run())
    say(done, "\n".join(_lines(done)), as_json=as_json)


def _together(before: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """The answers of two requests as one."""
    calls = {line["profile"]: line for line in before["calls"]}
    for line in part["calls"]:
        known = calls.setdefault(line["profile"], {**line, "tasks": 0})
        calls[line["profile"]] = {**known, "tasks": known["tasks"] + line["tasks"]}
    return {
        **part,
        "tasks": before["tasks"] + part["tasks"],
        "calls": list(calls.values()),
        "revoked": before["revoked"],
    }


def _lines(done: dict[str, Any]) -> Iterator[str]:
    yield f"The newest task that the database knows was made {done['newest_task'] or '(there is none)'}."
    yield f"{done['tasks']} unfinished tasks have a new version, and {done['executions']} executions are open."
    for line in done["calls"]:
        yield f"  {line['tasks']} tasks go to {line['profile'] or 'no profile'} next: {_FOUND_BY[line['found_by']]}"
    for line in done["ids"]:
        if line["reused"]:
            yield f"Table {line['table']} has no AUTOINCREMENT: it may give an id out again."
        else:
            yield f"The next id in {line['table']} is {line['next']} or higher."
    yield f"Revoked: {', '.join(done['revoked']) or 'no key'}.  These keys work:"
    keys = [
        (key["id"], key["role"], key["organization_id"] or "all", iso(key["created_ms"]))
        for key in done["keys"]
    ]
    yield table(("key", "role", "organization", "created"), keys)
    yield "Budgets are as they were then, and do not know what was spent since:"
    budgets = [
        (
            budget["id"],
            f"{budget['scope']} {budget['scope_id']}",
            budget["period"],
            show(budget["cap_micro"]),
            show(budget["spent_micro"] or 0),
        )
        for budget in done["budgets"]
    ]
    yield table(("budget", "of", "period", "cap", "spent"), budgets)
    yield f"All spending is stopped: {command('resume')} lets work continue."
