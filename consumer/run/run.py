"""One run: claim, begin, call, settle and publish, again and again until nothing is due.

    queue message --> Run.drain -- next_step --> Commit    one round trip: settle what ended, begin what fits,
         |                          (core/pace)             release, renew leases, claim the next tasks
         |                                      Wait       until a call in flight ends
         |                                      HandOver   nothing new; calls in flight go on
         |                                      WindDown   the process ends: settle what is in hand
         +--> acknowledged after the last commit  Done

A run belongs to one invocation.  Each turn of its loop makes at most one round trip to the database, because round
trips are what a run spends most of its time and money on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from consumer.core import pace
from consumer.core.checker import RUN_WORK, Work
from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.core.policy import RENEW_EVERY
from consumer.core.shares import Speeds
from consumer.execution import doorbells, follow_up
from consumer.execution.settle import (
    Settled,
    Stored,
    Verdict,
    report,
    settle,
    settle_alone,
    store_result,
)
from consumer.execution.settlement import Settlement, decide_and_price
from consumer.ports import Refused
from consumer.run.begin import Intent, Release, begin, ended_by_call, release, report_release, why_refused
from consumer.run.choose import choose
from consumer.run.claim import Claimed, Claiming, claim
from consumer.run.flight import Flight, after_settle
from consumer.run.leases import Leases
from consumer.run.meter import meter
from consumer.run.summary import Summary
from consumer.run.traffic import Traffic
from consumer.run.turns import Turns
from consumer.store import rests as rests_sql
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.ports import Row
    from consumer.store.batch import Batch, Results
    from consumer.world import World


class Run:
    """One invocation's work.  `stopping` returns True once the process was asked to end.  `speeds`: what earlier runs
    of the process know."""

    def __init__(
        self, world: World, stopping: Callable[[], bool] = lambda: False, speeds: Speeds | None = None
    ) -> None:
        self.meter, config = meter(world), world.config
        now = self.meter.began_ms
        self.world = replace(world, database=self.meter, keep_trying=self._keep_trying)
        self.stopping = stopping
        self.stop_at_ms = now + config.invocation_ms
        self.cut_at_ms = now + config.cut_ms
        self.pace = config.pace
        self.summary = Summary()
        self.leases = Leases(config.lease_ms, now + RENEW_EVERY)
        self.work = Work(RUN_WORK, cuts=False)
        self.traffic = Traffic(world, world.entropy.token(), world.has_limits, speeds or Speeds())
        self.flight = Flight(self.world, self.leases, self._has_time, self.work, self.traffic)
        self.publishing = self.flight.publishing
        self.turns = Turns(self.flight, self.traffic.speeds)
        self.ready: deque[Claimed] = deque()
        self.follow_ups: deque[int] = deque()
        self.releases: list[Release] = []
        self.doorbells: set[int] = set()
        """Delays in seconds after which a doorbell is needed."""
        self.exhausted = self.stalled = self.handed_over = self.rung = False
        self.settling = False
        """Whether the batch that is being sent carries settles."""

    async def drain(self) -> Summary:
        """Claim, call and settle until nothing is due or the time is over.

        Raises `Unavailable` when the database cannot be reached and no call or answer is in hand, or until the hard
        limit: leases and the sweep repair what was open."""
        try:
            while (step := pace.next_step(self._load(), self.pace)) is not pace.DONE:
                if step is pace.WIND_DOWN:
                    await self._wind_down()
                elif step is pace.HAND_OVER:
                    await self._hand_over()
                elif step is pace.COMMIT:
                    await self._round_trip()
                    await asyncio.sleep(0)  # a database in this process never lets other tasks run by itself
                elif isinstance(step, pace.Wait):
                    await self.flight.wait(step.until_ms)
                    self.stalled = self.flight.free_connections <= 0
            self.summary.more |= not self.exhausted
            await self._finish()
        finally:
            await self.flight.end(0)
            await self.publishing.cancel()
        self.summary.left = len(self.leases.left)
        return self.summary

    def _load(self) -> pace.Load:
        flight, now = self.flight, self.world.clock.now_ms()
        return pace.Load(
            now_ms=now,
            stop_at_ms=self._stop_at_ms,
            cut_at_ms=self.cut_at_ms,
            renew_at_ms=self.leases.renew_at_ms,
            stopping=self.stopping(),
            ready=len(self.ready),
            follow_ups=len(self.follow_ups),
            may_follow_up=flight.may_follow_up,
            releases=len(self.releases),
            in_flight=len(flight.calls),
            following_up=flight.following_up,
            room=flight.room,
            connections=flight.free_connections,
            ended=len(flight.ended),
            first_ended_ms=flight.first_ended_ms,
            exhausted=self.exhausted,
            others_due=self.turns.others_due(self.ready, now, stalled=self.stalled),
            stalled=self.stalled,
            sent=self.meter.sent,
            handed_over=self.handed_over,
        )

    def _has_time(self) -> bool:
        return not self.stopping() and self.world.clock.now_ms() < self._stop_at_ms

    def _is_over(self) -> bool:
        return pace.is_over(self._load(), self.pace)

    @property
    def _stop_at_ms(self) -> int:
        """When nothing new begins: now, if checking the answers has used up the run's work."""
        return self.stop_at_ms if self.work.left > 0 else 0

    def _keep_trying(self) -> bool:
        """While answers are in hand or under way, an outage of the database is waited out: they are paid for."""
        in_hand = self.settling or self.flight.calls or self.flight.ended
        return bool(in_hand) and self.world.clock.now_ms() < self.cut_at_ms

    # --- one round trip -------------------------------------------------------------------------------------------

    async def _round_trip(self) -> None:
        """Write everything that is ready to be written and claim the next tasks, in one batch."""
        self._start_follow_ups()
        now = self.world.clock.now_ms()
        intents = self._next_intents(now)
        ends = await self._ends(intents, now)
        releases, self.releases = self.releases, []
        for due in self.traffic.take_due(now):
            self._ring_at(due)
        self.traffic.hold([*self.flight.intents, *intents], now)
        self.settling = bool(ends)

        batch = self.world.batch()
        changes = self.traffic.statements(now)
        batch.add(*changes)
        begun = begin(batch, intents, now)
        release(batch, releases, now)  # before the settles, which wake what a budget keeps back
        settling = settle(batch, [stored for _, stored in ends], now)
        batch.add(*self.leases.statements(now))
        claiming = self._claim(batch, now)
        rests = batch.add(rests_sql.RESTS()) if changes or claiming is not None else None
        if not batch:
            return
        try:
            results = await batch.commit()
        except Refused as error:
            if not (intents or ends or releases):
                raise
            log().error(Event.UNSTORABLE, error=str(error)[:200], count=len(ends))
            await self._one_by_one(intents, ends, releases, now)
            return
        if rests is not None:
            self.traffic.read(results.rows(rests))
        left_out = await self._begun(intents, results.rows(begun))
        ends = [(intent, stored) for intent, stored in ends if intent.execution not in left_out]
        await self._settled(ends, settling.read(results))
        self._released(releases)
        self.settling = False
        await self.publishing.head_start()
        if claiming is not None:
            await self._take(claiming, results)
        if rests is not None and self.traffic.may_wake(now):
            self.exhausted = False

    async def _one_by_one(
        self, intents: list[Intent], ends: list[tuple[Intent, Stored]], releases: list[Release], now: int
    ) -> None:
        """Send each part of a refused batch alone, so that one bad row does not take another's paid answer along."""
        left_out: set[int] = set()
        for intent in intents:
            batch = self.world.batch()
            begun = begin(batch, [intent], now)
            try:
                results = await batch.commit()
            except Refused:
                self.releases.append(Release(intent.task, TaskState.FAILED, reason="unstorable"))
                left_out.add(intent.execution)
            else:
                left_out |= await self._begun([intent], results.rows(begun))
        for intent, stored in ends:
            if intent.execution in left_out:
                continue
            try:
                written, settled = await settle_alone(self.world, stored)
            except Refused as error:  # not even the failure: the expired lease brings it to the sweep
                log().error(Event.UNSTORABLE, execution=intent.execution, error=str(error)[:200])
            else:
                await self._settled([(intent, written)], settled)
        if releases:
            batch = self.world.batch()
            release(batch, releases, now)
            await batch.commit()
            self._released(releases)

    # --- claim and begin ------------------------------------------------------------------------------------------

    def _claim(self, batch: Batch, now: int) -> Claiming | None:
        load = self._load()
        if not pace.can_claim(load, self.pace):
            return None
        batch.add(*self.traffic.wake(now))
        turn = self.turns.next_claim(
            self.world.config.batch_size, self.ready, now, for_others=pace.must_look(load)
        )
        return claim(batch, self.world, self.world.entropy.token(), now, turn)

    async def _take(self, claiming: Claiming, results: Results) -> None:
        taken = await claiming.read(self.world, results)
        found = taken.leased or taken.executions or taken.publish or taken.unhandled
        self.exhausted = not found and (self.exhausted or not self.turns.for_others)
        self.turns.found = bool(taken.tasks)
        self.summary.claimed += len(taken.tasks)
        self.summary.followed_up += len(taken.executions)
        self.ready.extend(taken.tasks)
        self.follow_ups.extend(taken.executions)
        if taken.leased:
            self.leases.take(claiming.token, len(taken.tasks))
        if taken.publish:
            self.publishing.aside(follow_up.publish_outbox(self.world, claiming.token, taken.publish))
            await self.publishing.head_start()  # a follow-up may publish a later status of the same task
        if taken.unhandled:
            self.follow_ups.extend(await follow_up.with_unhandled_webhooks(self.world, taken.unhandled))

    def _start_follow_ups(self) -> None:
        while self.follow_ups and self.flight.may_follow_up and not self._is_over():
            self.flight.follow_up(self.follow_ups.popleft())

    def _next_intents(self, now: int) -> list[Intent]:
        """As many claimed tasks as there is room for, those of all organizations in turn."""
        if not self.ready or self._is_over() or pace.must_look(self._load()):
            return []
        alone = self.turns.is_alone(self.ready)
        chosen = choose(self.world, self.ready, self.flight, self.traffic, now, one_organization=alone)
        self.turns.begun(chosen.intents)
        self.stalled |= chosen.stalled
        self.releases += chosen.releases
        return chosen.intents

    async def _begun(self, intents: list[Intent], admitted: Sequence[Row]) -> set[int]:
        """Start the calls of admitted intents; release the others, whose executions are returned.

        A batch that waited out an outage may be late: nothing starts after the time."""
        begun = {row["id"]: row["status"] for row in admitted}
        left_out, over = [], self._is_over()
        for intent in intents:
            if intent.execution in begun and intent.immediate_outcome is not None:
                continue
            if begun.get(intent.execution) == ExecutionState.RUNNING:
                if over:
                    unsent = Release(intent.task, TaskState.PENDING, unsent=intent.execution)
                    self.releases.append(unsent)
                else:
                    self.flight.start(intent)
            else:
                left_out.append(intent)
        self.summary.executions += len(intents) - len(left_out)
        if not left_out:
            return set()
        self.releases += await why_refused(self.world, left_out)
        return {intent.execution for intent in left_out}

    # --- settle and publish ---------------------------------------------------------------------------------------

    async def _ends(self, intents: list[Intent], now: int) -> list[tuple[Intent, Stored]]:
        """What this round trip settles: calls that have ended, and intents whose outcome is known without a call."""
        settles = self.flight.ended and pace.should_settle(self._load(), self.pace, begins=bool(intents))
        ended = self.flight.take_ended() if settles else []
        for intent in intents:
            if intent.immediate_outcome is not None:
                rests = self.traffic.note(intent, intent.immediate_outcome, now)
                end = ended_by_call(self.world, intent, intent.immediate_outcome, now, rests, self.work)
                ended.append((intent, await store_result(self.world, decide_and_price(end))))
        return ended

    async def _settled(self, ends: list[tuple[Intent, Stored]], settled: Settled) -> None:
        if settled.woken:
            self.exhausted = self.rung = False
        for intent, stored in ends:
            verdict = settled.verdicts[intent.execution]
            if verdict is Verdict.MINE:
                total_micro = settled.total_micro(intent.execution)
                self._moved(stored.settlement, intent, total_micro)
            else:
                self.flight.overtaken(intent.task.token, stored.settlement.ended, verdict)
        # An answer that a webhook brought in the meantime may spare the next call.
        await self.flight.handle([one.execution for one, _ in ends if one.task.id in settled.unhandled])

    def _moved(self, settlement: Settlement, intent: Intent, total_micro: object) -> None:
        """After our settle: continue with the task under its lease, or publish its new state."""
        report(settlement)
        decision, task = settlement.decision, intent.task
        move = decision.task
        if move is not None and move.state is TaskState.RUNNING:
            self.ready.appendleft(task.moved(move, intent.execution, decision.result))
            return
        if move is None:
            self.leases.done(task.token)
            return
        due = move.run_at_ms if move.state is TaskState.PENDING else decision.wake_at_ms
        if due is not None:
            self._ring_at(due)
        self.publishing.put(task.token, after_settle(settlement, move, intent, total_micro))
        self.leases.done(task.token)

    def _ring_at(self, due_ms: int) -> None:
        """Ring a doorbell for work that becomes due soon; one doorbell serves everything due within the same second."""
        wait = due_ms - self.world.clock.now_ms()
        if wait <= doorbells.RING_WITHIN_MS:
            self.doorbells.add(max(0, -(-wait // 1000)))

    # --- releases, the end ----------------------------------------------------------------------------------------

    def _released(self, releases: Sequence[Release]) -> None:
        """Publish tasks that failed or are blocked; a task that was given back unchanged needs no new status."""
        changed = {r.task.id: r.task.token for r in releases if r.is_news}
        if changed:
            self.publishing.republish(changed)
        for released in releases:
            self.leases.done(released.task.token)
            if released.run_at_ms is not None:
                self._ring_at(released.run_at_ms)
                self.exhausted &= released.run_at_ms > self.world.clock.now_ms()
            report_release(released)

    async def _wind_down(self) -> None:
        """The process ends soon: give back what was not begun, let calls end within their grace, settle the rest."""
        await self._give_back()
        await self.flight.end(self.world.config.grace_ms if self.stopping() else 0)
        await self._round_trip()

    async def _hand_over(self) -> None:
        """Leave the rest to another run, and wake one now if this one still waits for calls."""
        self.handed_over = True
        self.summary.more |= not self.exhausted
        await self._give_back()
        await self._round_trip()
        if self.summary.more and self.flight.calls and not self.rung and not self.stopping():
            self.rung = True
            self.publishing.aside(doorbells.ring(self.world))

    async def _give_back(self) -> None:
        if self.ready or self.follow_ups:
            self.summary.more, self.rung = True, False
        self.releases += [Release(task, TaskState.PENDING) for task in self.ready]
        self.ready.clear()
        if self.follow_ups:
            batch = self.world.batch()
            batch.add(follow_up.give_back(self.follow_ups, self.world.clock.now_ms()))
            await batch.commit()
            self.follow_ups.clear()

    async def _finish(self) -> None:
        """Drop the last leases, and ring for what becomes due soon or was left."""
        await self.publishing.finish()
        batch = self.world.batch()
        batch.add(*self.leases.statements(self.world.clock.now_ms()), *self.traffic.let_go())
        await batch.commit()
        if self.summary.more and not self.rung and not self.stopping():
            self.doorbells.add(0)
        delays = sorted(self.doorbells)[: self.world.config.doorbells_per_tick]
        await asyncio.gather(*(doorbells.ring(self.world, delay_s=delay) for delay in delays))
