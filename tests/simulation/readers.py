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


@dataclass(slots=True)
class Reader:
    """The newest version that one reader has seen of one task, and its status."""

    name: str
    task: int
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
            self._sim.start(self._read(Reader(name, task)))

    async def _read(self, reader: Reader) -> None:
        pause = self._sim.dice.stream("reader.pause").uniform(1, 40)
        for _ in range(READS):
            await asyncio.sleep(pause)
            if self._sim.books.deleted[reader.task]:
                return
            shown = await self._look(reader)
            if self._sim.books.deleted[reader.task]:
                return
            if shown is not None and not self.never_backwards(reader, shown):
                return
            if reader.status in FINAL:
                return
            pause *= 1.6

    async def _look(self, reader: Reader) -> dict[str, Any] | None:
        if reader.name == "the API":
            answer = await self._sim.web.json("GET", f"/v1/tasks/{reader.task}/status", None, KEY)
            return answer[1] if answer is not None and answer[0] == 200 else None
        value = self._sim.statuses.read(
            reader.name, key(reader.task, self._sim.books.tasks[reader.task].identity)
        )
        return None if value is None else json.loads(value)

    def never_backwards(self, reader: Reader, shown: dict[str, Any]) -> bool:
        """A reader who drops older versions never sees one version with two states, nor a finished task
        continue."""
        version, status = shown.get("version"), shown.get("status")
        if version is None or version < reader.version:
            return True
        goes_on = reader.status in FINAL and status != reader.status
        two_states = version == reader.version and status != reader.status
        right = not (goes_on or two_states)
        self._sim.books.must("never_backwards", right, "{} now sees {}", reader, shown)
        reader.version, reader.status = version, status
        return right
