"""The commands of whoever runs it: cost, tick, doctor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from consumer.app import BrokenSchema
from consumer.cli.desk import opened_at, organization_id
from consumer.cli.group import FAILED, Failure
from consumer.cli.host import Wanted
from consumer.cli.options import anywhere, say, table
from consumer.core.money import show
from consumer.core.times import iso
from consumer.store.queries import COSTS

if TYPE_CHECKING:
    from consumer.cli.options import Where

_MARKS: Final = {"ok": "ok", "warning": "warning", "error": "ERROR"}


@click.command()
@click.option(
    "--by", type=click.Choice(list(COSTS)), default="profile", show_default=True, help="What to add up for."
)
@click.option("--org", help="Only this organization, by id or name.")
@click.option("--since", help="Only executions from this time on, in ISO-8601.")
@anywhere
def cost(by: str, org: str | None, since: str | None, where: Where, *, as_json: bool) -> None:
    """What executions cost, failed and late ones too."""

    async def run() -> list[dict[str, Any]]:
        async with opened_at(where) as desk:
            return await desk.costs(None if org is None else await organization_id(desk, org), by, since)

    found = asyncio.run(run())
    total = sum(row["cost_micro"] for row in found)
    rows = [
        (
            row["key"],
            row["executions"],
            show(row["cost_micro"]),
            show(row["bound_micro"]),
            row["unknown"],
            show(row["reserved_micro"]),
        )
        for row in found
    ]
    heads = (by, "executions", "cost", "of it a bound", "at an unknown price", "still reserved")
    value = {"by": by, "costs": found, "total_micro": total}
    say(value, f"{table(heads, rows)}\ntotal {show(total)}", as_json=as_json)


@click.command()
@anywhere
def tick(where: Where, *, as_json: bool) -> None:
    """Do once what cron does every minute: repair, unblock, end what is overdue, ring for what is due."""

    async def run() -> dict[str, Any]:
        async with opened_at(where) as desk:
            try:
                return await desk.tick()
            except BrokenSchema as error:
                raise Failure(f"{error}: `bizq doctor` looks into it") from None

    swept = asyncio.run(run())
    say(swept, ", ".join(f"{count} {name}" for name, count in swept.items()), as_json=as_json)


@click.command()
@click.argument("reason")
@anywhere
def stop(reason: str, where: Where, *, as_json: bool) -> None:
    """Stop all spending at once: no worker begins anything until `bizq resume`.  REASON is shown to who asks why.

    What is in flight ends and is recorded; people may go on answering."""

    async def run() -> dict[str, Any]:
        async with opened_at(where) as desk:
            return await desk.stop(reason)

    stopped = asyncio.run(run())
    say(stopped, f"stopped since {iso(stopped['at_ms'])}: {stopped['reason']}", as_json=as_json)


@click.command()
@anywhere
def resume(where: Where, *, as_json: bool) -> None:
    """Go on after `bizq stop`."""

    async def run() -> bool:
        async with opened_at(where) as desk:
            return await desk.resume()

    resumed = asyncio.run(run())
    say({"resumed": resumed}, "work goes on" if resumed else "nothing was stopped", as_json=as_json)


@click.command()
@anywhere
def doctor(where: Where, *, as_json: bool) -> int:
    """Check everything that the worker stands on.  The exit code is 0 when it can work."""

    async def run() -> list[dict[str, Any]]:
        async with opened_at(where, Wanted(migrated=False)) as desk:
            return await desk.examine()

    findings = asyncio.run(run())
    lines = [
        f"{_MARKS[one['level']]:8} {one['what']}" + (f": {one['advice']}" if one["advice"] else "")
        for one in findings
    ]
    say(findings, "\n".join(lines), as_json=as_json)
    return FAILED if any(one["level"] == "error" for one in findings) else 0
