"""The commands of an operator: cost, tick, stop, resume, doctor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from consumer.cli.client import opened_at, organization_id
from consumer.cli.group import FAILED, Failure
from consumer.cli.host import OpenOptions
from consumer.cli.options import TASK, anywhere, say, table
from consumer.cli.target import command
from consumer.core.money import show
from consumer.core.times import iso
from consumer.run.schema import BrokenSchema
from consumer.store.queries import COSTS

if TYPE_CHECKING:
    from consumer.cli.target import Target

_MARKS: Final = {"ok": "ok", "warning": "warning", "error": "ERROR"}


@click.command()
@click.option(
    "--by",
    type=click.Choice(list(COSTS)),
    default="profile",
    show_default=True,
    help="The group that each sum is for.",
)
@click.option("--org", help="Only for this organization, by id or name.")
@click.option("--since", help="Only executions from this time on, in ISO-8601.")
@click.option(
    "--cursor", type=TASK, help="Continue with older tasks, from the number that the command printed."
)
@anywhere
def cost(
    by: str, org: str | None, since: str | None, cursor: int | None, target: Target, *, as_json: bool
) -> None:
    """The costs of executions, including failed and late ones, of the newest 50,000 tasks.

    `estimated (bound)` is the part of the cost that is a maximum, because the provider did not report the real cost.
    `cost unknown` counts executions without a known cost; their reservations are in `still reserved`."""

    async def run() -> dict[str, Any]:
        async with opened_at(target) as client:
            owner = None if org is None else await organization_id(client, org)
            return await client.costs(owner, by, since, cursor)

    page = asyncio.run(run())
    found = page["costs"]
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
    heads = (by, "executions", "cost", "estimated (bound)", "cost unknown", "still reserved")
    value = {**page, "total_micro": total}
    older = (
        f"\nOlder tasks are not included: --cursor {page['cursor']} adds them up" if page["cursor"] else ""
    )
    say(value, f"{table(heads, rows)}\ntotal {show(total)}{older}", as_json=as_json)


_SWEPT: Final = {
    "leases": "expired leases repaired",
    "raised": "tasks raised",
    "ended": "ended",
    "unblocked": "unblocked",
    "alerts": "alerts",
    "due": "due",
    "rung": "doorbells sent",
}


@click.command()
@anywhere
def tick(target: Target, *, as_json: bool) -> None:
    """Do once what cron does every minute: repair and unblock tasks, end overdue ones, ring a doorbell for due ones."""

    async def run() -> dict[str, Any]:
        async with opened_at(target) as client:
            try:
                return await client.tick()
            except BrokenSchema as error:
                raise Failure(f"{error}: run {command('doctor')} to diagnose") from None

    swept = asyncio.run(run())
    say(swept, ", ".join(f"{swept[name]} {words}" for name, words in _SWEPT.items()), as_json=as_json)


@click.command()
@click.argument("reason")
@anywhere
def stop(reason: str, target: Target, *, as_json: bool) -> None:
    """Stop all spending immediately: no worker begins an execution until `bizq resume`.  `bizq show` quotes REASON.

    Calls in flight end and are recorded, and people can still answer."""

    async def run() -> dict[str, Any]:
        async with opened_at(target) as client:
            return await client.stop(reason)

    stopped = asyncio.run(run())
    say(stopped, f"stopped since {iso(stopped['at_ms'])}: {stopped['reason']}", as_json=as_json)


@click.command()
@anywhere
def resume(target: Target, *, as_json: bool) -> None:
    """Continue after `bizq stop`."""

    async def run() -> bool:
        async with opened_at(target) as client:
            return await client.resume()

    resumed = asyncio.run(run())
    say({"resumed": resumed}, "work continues" if resumed else "there was no stop", as_json=as_json)


@click.command()
@click.option("--probe", is_flag=True, help="Ask each provider too, by its cheapest request.")
@anywhere
def doctor(target: Target, *, probe: bool, as_json: bool) -> int:
    """Check everything that the worker depends on.  The exit code is 0 if it can work.

    With --probe, it sends one request for each profile, and reports which of them answer, refuse the key, have no money
    left, do not list a model of a template, or are slow."""

    async def run() -> list[dict[str, Any]]:
        async with opened_at(target, OpenOptions(migrated=False, accounts=True, network=probe)) as client:
            return await client.examine(probe=probe)

    findings = asyncio.run(run())
    lines = [
        f"{_MARKS[finding['level']]:8} {finding['what']}"
        + (f": {finding['advice']}" if finding["advice"] else "")
        for finding in findings
    ]
    say(findings, "\n".join(lines), as_json=as_json)
    return FAILED if any(finding["level"] == "error" for finding in findings) else 0
