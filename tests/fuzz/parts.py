"""The work of `make fuzz`, divided into parts for several processes."""

from __future__ import annotations

import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.targets import TARGETS, fuzz

CHUNK: Final = 2_500


@dataclass(frozen=True, slots=True)
class Job:
    """A part of the examples for one target."""

    target: int
    count: int
    seed: int


@dataclass(frozen=True, slots=True)
class Done:
    """The number of tried examples, and the failure."""

    target: int
    tried: int
    broke: str | None = None


def parts(number: int, count: int, seed: int) -> list[Job]:
    share = -(-count * TARGETS[number].share // 100)
    starts = range(0, share, CHUNK)
    return [Job(number, min(CHUNK, share - start), seed * 1_000_000 + start) for start in starts]


def run(job: Job) -> Done:
    tried = 0

    def say(count: int) -> None:
        nonlocal tried
        tried = count

    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        try:
            return Done(job.target, fuzz(TARGETS[job.target], job.count, job.seed, Path(directory), say))
        except Exception as error:  # noqa: BLE001  # every exception is a finding
            return Done(job.target, tried, f"seed {job.seed}\n{''.join(traceback.format_exception(error))}")
