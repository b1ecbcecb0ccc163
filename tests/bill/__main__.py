"""Prints the bill: `make bill`."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Column, Table

from tests.bill import naive, speed
from tests.bill.aims import AIMS, DOLLARS, DOLLARS_OTHERWISE, above
from tests.bill.measure import BUDGET, ECHO, INSTANT, SLOW, Measured, drain, opened, run
from tests.bill.prices import PRICES
from tests.bill.usage import Usage, by_statement

COUNTS = (
    "rows_written", "rows_read", "kv_writes", "queue_operations", "requests", "cpu_ms", "trips", "subrequests",
    "r2_writes", "log_events",
)  # fmt: skip
SQL_CHARACTERS = 70
WHY = {
    "rows_read": "6 cents a million; docs/decisions/0007-rows-read.md",
    "trips": "calls that did not end together were settled apart",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--slow-tasks", type=int, default=100)
    parser.add_argument("--statements", action="store_true", help="also print what each SQL statement costs")
    arguments = parser.parse_args()
    console = Console(width=170)

    with console.status("batches of 10"), opened(10) as deployed:
        tens = [run(deployed, kind, arguments.tasks, 10) for kind in (INSTANT, ECHO, BUDGET)]
        slow = run(deployed, SLOW, arguments.slow_tasks, 10)
        drained = drain(deployed, INSTANT, arguments.tasks, 10)
        plain = naive.measure(deployed.worker.database("DB"))
    with console.status("batches of 100"), opened(100) as deployed:
        hundreds = run(deployed, INSTANT, arguments.tasks, 100)
    with console.status("speed"), opened(10, live=True) as deployed:
        fast = speed.measure(deployed, arguments.tasks)

    console.print(prices())
    console.print(bill([*tens, slow, hundreds, drained], plain))
    within, otherwise = tens[0].each, slow.each
    console.print(apart(tens[0], drained))
    if arguments.statements:
        console.print(statements(tens[0]))
    for name, (used, aim) in above(within).items():
        console.print(f"above its aim: {used:.2f} {name} a task, aim {aim:g}; {WHY.get(name, '')}")
    console.print(f"aims: ${DOLLARS:.2f} within a second, ${DOLLARS_OTHERWISE:.2f} otherwise")
    console.print(
        f"through workerd here: {fast.no_op:,.0f} no-op tasks/s, {fast.delayed:,.0f} tasks of 50 ms/s; from send to"
        f" start {fast.p50_ms:.0f} ms (p50), {fast.p95_ms:.0f} ms (p95), without the queue's wait for company"
    )
    console.print(
        f"bill: ${within.dollars():.2f} per million tasks within a second, ${otherwise.dollars():.2f} otherwise"
    )


def prices() -> Table:
    """The list prices with their sources."""
    table = Table("unit", "$ per million", "source", "read")
    for price in PRICES.values():
        table.add_row(price.unit, f"{price.per_million:g}", price.source, price.read)
    return table


def bill(rows: list[Measured], plain: Usage) -> Table:
    """The counts for each task, and their sum for a million."""
    table = Table(
        Column("for each task", no_wrap=True), *(name.replace("_", " ") for name in COUNTS), "$ per million"
    )
    for one in rows:
        rung = one.work.queue_operations / 3
        doorbells = "" if rung == one.count else f"; {rung:g} doorbells in all"
        table.add_row(f"{one.kind.name}; batches of {one.batch}{doorbells}", *_cells(one.each))
    table.add_row("written naively, CPU left out", *_cells(plain))
    table.add_row("aim, within a second", *(f"{AIMS[name]:g}" if name in AIMS else "" for name in COUNTS))
    table.caption = (
        "From doorbell to final status.  Rows as D1 reports them.  CPU of workerd with D1, KV and Queues"
        " in it: too much.  R2 and logs are not in the sum.  Naively: tests/bill/naive.py."
    )
    return table


def _cells(each: Usage) -> list[str]:
    return [*(f"{getattr(each, name):.2f}" for name in COUNTS), f"{each.dollars():.2f}"]


def apart(one: Measured, several: Measured) -> Table:
    """The table of usage outside of the sum."""
    table = Table("lines of their own", "$ per million tasks")
    table.add_row("submitted one by one over HTTP, without the doorbell", f"{one.submission.dollars():.2f}")
    table.add_row(f"submitted {several.count} at a time", f"{several.submission.dollars():.2f}")
    table.add_row("logs: one line for a task, one for an invocation", f"{one.each.dollars('log_events'):.2f}")
    table.add_row("R2: a result of more than 64 KB", f"{Usage(r2_writes=1).dollars('r2_writes'):.2f}")
    return table


def statements(one: Measured) -> Table:
    """The usage of each SQL text for one task."""
    table = Table("statement", "runs", "rows read", "rows written")
    for sql, used in by_statement(one.events).items():
        text = " ".join(sql.split())[:SQL_CHARACTERS]
        table.add_row(text, *(f"{value / one.count:.2f}" for value in (used.count, used.read, used.written)))
    return table


if __name__ == "__main__":
    main()
