"""`python -m tests.chaos`: kill real processes under load, with outages, and compare the
books.  Exits with 0 without violations."""

# ruff: noqa: T201  # a command prints

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from tests.chaos import local, runtime
from tests.chaos.books import dollars
from tests.chaos.local import Outcome, Plan
from tests.chaos.outages import AWAY, LOCKED, PROVIDER


def _outages(kind: str, one: Outcome) -> int:
    return one.outages.get(kind, 0)


OUTAGES: Final = {
    **{f"provider {kind}" if kind != "503" else "provider answers 503": kind for kind in PROVIDER},
    **{kind: kind for kind in (*LOCKED, *AWAY)},
}
ROWS: Final[tuple[tuple[str, Callable[[Outcome], object]], ...]] = (
    ("kills (SIGKILL)", lambda one: one.kills),
    ("frozen beyond their leases (SIGSTOP)", lambda one: one.freezes),
    *((title, partial(_outages, kind)) for title, kind in OUTAGES.items()),
    ("tasks", lambda one: one.books.tasks),
    ("  completed", lambda one: one.books.completed),
    ("  failed", lambda one: one.books.failed),
    ("  of those given up: three workers lost", lambda one: one.books.given_up),
    ("executions", lambda one: one.books.executions),
    ("tasks lost", lambda one: one.books.lost),
    ("double successes", lambda one: one.books.double_successes),
    ("executions sent twice", lambda one: one.books.sent_twice),
    ("answers of another task", lambda one: one.books.wrong_answers),
    ("live statuses behind", lambda one: one.books.statuses_behind),
    ("invariants broken", lambda one: len(one.books.untrue)),
    ("PRAGMA integrity_check", lambda one: one.books.integrity),
    ("the provider's ledger", lambda one: dollars(one.books.ledger)),
    ("recorded cost", lambda one: dollars(one.books.recorded)),
    ("  where there was evidence: difference", lambda one: f"{one.books.difference / 1e6:.2f}"),
    ("  resolved without: charged bound", lambda one: dollars(one.books.bound)),
    ("    true charge", lambda one: dollars(one.books.truth)),
    ("    difference", lambda one: dollars(one.books.bound - one.books.truth)),
    ("overspend", lambda one: f"{one.books.overspent / 1e6:.2f}"),
    ("seconds", lambda one: f"{one.seconds:.0f}"),
)


def main() -> int:
    """Return 0 if no run had a violation."""
    given = _arguments()
    runs = {
        "local": (local.run, Plan(given.kills, given.seed)),
        "no look-up": (local.run, Plan(given.blind_kills, given.seed, "blind-ledgered")),
        "workerd": (runtime.run, Plan(given.workerd_kills, given.seed)),
    }
    done: dict[str, Outcome] = {}
    for name, (run, plan) in runs.items():
        if plan.kills:
            with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
                done[name] = run(plan, Path(directory), _progress(name))
    print(_table(done))
    problems = [f"{name}: {problem}" for name, one in done.items() for problem in one.problems]
    print(*problems, f"violations: {len(problems)}", sep="\n")
    return 1 if problems else 0


def _progress(name: str) -> Callable[[str], None]:
    """Print progress to standard error from time to time."""
    began = last = time.monotonic()

    def say(words: str) -> None:
        nonlocal last
        if time.monotonic() - last >= 2:
            last = time.monotonic()
            print(f"{name}, {last - began:.0f} s: {words}", flush=True, file=sys.stderr)

    return say


def _table(done: dict[str, Outcome]) -> str:
    lines = [["", *done], *([title, *(str(show(one)) for one in done.values())] for title, show in ROWS)]
    return "\n".join(f"{line[0]:42}" + "".join(f"{cell:>14}" for cell in line[1:]) for line in lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of the local host; 0 leaves a run out")
    parser.add_argument("--blind-kills", type=int, default=40, help="with a provider without look-up")
    parser.add_argument("--workerd-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
