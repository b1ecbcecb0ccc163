"""`python -m tests.simulation.planted`: plant each bug, and count the seeds until an invariant detects it."""

# ruff: noqa: T201  # a command prints

from __future__ import annotations

import argparse
import multiprocessing
import time

from tests.simulation.planted.hunt import hunt
from tests.simulation.planted.patch import BUGS
from tests.simulation.simulation import seldom_collecting

PROCESSES = 2


def main() -> int:
    """Return 0 if every bug was detected."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument("bugs", nargs="*", help="names of bugs; by default all")
    parser.add_argument("--why", action="store_true", help="print the message of the invariant")
    given = parser.parse_args()
    names = given.bugs or list(BUGS)
    began, escaped = time.monotonic(), 0
    print(f"{'planted bug':38} {'seeds':>5}  detected by")
    with multiprocessing.get_context("spawn").Pool(PROCESSES, seldom_collecting, maxtasksperchild=4) as pool:
        for caught in pool.imap(hunt, names):
            escaped += caught.invariant is None
            print(f"{caught.bug:38} {caught.seeds:>5}  {caught.invariant or 'ESCAPED'}", flush=True)
            if given.why:
                print(f"    {caught.why[:300]}")
    print(
        f"{len(names)} bugs, {len(names) - escaped} detected, {escaped} escaped, {time.monotonic() - began:.0f} s"
    )
    return 1 if escaped else 0


if __name__ == "__main__":
    raise SystemExit(main())
