"""Measures how fairly organizations share the worker, in virtual time: `make bench-fair`.

Fifty quiet organizations submit a task now and then.  Beside them, noisy ones have far more work than fits, or work
that is slow, large or fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from consumer import telemetry
from consumer.core.outcome import Outcome, Retry, Succeeded
from consumer.ports import Statement
from consumer.provider import Call
from consumer.store.sql import task_of
from tests.bench.platform import Platform
from tests.support.fakes import ANSWER, SCHEMA

QUIET: Final = 50
NOISY: Final = (1, 2, 10)
WINDOW_S: Final = 300
EVERY_S: Final = 30
"""Seconds after which a quiet organization submits its next task."""
CALL_S: Final = 2.0
MOST_S: Final = 24 * 3_600
LEAST: Final = 0.95
MEASURE: Final = (
    "share: Jain's index over all organizations of the seconds of calls that each one got in the first 5 minutes,"
    " divided by its max-min fair part of all the seconds that were given out: what it asked for, or an equal part of"
    " what the others left.  speed: Jain's index over the quiet organizations of the duration of a call divided by the"
    " mean time from submission to the end of the call.  waits: from submission to the first call, in seconds."
)


@dataclass(frozen=True, slots=True)
class Noise:
    """What noisy organizations do.  `tasks`: all that they submit at once, together.  `call_s`: how long their calls
    last.  `fails`: each call fails, and the task is tried again."""

    tasks: int = 2_800
    call_s: float = CALL_S
    input_bytes: int = 0
    templates: int = 1
    fails: bool = False
    profile: str = "shared"
    priority: str = "medium"


NOISES: Final = {
    "nothing, the quiet ones alone": Noise(tasks=0),
    "a flood of tasks": Noise(),
    "slow calls": Noise(tasks=160, call_s=50.0),
    "slow calls at a profile of its own": Noise(tasks=160, call_s=50.0, profile="own"),
    "large inputs": Noise(input_bytes=100_000),
    "calls that time out": Noise(tasks=160, call_s=70.0),
    "urgent tasks": Noise(priority="urgent"),
    "many templates": Noise(templates=400),
    "failing tasks": Noise(tasks=800, fails=True),
}
PROFILES: Final = {
    name: {"provider": "blind", "base_url": "http://fake.test", "price": {"per_task": "0.01"}}
    for name in ("shared", "own")
}


class Served(NamedTuple):
    """A call: its task, and when it began and ended, in seconds."""

    task: int
    began_s: float
    ended_s: float


@dataclass(slots=True)
class Measured:
    """What a measurement saw.  `submitted`: the organization and the time of each task.  `ended_s`: when all tasks of
    quiet organizations were done."""

    submitted: dict[int, tuple[int, float]] = field(default_factory=dict)
    served: list[Served] = field(default_factory=list)
    ended_s: float = 0.0


class Fair(NamedTuple):
    """A row of the table.  `noisy_began`: every task of a noisy organization began before the measurement ended."""

    share: float
    speed: float
    quiet_wait_s: float
    noisy_wait_s: float
    noisy_began: bool


def jain(values: Iterable[float]) -> float:
    """Jain's index: 1 when all are equal, 1/n when one has everything."""
    found = list(values)
    squares = sum(value * value for value in found)
    return sum(found) ** 2 / (len(found) * squares) if squares else 0.0


def fair_parts(asked: dict[int, float], total: float) -> dict[int, float]:
    """The max-min fair part of each: none gets more than it asked for, and all the rest is divided equally."""
    parts, left = {}, total
    waiting = sorted(asked, key=lambda one: asked[one])
    for place, one in enumerate(waiting):
        parts[one] = min(asked[one], left / (len(waiting) - place))
        left -= parts[one]
    return parts


