"""`python -m tests.fuzz`: hostile input in large numbers.  Exits with 0 if every invariant held."""

# ruff: noqa: T201  # a command prints

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from typing import Final

from tests.fuzz.parts import Done, parts, run
from tests.fuzz.targets import TARGETS

PROCESSES: Final = 2


def main() -> int:
    """Return 0 if every invariant held."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    jobs = [job for number in range(len(TARGETS)) for job in parts(number, given.count, given.seed)]
    began, tried, broken = time.monotonic(), [0] * len(TARGETS), list[Done]()
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for done in pool.imap_unordered(run, jobs):
            tried[done.target] += done.tried
            broken += [done] if done.broke else []
            words = f"{sum(tried):,} of {given.count:,}, {len(broken)} broke"
            print(f"{words}, {time.monotonic() - began:.0f} s", flush=True, file=sys.stderr)
    for number, target in enumerate(TARGETS):
        broke = sum(1 for done in broken if done.target == number)
        print(f"{target.name:12}{tried[number]:>10,} tried{broke:>6} broke")
    print(f"{'all':12}{sum(tried):>10,} tried{len(broken):>6} broke, {time.monotonic() - began:.0f} s")
    for done in broken[:3]:
        print(f"\n{TARGETS[done.target].name}: {done.broke}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
