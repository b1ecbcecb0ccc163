"""The calls in flight of one run: start them, wait for them, publish slow ones, end them within a grace period.

A call judges its own reply, and stores a large result, before it counts as ended: a slow store holds up
no other call."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from consumer.core.checker import LONG_CHECK
from consumer.core.lifecycle import TaskState
from consumer.core.outcome import Unknown
from consumer.execution import follow_up, late, publish
from consumer.execution.call import perform
from consumer.execution.settle import Stored, store_result, stored_in_row
from consumer.execution.settlement import decide_and_price
from consumer.ports import PortError
from consumer.provider import Verb
from consumer.run.begin import ended_by_call
from consumer.run.publishing import HEAD_START_S, Publishing
from consumer.store.sql import number_of
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.core.checker import Work
    from consumer.core.decide import TaskMove
    from consumer.core.outcome import Outcome
    from consumer.execution.settle import Verdict
    from consumer.execution.settlement import Ended, Settlement
    from consumer.run.begin import Intent
    from consumer.run.leases import Leases
    from consumer.run.traffic import Traffic
    from consumer.world import World

LONGEST_NAP_S: Final = 1.0
"""Longest wait for a call before the clock is read again."""


@dataclass(slots=True, eq=False, repr=False)
class Flight:
    """The calls of one run, at most `concurrency` of them, and `connections` of those over the network.

    `may_ask`: whether a follow-up may still send a request.  `work`: what checking the run's answers may still cost.
    `traffic`: the profiles that it calls."""

    world: World
    leases: Leases
    may_ask: Callable[[], bool]
    work: Work
    traffic: Traffic
    publishing: Publishing = field(init=False)
    calls: dict[asyncio.Task[None], Intent | None] = field(default_factory=dict)
    ended: list[tuple[Intent, Stored]] = field(default_factory=list)
    first_ended_ms: int = 0
    connected: int = 0
    following_up: int = 0
    slow: deque[tuple[int, Intent]] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.publishing = Publishing(self.world, self.leases, lambda: self.connected, self.wake)

    @property
    def room(self) -> int:
        """How many more calls may be started, over the network or not."""
        return self.world.config.concurrency - len(self.calls)

    @property
    def intents(self) -> list[Intent]:
        """The calls in flight that this run began, without follow-ups."""
        return [intent for intent in self.calls.values() if intent is not None]

    @property
    def free_connections(self) -> int:
        """How many more calls may be started over the network.  Storage keeps the connections that it uses now."""
        config = self.world.config
        storage = max(0, len(self.publishing.writing) - (config.all_connections - config.connections))
        free = config.connections - self.connected - storage
        return free if self.calls else max(1, free)

    @property
    def may_follow_up(self) -> bool:
        """One connection is left to calls, because a provider that hangs may keep follow-ups for long."""
        most = max(1, self.world.config.connections - 1)
        return self.following_up < most and self.room > 0 and self.free_connections > 0

    def start(self, intent: Intent) -> None:
        """Start the call of an intent that was admitted."""
        call = asyncio.create_task(self._call(intent))
        self._started(call, intent, connected=intent.provider.needs_base_url)
        self.slow.append((intent.started_ms + self.world.config.running_snapshot_ms, intent))

    def follow_up(self, execution: int) -> None:
        """Follow up an open execution; it counts as a call over the network."""
        _ = self._follow_up(execution)

    def _follow_up(self, execution: int) -> asyncio.Task[None]:
        work = follow_up.follow_up(self.world, execution, self.may_ask)
        call = asyncio.create_task(work)
        self._started(call, None, connected=True)
        return call

    async def handle(self, executions: Sequence[int]) -> None:
        """Handle webhooks of executions that have just ended; wait a moment for that.  The outbox keeps the rest."""
        if executions:
            calls = [self._follow_up(execution) for execution in executions]
            await asyncio.wait(calls, timeout=HEAD_START_S)

    def overtaken(self, token: str, ended: Ended, verdict: Verdict) -> None:
        """Keep the answer of a call whose task another writer has moved.  If that fails, the sweep finds the lease."""
        self._started(asyncio.create_task(self._overtaken(token, ended, verdict)), None, connected=True)

    async def _overtaken(self, token: str, ended: Ended, verdict: Verdict) -> None:
        await late.overtaken(self.world, ended, verdict)
        self.leases.done(token)

    def _started(self, call: asyncio.Task[None], intent: Intent | None, *, connected: bool) -> None:
        self.calls[call] = intent
        self.connected += connected
        self.following_up += intent is None
        call.add_done_callback(self._done)

    async def _call(self, intent: Intent) -> None:
        try:
            outcome = await perform(self.world, intent.provider, intent.call, Verb.SUBMIT, intent.step)
        except asyncio.CancelledError:
            outcome = Unknown("cut_off: the worker was stopped")
        stored = await self._stored(intent, outcome)
        if not self.ended:
            self.first_ended_ms = self.world.clock.now_ms()
        self.ended.append((intent, stored))

    async def _stored(self, intent: Intent, outcome: Outcome) -> Stored:
        before, now = self.work.left, self.world.clock.now_ms()
        rests = self.traffic.note(intent, outcome, now)
        settlement = decide_and_price(ended_by_call(self.world, intent, outcome, now, rests, self.work))
        try:
            if before - self.work.left > LONG_CHECK:
                await asyncio.sleep(0)  # calls, requests and timers go on between two long checks
            return await store_result(self.world, settlement)
        except asyncio.CancelledError:  # the answer is paid for: its row takes it
            return stored_in_row(settlement)

    def _done(self, call: asyncio.Task[None]) -> None:
        intent = self.calls.pop(call)
        self.connected -= intent is None or intent.provider.needs_base_url
        self.following_up -= intent is None
        self.wake.set()
        if call.cancelled():
            return
        error = call.exception()
        if error is not None and not isinstance(error, PortError):  # the execution keeps its wake time
            log().error(Event.ADAPTER_ERROR, error=type(error).__name__)

    def take_ended(self) -> list[tuple[Intent, Stored]]:
        """The calls that have ended since the last time, each with its settlement."""
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
        self._publish_slow()

    def _publish_slow(self) -> None:
        now = self.world.clock.now_ms()
        if not self.slow or self.slow[0][0] > now:
            return
        active = {one.execution for one in self.calls.values() if one is not None}
        while self.slow and self.slow[0][0] <= now:
            _, one = self.slow.popleft()
            if one.execution not in active:
                continue
            if number_of(one.execution) == 1:
                self.publishing.put(one.task.token, running_snapshot(one, now))
            else:  # only the database knows what the earlier calls have cost
                self.publishing.republish({one.task.id: one.task.token})

    async def end(self, grace_ms: int) -> None:
        """Give the calls a grace period, then cut them off: each still ends with an outcome."""
        if self.calls:
            await asyncio.wait(self.calls, timeout=grace_ms / 1000)
        for call in list(self.calls):
            call.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)


def running_snapshot(intent: Intent, now_ms: int) -> dict[str, object]:
    """The snapshot of a task whose first call is slow: nothing has a cost yet."""
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


def after_settle(
    settlement: Settlement, move: TaskMove, intent: Intent, total_micro: object
) -> dict[str, object]:
    """The snapshot of a task that a settle has moved out of our lease."""
    task = intent.task
    return publish.snapshot_after(
        task.id,
        task.identity,
        task.organization,
        task.version + 1,
        move.state,
        settlement.ended.situation.now_ms,
        stage=move.position.stage,
        attempt=move.position.attempt,
        account=intent.account,
        total_micro=total_micro,
        reason=move.reason,
    )
