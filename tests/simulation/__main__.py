"""`python -m tests.simulation`: simulate seeds, or replay one with its timeline."""

# ruff: noqa: T201  # a command prints

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from pathlib import Path

from tests.simulation import journal
from tests.simulation.shrink import command, shrink
from tests.simulation.simulation import Plan, Report, seldom_collecting, simulate, summarize
from tests.simulation.summary import Summary
from tests.simulation.timeline import lines

PROCESSES = 2
LOGGED = 50
"""A log gets one line for this number of seeds."""


def main() -> int:
    """Return 0 if every invariant held."""
    given = _arguments()
    if given.journal is not None:
        return _journal(given.journal)
    if given.seed is not None:
        return _replay(given)
    ignore = frozenset(given.ignore)
    plans = [Plan(given.first + number, given.tasks, ignore=ignore) for number in range(given.seeds)]
    began = time.monotonic()
    sums = Summary()
    violated: list[Report] = []
    with multiprocessing.get_context("spawn").Pool(PROCESSES, seldom_collecting) as pool:
        for number, report in enumerate(pool.imap(summarize, plans, chunksize=2), start=1):
            sums.add(report)
            if report.violation is not None:
                violated.append(report)
                print(f"\n{command(report.plan)}\n    {report.violation}", flush=True, file=sys.stderr)
            _progress(number, len(plans), sums.events, sums.days, len(violated), time.monotonic() - began)
    print("", *sums.lines(), sep="\n")
    if given.coverage == Path("-"):
        print(sums.page())
    elif given.coverage is not None:
        given.coverage.write_text(sums.page(), encoding="utf-8")
    for report in violated:
        print(f"{command(report.plan)}\n    {report.violation}")
    if violated:
        _explain(violated[0].plan)
    print(f"violations: {len(violated)}")
    return 1 if violated else 0


def _progress(done: int, of: int, events: int, days: float, violations: int, seconds: float) -> None:
    words = f"{done}/{of} seeds, {events:,} events, {days:.0f} days, {violations} violations, {seconds:.0f} s"
    if sys.stderr.isatty():
        print(f"\r{words}", end="", flush=True, file=sys.stderr)
    elif done % LOGGED == 0:  # a log keeps every line, a terminal overwrites it
        print(words, flush=True, file=sys.stderr)


def _replay(given: argparse.Namespace) -> int:
    only = None if given.only is None else frozenset(filter(None, given.only.split(",")))
    plan = Plan(given.seed, given.tasks, only=only, ignore=frozenset(given.ignore))
    report = simulate(plan)
    print("\n".join(lines(report)))
    if report.violation and only is None:
        _explain(plan)
    return 1 if report.violation else 0


def _journal(path: Path) -> int:
    """Check that the exported events of a running system lead to the exported row of its task."""
    entries = journal.read(path.read_text(encoding="utf-8"))
    print("\n".join(journal.words(one) for one in entries))
    found = journal.replay(entries)
    print(f"{len(entries)} lines, disagreements: {len(found)}", *found, sep="\n  ")
    return 1 if found else 0


def _explain(plan: Plan) -> None:
    """Print the shortest schedule that still violates the invariant."""
    print(f"\nshrinking seed {plan.seed} ...", flush=True)
    small, report = shrink(plan)
    print("\n".join(lines(report)))
    print(f"\nreplay with: {command(small)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one and show its timeline")
    parser.add_argument("--journal", type=Path, help="replay an export of `bizq journal`")
    parser.add_argument(
        "--coverage",
        type=Path,
        nargs="?",
        const=Path("-"),
        help="print which edges met which faults, or write it to this page",
    )
    parser.add_argument("--tasks", type=int, default=100, help="tasks for each seed")
    parser.add_argument("--only", help="the accidents that may happen: kill:3,database.after:5")
    parser.add_argument("--ignore", nargs="*", default=[], help="invariants that are not checked")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
