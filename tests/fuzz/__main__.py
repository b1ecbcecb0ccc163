"""`python -m tests.fuzz`: what strangers send, in numbers.  0 when nothing of it broke anything."""

# ruff: noqa: T201  # a command prints

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.targets import TARGETS, fuzz

PROCESSES: Final = 2
CHUNK: Final = 2_500


@dataclass(frozen=True, slots=True)
class Job:
    """A part of one target's share."""

    target: int
    count: int
    seed: int


@dataclass(frozen=True, slots=True)
class Done:
    """What was tried, and what broke."""

    target: int
    tried: int
    broke: str | None = None


def main() -> int:
    """0 when nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    jobs = [job for number in range(len(TARGETS)) for job in _parts(number, given.count, given.seed)]
    began, tried, broken = time.monotonic(), [0] * len(TARGETS), list[Done]()
    with multiprocessing.get_context("forkserver").Pool(PROCESSES) as pool:
        for done in pool.imap_unordered(_run, jobs):
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


def _parts(number: int, count: int, seed: int) -> list[Job]:
    share = -(-count * TARGETS[number].share // 100)
    starts = range(0, share, CHUNK)
    return [Job(number, min(CHUNK, share - start), seed * 1_000_000 + start) for start in starts]


def _run(job: Job) -> Done:
    tried = 0

    def say(count: int) -> None:
        nonlocal tried
        tried = count

    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        try:
            return Done(job.target, fuzz(TARGETS[job.target], job.count, job.seed, Path(directory), say))
        except Exception as error:  # noqa: BLE001  # whatever it was is what was looked for
            return Done(job.target, tried, f"seed {job.seed}\n{''.join(traceback.format_exception(error))}")


if __name__ == "__main__":
    sys.exit(main())