class Stage:
    """One measurement: quiet organizations 1 to `QUIET`, noisy ones above."""

    def __init__(self, noise: Noise, noisy: int, *, window_s: int = WINDOW_S) -> None:
        self.noise, self.noisy, self.window_s = noise, noisy, window_s
        self.measured = Measured()
        self.platform = Platform(1, PROFILES, self._answer)

    def run(self) -> Measured:
        """Let everything happen."""
        platform = self.platform
        try:
            platform.loop.run_until_complete(self._run())
        finally:
            platform.close()
        return self.measured

    async def _answer(self, call: Call) -> Outcome:
        task, loop = task_of(call.execution_id), self.platform.loop
        is_noisy = self.measured.submitted[task][0] > QUIET
        began, place = loop.time(), len(self.measured.served)
        self.measured.served.append(Served(task, began, math.inf))
        try:
            await asyncio.sleep(self.noise.call_s if is_noisy else CALL_S)
        finally:
            self.measured.served[place] = Served(task, began, loop.time())
        return Retry("http_500") if is_noisy and self.noise.fails else Succeeded(ANSWER)

    def _sql(self, text: str, *parameters: Any) -> Sequence[Any]:
        return self.platform.database.run([Statement(text, parameters)])[0].rows

    def _templates(self, organization: int, count: int, profile: str) -> list[int]:
        stage = {"kind": "ai", "candidates": [{"profile": profile, "settings": {}}]}
        values = (
            organization,
            json.dumps(SCHEMA),
            json.dumps({"stages": [stage]}),
            json.dumps(list(range(count))),
        )
        rows = self._sql(
            "INSERT INTO task_templates (organization_id, name, output_schema, route)"
            " SELECT ?1, 'template ' || value, ?2, ?3 FROM json_each(?4) RETURNING id",
            *values,
        )
        return [int(row["id"]) for row in rows]

    def _submit(
        self, organization: int, templates: Sequence[int], count: int, value: str | None, priority: str
    ) -> None:
        """Insert tasks, as an application does."""
        now = self.platform.loop.time()
        ms = self.platform.world.clock.now_ms()
        picked = [templates[number % len(templates)] for number in range(count)]
        rows = self._sql(
            "INSERT INTO tasks (template_id, organization_id, title, input, run_at_ms, priority, identity)"
            " SELECT value, ?1, 'a task', ?2, ?3, ?4, hex(randomblob(8)) FROM json_each(?5) RETURNING id",
            *(organization, value, ms, priority, json.dumps(picked)),
        )
        self.measured.submitted.update((int(row["id"]), (organization, now)) for row in rows)

    async def _quiet(self, organization: int, template: list[int]) -> None:
        await asyncio.sleep(EVERY_S * (organization - 1) / QUIET)
        while self.platform.loop.time() < self.window_s:
            self._submit(organization, template, 1, None, "medium")
            await self.platform.ring()
            await asyncio.sleep(EVERY_S)

    async def _run(self) -> None:
        self._sql(
            "INSERT INTO organizations (id, name) SELECT value, 'o' FROM json_each(?1)",
            json.dumps(list(range(1, QUIET + self.noisy + 1))),
        )
        noise, cron = self.noise, asyncio.create_task(self.platform.cron())
        for organization in range(QUIET + 1, QUIET + self.noisy + 1):
            templates = self._templates(organization, noise.templates, noise.profile)
            value = json.dumps({"text": "x" * noise.input_bytes}) if noise.input_bytes else None
            self._submit(organization, templates, noise.tasks // self.noisy, value, noise.priority)
            await self.platform.ring()
        quiet = [self._quiet(number, self._templates(number, 1, "shared")) for number in range(1, QUIET + 1)]
        await asyncio.gather(*quiet)
        left = "SELECT 1 FROM tasks WHERE organization_id <= ?1 AND status IN ('pending', 'running') LIMIT 1"
        while self._sql(left, QUIET):
            self.platform.check()
            assert self.platform.loop.time() < MOST_S, "tasks are left"
            await asyncio.sleep(1)
        self.measured.ended_s = self.platform.loop.time()
        cron.cancel()
        await self.platform.queue.stop()


def summed(measured: Measured, noise: Noise, window_s: int) -> Fair:
    """What the table shows of a measurement."""
    asked: dict[int, float] = defaultdict(float)
    got: dict[int, float] = defaultdict(float)
    for owner, _ in measured.submitted.values():
        asked[owner] += CALL_S if owner <= QUIET else noise.call_s
    first: dict[int, Served] = {}
    for one in measured.served:
        got[measured.submitted[one.task][0]] += max(
            0.0, min(one.ended_s, window_s) - min(one.began_s, window_s)
        )
        first.setdefault(one.task, one)
    parts = fair_parts({owner: max(asked[owner], got[owner]) for owner in asked}, sum(got.values()))
    waits: dict[bool, list[float]] = {True: [], False: []}
    times: dict[int, list[float]] = defaultdict(list)
    for task, (owner, at) in measured.submitted.items():
        began = first[task].began_s if task in first else measured.ended_s
        waits[owner <= QUIET].append(began - at)
        if owner <= QUIET:
            times[owner].append(first[task].ended_s - at)
    return Fair(
        jain(got[owner] / parts[owner] for owner in asked),
        jain(CALL_S * len(ends) / sum(ends) for ends in times.values()),
        max(waits[True]),
        max(waits[False], default=0.0),
        all(task in first for task in measured.submitted),
    )


def measure(noise: Noise, noisy: int, *, window_s: int = WINDOW_S) -> Fair:
    """One row of the table."""
    scaled = replace(noise, tasks=noise.tasks * window_s // WINDOW_S)
    return summed(Stage(scaled, noisy, window_s=window_s).run(), scaled, window_s)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noises", nargs="+", choices=NOISES, default=list(NOISES))
    parser.add_argument("--noisy", type=int, nargs="+", default=NOISY)
    arguments = parser.parse_args()
    telemetry.configure("CRITICAL")
    console = Console()
    table = Table(
        "noisy organizations",
        "what they do",
        "share",
        "speed",
        "longest wait of a quiet task",
        "of a noisy one",
    )
    for name in arguments.noises:
        for noisy in arguments.noisy if NOISES[name].tasks else (0,):
            with console.status(f"{noisy}: {name}"):
                row = measure(NOISES[name], noisy)
            table.add_row(
                str(noisy),
                name,
                f"{row.share:.3f}",
                f"{row.speed:.3f}",
                f"{row.quiet_wait_s:.1f} s",
                ("" if row.noisy_began else "> ") + f"{row.noisy_wait_s:.1f} s",
            )
    console.print(table)
    console.print(MEASURE)


if __name__ == "__main__":
    main()
