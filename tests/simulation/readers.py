"""Readers of the live status, who compare versions: some read the store, where a location may show old values, some
ask the API.  No reader may see a task go backwards."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from consumer.core.snapshot import key
from tests.simulation.scenario import KEY

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

FINAL: Final = ("completed", "failed", "cancelled")
PLACES: Final = 3
READS: Final = 12
GIVEN: Final = 1_000_000_000
"""Versions that a restore gives are times in seconds, and higher than this."""


@dataclass(slots=True)
class Reader:
    """The newest version that one reader has seen of one task, and its status.

    A restore takes the task back, so the reader begins anew (`turned`), also at a version that a restore gave."""

    name: str
    task: int
    identity: str
    turned: int
    version: int = -1
    status: str | None = None


class Readers:
    """Readers who watch tasks."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def watch(self, task: int) -> None:
        """Start a reader for some of the tasks."""
        chance = self._sim.dice.stream("reader")
        if chance.random() < 0.3:
            name = f"reader {chance.randrange(PLACES)}" if chance.random() < 0.7 else "the API"
            sim = self._sim
            self._sim.start(
                self._read(Reader(name, task, sim.books.tasks[task].identity, sim.restores.turned))
            )

    async def _read(self, reader: Reader) -> None:
        pause = self._sim.dice.stream("reader.pause").uniform(1, 40)
        for _ in range(READS):
            await asyncio.sleep(pause)
            if self._sim.books.deleted[reader.task]:
                return
            shown = await self._look(reader)
            if self._sim.books.deleted[reader.task] or self._sim.restores.removed(
                reader.task, reader.identity
            ):
                return
            if shown is not None:
                self.no_status_reaches_another_task(reader, shown)
            if reader.turned != self._sim.restores.turned or self._sim.restores.under_way:
                reader.turned, reader.version, reader.status = self._sim.restores.turned, -1, None
                continue
            if shown is not None and not self.never_backwards(reader, shown):
                return
            if reader.status in FINAL:
                return
            pause *= 1.6

    async def _look(self, reader: Reader) -> dict[str, Any] | None:
        if reader.name == "the API":
            answer = await self._sim.web.json("GET", f"/v1/tasks/{reader.task}/status", None, KEY)
            return answer[1] if answer is not None and answer[0] == 200 else None
        value = self._sim.statuses.read(reader.name, key(reader.task, reader.identity))
        return None if value is None else json.loads(value)

    def no_status_reaches_another_task(self, reader: Reader, shown: dict[str, Any]) -> None:
        """A reader of a task never sees the status of another one that had its id."""
        right = shown.get("identity") == reader.identity
        self._sim.books.must("no_status_reaches_another_task", right, "{} sees {}", reader, shown)

    def never_backwards(self, reader: Reader, shown: dict[str, Any]) -> bool:
        """A reader who drops older versions never sees one version with two states, nor a finished task
        continue."""
        version, status = shown.get("version"), shown.get("status")
        if version is None or version < reader.version:
            return True
        if version >= GIVEN > reader.version:  # the first one after a restore
            reader.version, reader.status = -1, None
        goes_on = reader.status in FINAL and status != reader.status
        two_states = version == reader.version and status != reader.status
        right = not (goes_on or two_states)
        self._sim.books.must("never_backwards", right, "{} now sees {}", reader, shown)
        reader.version, reader.status = version, status
        return right
