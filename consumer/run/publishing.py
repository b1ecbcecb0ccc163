"""The writes of live status of one run.  They happen beside its loop, so that a slow store holds up no call.

A lease stays, and is renewed, until the statuses of its tasks are written or left to the outbox: if the process dies
before that, the sweep publishes the tasks of its leases.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from consumer.execution import publish
from consumer.ports import NoAnswer, PortError
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from consumer.run.leases import Leases
    from consumer.world import World

HEAD_START_S: Final = 0.25
"""Seconds that the loop waits for a write.  Most end in that time; then their leases end with the next batch, and not
in a batch of their own."""


@dataclass(slots=True, eq=False, repr=False)
class Publishing:
    """Writes of one run, as many at a time as its calls leave connections.

    `connected`: how many connections the calls use.  `last`: the last write of each task; the next one waits for it.
    `ailing`: the store did not answer the last write in time, so one write at a time tries it, and the outbox takes all
    others.  `slow`: the loop has waited in vain for writes that are still under way."""

    world: World
    leases: Leases
    connected: Callable[[], int]
    wake: asyncio.Event
    last: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    writing: set[asyncio.Task[None]] = field(default_factory=set)
    waiting: deque[tuple[str, Mapping[str, Any]]] = field(default_factory=deque)
    ailing: bool = False
    slow: bool = False

    def put(self, token: str, snapshot: Mapping[str, Any]) -> None:
        """Write a snapshot soon; the lease of its task stays until then."""
        self.leases.hold(token)
        self.waiting.append((token, snapshot))
        self._start()

    def republish(self, tasks: Mapping[int, str]) -> None:
        """Publish tasks from the database; each is named with its lease, which stays until then."""
        for token in tasks.values():
            self.leases.hold(token)
        self.aside(self._republish(tasks))

    def aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the store or the queue do something that the loop does not wait for."""
        _ = self._begin(work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.writing.add(task)
        task.add_done_callback(self._done)
        return task

    async def head_start(self) -> None:
        """Wait a moment for the writes that were just started, unless earlier ones are slow already."""
        if self.slow:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + HEAD_START_S
        while self.writing and (left := end - loop.time()) > 0:
            await asyncio.wait(self.writing, timeout=left)
        self.slow = bool(self.writing)

    async def finish(self) -> None:
        """Wait for every write.  Each has a time limit."""
        while self.writing:
            await asyncio.wait(self.writing)

    async def cancel(self) -> None:
        """End every write: the run has failed, and the sweep publishes its tasks."""
        self.waiting.clear()
        for task in self.writing:
            task.cancel()
        await asyncio.gather(*self.writing, return_exceptions=True)

    def _start(self) -> None:
        if self.ailing and self.writing:
            self._leave()
        width = 1 if self.ailing else max(1, self.world.config.all_connections - self.connected())
        while self.waiting and len(self.writing) < width:
            token, snapshot = self.waiting.popleft()
            earlier = self.last.get(snapshot["task"])
            self.last[snapshot["task"]] = self._begin(self._put(token, snapshot, earlier))

    def _leave(self) -> None:
        """Leave the writes that wait to the outbox."""
        while self.waiting:
            token, snapshot = self.waiting.popleft()
            self.leases.unpublished.append(snapshot["task"])
            self.leases.done(token)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.writing.discard(task)
        self._start()
        self.slow = self.slow and bool(self.writing)
        self.wake.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:  # what it would have written stays in the outbox
            log().warning(Event.PUBLISH_FAILED, error=str(error))

    async def _put(self, token: str, snapshot: Mapping[str, Any], earlier: asyncio.Task[None] | None) -> None:
        written = False
        try:
            if earlier is not None:
                await asyncio.wait([earlier])
            await publish.write(self.world, snapshot)
            written, self.ailing = True, False
        except PortError as error:
            publish.report_failure(snapshot, error)
            self.ailing = isinstance(error, NoAnswer)
        finally:
            if written:
                self.leases.published[snapshot["task"]] = snapshot["version"]
            else:
                self.leases.unpublished.append(snapshot["task"])
            self.leases.done(token)

    async def _republish(self, tasks: Mapping[int, str]) -> None:
        written: dict[int, int] = {}
        try:
            written = await publish.republish(self.world, tasks)
        finally:
            self.leases.published |= written
            self.leases.unpublished += [task for task in tasks if task not in written]
            for token in tasks.values():
                self.leases.done(token)
