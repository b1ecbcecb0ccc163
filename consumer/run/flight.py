"""The calls in flight of one run: start them, wait for them, publish slow ones, end them within a grace period."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from consumer.core.lifecycle import TaskState
from consumer.core.outcome import Outcome, Unknown
from consumer.execution import follow_up, publish
from consumer.execution.call import perform
from consumer.ports import PortError
from consumer.provider import Verb
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from consumer.run.begin import Intent
    from consumer.world import World

LONGEST_NAP_S: Final = 1.0
"""Longest wait for a call before the clock is read again."""


@dataclass(slots=True)
class Flight:
    """The calls of one run, at most `concurrency` of them, and `connections` of those over the network."""

    world: World
    published: dict[int, int]
    """Versions of tasks whose running status was written; KV may have held a later one already."""
    unpublished: list[int]
    """Tasks whose running status could not be written, or may still overwrite a later one."""
    calls: dict[asyncio.Task[None], Intent | None] = field(default_factory=dict)
    ended: list[tuple[Intent, Outcome]] = field(default_factory=list)
    first_ended_ms: int = 0
    connected: int = 0
    slow: deque[tuple[int, Intent]] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def room(self) -> int:
        """How many more calls may be started, over the network or not."""
        return self.world.config.concurrency - len(self.calls)

    @property
    def free_connections(self) -> int:
        """How many more calls may be started over the network."""
        return self.world.config.connections - self.connected

    def start(self, intent: Intent) -> None:
        """Start the call of an intent that was admitted."""
        call = asyncio.create_task(self._call(intent))
        self._started(call, intent, connected=intent.provider.needs_base_url)
        self.slow.append((intent.started_ms + self.world.config.running_snapshot_ms, intent))

    def follow_up(self, execution: int) -> None:
        """Follow up an open execution; it counts as a call over the network."""
        self._started(asyncio.create_task(follow_up.follow_up(self.world, execution)), None, connected=True)

    def _started(self, call: asyncio.Task[None], intent: Intent | None, *, connected: bool) -> None:
        self.calls[call] = intent
        self.connected += connected
        call.add_done_callback(self._done)

    async def _call(self, intent: Intent) -> None:
        try:
            outcome = await perform(self.world, intent.provider, intent.call, Verb.SUBMIT, intent.step)
        except asyncio.CancelledError:
            outcome = Unknown("cut_off: the worker was stopped")
        if not self.ended:
            self.first_ended_ms = self.world.clock.now_ms()
        self.ended.append((intent, outcome))

    def _done(self, call: asyncio.Task[None]) -> None:
        intent = self.calls.pop(call)
        self.connected -= intent is None or intent.provider.needs_base_url
        self.wake.set()
        if call.cancelled():
            return
        error = call.exception()
        if error is not None and not isinstance(error, PortError):  # the execution keeps its wake time
            log().error(Event.ADAPTER_ERROR, error=type(error).__name__)

    def take_ended(self) -> list[tuple[Intent, Outcome]]:
        """The calls that have ended since the last time, each with its outcome."""
        ended, self.ended = self.ended, []
        return ended

    async def wait(self, until_ms: int) -> None:
        """Wait until a call ends or the time has come, and publish the calls that run for long."""
        now = self.world.clock.now_ms()
        if self.slow:
            until_ms = min(until_ms, self.slow[0][0])
        self.wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(0.001, (until_ms - now) / 1000), LONGEST_NAP_S)):
                await self.wake.wait()
        await asyncio.sleep(0)  # calls that end at the same moment are settled together
        await self._publish_slow()

    async def _publish_slow(self) -> None:
        now = self.world.clock.now_ms()
        if not self.slow or self.slow[0][0] > now:
            return
        active = {one.execution for one in self.calls.values() if one is not None}
        while self.slow and self.slow[0][0] <= now:
            _, one = self.slow.popleft()
            if one.execution not in active:
                continue
            if await publish.put(self.world, running_snapshot(one, now)):
                self.published[one.task.id] = one.task.version
            else:
                self.unpublished.append(one.task.id)

    async def end(self, grace_ms: int) -> None:
        """Give the calls a grace period, then cut them off: each still ends with an outcome."""
        if self.calls:
            await asyncio.wait(self.calls, timeout=grace_ms / 1000)
        for call in list(self.calls):
            call.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)


def running_snapshot(intent: Intent, now_ms: int) -> dict[str, object]:
    """The snapshot of a task whose call is slow."""
    task = intent.task
    return publish.snapshot_after(
        task.id,
        task.identity,
        task.organization,
        task.version,
        TaskState.RUNNING,
        now_ms,
        stage=task.position.stage,
        attempt=task.position.attempt,
        account=intent.account,
    )
