"""One run: claim -> begin -> perform -> judge -> settle -> publish -> finish, until nothing is due.
A run belongs to one invocation.  Each turn of its loop is at most one round trip to the database, which carries
whatever is there to be written: the settles of finished calls, the begins of the next ones, releases, the
renewal of leases and the next claim.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consumer.core.decide import ExecutionView, Situation, TaskView
from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.core.policy import RENEW_EVERY
from consumer.execution import doorbells, follow_up, publish
from consumer.execution.call import judge
from consumer.execution.facts import facts
from consumer.execution.resolve import keep, settle
from consumer.execution.settle import (
    Ended,
    Verdict,
    report,
    row,
    statements,
    told_early,
    told_meanwhile,
    verdicts,
)
from consumer.ports import Refused
from consumer.run import begin, claim
from consumer.run.begin import Intent, Release, prepare
from consumer.run.flight import Flight
from consumer.run.leases import Leases
from consumer.store.batch import commit
from consumer.telemetry import Event, log, word

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.core.outcome import Outcome
    from consumer.ports import Result, Statement
    from consumer.run.claim import Claimed
    from consumer.world import World

Settling = tuple[Ended, dict[str, Any], Intent]


@dataclass(slots=True)
class Summary:
    """What a run did.  `more`: it stopped before nothing was due.  `left`: leases that only the sweep can end."""

    claimed: int = 0
    executions: int = 0
    followed_up: int = 0
    more: bool = False
    left: int = 0


class Run:
    """One invocation's work.  `stopping` says whether the process was asked to end."""

    def __init__(self, world: World, stopping: Callable[[], bool] = lambda: False) -> None:
        now = world.clock.now_ms()
        self.world = world
        self.stopping = stopping
        self.stop_at_ms = now + world.config.invocation_ms
        self.summary = Summary()
        self.leases = Leases(world.config.lease_ms, now + RENEW_EVERY)
        self.flight = Flight(world, self.leases.published, self.leases.unpublished)
        self.ready: deque[Claimed] = deque()
        self.follow_ups: deque[int] = deque()
        self.releases: list[Release] = []
        self.alarms: set[int] = set()
        self.exhausted = False
        self.stalled = False
        self.sent = 0

    async def drain(self) -> Summary:
        """Claim, do and settle until nothing is due or the time is over.

        Raises `Unavailable` when the database cannot be reached: leases and the sweep repair what was open."""
        try:
            while self._busy() or self._hungry():
                if self._over():
                    await self._wind_down()
                elif self._worth_a_trip():
                    await self._trip()
                    await asyncio.sleep(0)  # a database in this process never lets others run by itself
                else:
                    await self._wait()
            self.summary.more |= not self.exhausted
            await self._finish()
        finally:
            await self.flight.end(0)
        self.summary.left = len(self.leases.left)
        return self.summary

    def _over(self) -> bool:
        return self.stopping() or self.world.clock.now_ms() >= self.stop_at_ms

    def _busy(self) -> bool:
        return bool(self.ready or self.follow_ups or self.flight.calls or self.flight.ended or self.releases)

    def _hungry(self) -> bool:
        """Whether a round trip should claim."""
        flight, config = self.flight, self.world.config
        if self.exhausted or self._over() or self.sent >= config.statements:
            return False
        if self.ready:
            return len(self.ready) < config.prefetch_below and flight.room <= 0 and not flight.ended
        return flight.room > 0 and flight.free_connections > 0

    def _can_start(self) -> bool:
        if self.flight.room <= 0:
            return False
        return bool(self.ready and not self.stalled) or bool(
            self.follow_ups and self.flight.free_connections > 0
        )

    def _worth_a_trip(self) -> bool:
        if self.releases or not self.flight.calls or self.world.clock.now_ms() >= self.leases.renew_at_ms:
            return True
        return self._can_start() or self._hungry() or self._flush_due()

    def _flush_due(self) -> bool:
        """Whether what has ended has waited long enough for company."""
        flight, config = self.flight, self.world.config
        if not flight.ended:
            return False
        waited = self.world.clock.now_ms() - flight.first_ended_ms
        return len(flight.ended) >= config.flush_size or waited >= config.flush_after_ms

    async def _wait(self) -> None:
        until = min(self.leases.renew_at_ms, self.stop_at_ms)
        if self.flight.ended:
            until = min(until, self.flight.first_ended_ms + self.world.config.flush_after_ms)
        await self.flight.wait(until)
        self.stalled = self.flight.free_connections <= 0

    async def _trip(self) -> None:
        """Write all there is to write and take the next tasks, in one batch."""
        while self.follow_ups and self.flight.room > 0 and self.flight.free_connections > 0:
            self.flight.follow_up(self.follow_ups.popleft())
        now = self.world.clock.now_ms()
        intents = self._next_intents(now)
        worth_it = len(self.flight.ended) >= self.world.config.settle_with_begins_at or self._flush_due()
        ended = self.flight.take_ended() if worth_it or not intents else []
        ended += [(one, one.immediate_outcome) for one in intents if one.immediate_outcome is not None]
        settling = [await self._settling(one, outcome, now) for one, outcome in ended]
        releases, self.releases = self.releases, []

        begins = begin.statements(intents, now)
        settles = statements([values for _, values, _ in settling], now)
        others = begin.given_up(releases, now) + self.leases.statements(now)
        token = self.world.entropy.token() if self._hungry() else None
        claims = claim.statements(self.world, token, now) if token else []
        batch = begins + settles + others + claims
        if not batch:
            return
        try:
            results = await self._commit(batch)
        except Refused as error:
            if not (intents or settling or releases):
                raise
            log().error(Event.UNSTORABLE, error=str(error)[:200], count=len(settling))
            await self._one_by_one(intents, settling, releases, now)
            return
        left_out = await self._begun(intents, results[: len(begins)])
        settling = [one for one in settling if one[2].execution not in left_out]
        await self._settled(settling, results[len(begins) : len(begins) + len(settles)])
        await self._released(releases)
        if token:
            await self._take(token, results[-len(claims) :])

    async def _commit(self, batch: Sequence[Statement]) -> list[Result]:
        self.sent += len(batch)
        return await commit(self.world.database, self.world.entropy, batch)

    async def _one_by_one(
        self, intents: list[Intent], settling: list[Settling], releases: list[Release], now: int
    ) -> None:
        """The group was refused: each alone, so that one bad row takes no other's paid answer along."""
        left_out: set[int] = set()
        for one in intents:
            try:
                begun = await self._commit(begin.statements([one], now))
            except Refused:
                self.releases.append(Release(one.task, TaskState.FAILED, reason="unstorable"))
                left_out.add(one.execution)
            else:
                left_out |= await self._begun([one], begun)
        for ended, values, one in settling:
            if one.execution in left_out:
                continue
            try:
                results = await self._commit(statements([values], now))
                await self._settled([(ended, values, one)], results)
            except Refused:
                await self._settle_as_failure(ended, one, now)
        if releases:
            await self._commit(begin.given_up(releases, now))
            await self._released(releases)

    async def _settle_as_failure(self, ended: Ended, one: Intent, now: int) -> None:
        """An answer that no row can hold: its cost is kept.  When even that is refused, the lease tells the sweep."""
        ended.unstorable()
        values = await row(self.world, ended, one.task.id)
        try:
            results = await self._commit(statements([values], now))
        except Refused as error:
            log().error(Event.UNSTORABLE, execution=one.execution, error=str(error)[:200])
            return
        await self._settled([(ended, values, one)], results)

    async def _take(self, token: str, results: Sequence[Result]) -> None:
        taken = await claim.read(self.world, token, results)
        self.exhausted = not (taken.tasks or taken.executions or taken.publish or taken.told)
        self.summary.claimed += len(taken.tasks)
        self.summary.followed_up += len(taken.executions)
        self.ready.extend(taken.tasks)
        self.follow_ups.extend(taken.executions)
        if taken.tasks:
            self.leases.take(token, len(taken.tasks))
        if taken.publish:
            await follow_up.publish_outbox(self.world, token, taken.publish)
        if taken.told:
            self.follow_ups.extend(await follow_up.with_unhandled_webhooks(self.world, taken.told))

    def _next_intents(self, now: int) -> list[Intent]:
        """As many claimed tasks as there is room for; what needs no call needs no room."""
        chosen: list[Intent] = []
        room = min(self.flight.room, self.world.config.begin_size)
        connections = self.flight.free_connections
        while self.ready and room > 0 and not self._over():
            prepared = prepare(self.world, self.ready[0], now)
            if isinstance(prepared, Intent) and prepared.immediate_outcome is None:
                if prepared.provider.needs_base_url:
                    if connections == 0:
                        self.stalled = True
                        break
                    connections -= 1
                room -= 1
            self.ready.popleft()
            if isinstance(prepared, Intent):
                chosen.append(prepared)
            else:
                self.releases.append(prepared)
        return chosen

    async def _begun(self, intents: list[Intent], results: Sequence[Result]) -> set[int]:
        """Send what was admitted; find out about the rest, whose executions are returned."""
        begun = {
            found["id"]: found["status"] for result in results for found in result.rows if "status" in found
        }
        left_out = []
        for one in intents:
            if one.execution in begun and one.immediate_outcome is not None:
                continue
            if begun.get(one.execution) == ExecutionState.RUNNING:
                self.flight.start(one)
            else:
                left_out.append(one)
        self.summary.executions += len(intents) - len(left_out)
        if not left_out:
            return set()
        self.releases += await begin.refused(self.world, left_out)
        return {one.execution for one in left_out}

    async def _settling(self, one: Intent, outcome: Outcome, now: int) -> Settling:
        task = one.task
        assert task.plan is not None  # noqa: S101  # an intent is made from a plan
        abilities = one.provider.abilities
        execution = ExecutionView(
            id=one.execution,
            state=ExecutionState.RUNNING,
            stage=task.position.stage,
            started_ms=one.started_ms,
            newest=True,
            person=one.provider.kind == "human",
            repeatable=abilities.honours_key,
            evidence=abilities.evidence,
            resolve_by_ms=None,
        )
        view = TaskView(task.id, task.version, TaskState.RUNNING, task.position, task.deadline_ms, held=True)
        draw = self.world.entropy.draw()
        ended = Ended(
            Situation(view, execution, task.plan.route, task.plan.limits, now, draw),
            judge(task.plan, outcome),
            one.account,
            task.organization,
            one.account.name,
            one.reserved_micro,
            has_budget=bool(one.periods),
        )
        return ended, await row(self.world, ended, task.id), one

    async def _settled(self, settling: list[Settling], results: Sequence[Result]) -> None:
        found = verdicts([values for _, values, _ in settling], results)
        if told_early(results):
            self.exhausted = False
        snapshots: list[dict[str, Any]] = []
        for ended, _, one in settling:
            verdict, seen = found[one.execution]
            if verdict is Verdict.MINE:
                snapshots += self._went(ended, one, seen["total_micro"] if seen else None)
                continue
            await self._overtaken(ended, verdict)
            self.leases.done(one.task.token)
        width = max(1, self.world.config.all_connections - self.flight.connected)
        failed = await publish.put_all(self.world, snapshots, width)
        self.leases.unpublished += failed
        self.leases.published |= {
            one["task"]: one["version"] for one in snapshots if one["task"] not in failed
        }
        told = told_meanwhile(results)
        await follow_up.handle_webhooks(
            self.world, [one.execution for _, _, one in settling if one.task.id in told]
        )

    def _went(self, ended: Ended, one: Intent, total_micro: object) -> list[dict[str, Any]]:
        """The settle is ours: go on with the task, or say how it stands now."""
        report(ended)
        move, task = ended.decision.task, one.task
        if move is not None and move.state is TaskState.RUNNING:
            self.ready.appendleft(task.moved(move, one.execution, ended.decision.keeps))
            return []
        self.leases.done(task.token)
        if move is None:
            return []
        due = move.run_at_ms if move.state is TaskState.PENDING else ended.decision.wake_at_ms
        if due is not None:
            self._alarm(due)
        snapshot = publish.moved(
            task.id,
            task.organization,
            task.version + 1,
            move.state,
            ended.situation.now_ms,
            stage=move.position.stage,
            attempt=move.position.attempt,
            account=one.account,
            total_micro=total_micro,
            reason=move.reason,
        )
        return [snapshot]

    async def _overtaken(self, ended: Ended, verdict: Verdict) -> None:
        """Somebody else moved the task or ended the execution: judge again with fresh facts, keep the bill."""
        if verdict is Verdict.LATE:
            await keep(self.world, ended.execution.id, ended.outcome)
            return
        for fact in await facts(self.world, [ended.execution.id]):
            settled, _ = await settle(self.world, fact, ended.outcome)
            if settled is Verdict.LATE:
                await keep(self.world, ended.execution.id, ended.outcome)

    def _alarm(self, due_ms: int) -> None:
        """A doorbell for what becomes due soon; one serves all that are due within the same second."""
        wait = due_ms - self.world.clock.now_ms()
        if wait <= doorbells.RING_WITHIN_MS:
            self.alarms.add(max(0, -(-wait // 1000)))

    async def _released(self, releases: Sequence[Release]) -> None:
        """Readers hear of a task that failed or is blocked; one given back untouched changes nothing for them."""
        for one in releases:
            self.leases.done(one.task.token)
            if one.run_at_ms is not None:
                self._alarm(one.run_at_ms)
            if one.to is TaskState.FAILED:
                reason = word(one.reason)
                fields = {"task": one.task.id, "organization": one.task.organization, "reason": reason}
                log().info(Event.TASK_ENDED, status=one.to.value, **fields)
        told = [one.task.id for one in releases if one.blocked_by or one.reason]
        if told:
            published = await publish.republish(self.world, told)
            self.leases.published |= published
            self.leases.unpublished += [task for task in told if task not in published]

    async def _wind_down(self) -> None:
        """Nothing new: give back what was not begun, let calls in flight end within their grace, settle the rest."""
        self.summary.more |= bool(self.ready or self.follow_ups)
        self.releases += [Release(task, TaskState.PENDING) for task in self.ready]
        self.ready.clear()
        if self.follow_ups:
            await self._commit([follow_up.give_back(self.follow_ups, self.world.clock.now_ms())])
            self.follow_ups.clear()
        await self.flight.end(self.world.config.grace_ms)
        await self._trip()

    async def _finish(self) -> None:
        """Drop the last leases, and ring for what becomes due soon or was left."""
        leases = self.leases.statements(self.world.clock.now_ms())
        if leases:
            await self._commit(leases)
        if self.summary.more and not self.stopping():
            self.alarms.add(0)
        for delay in sorted(self.alarms)[: self.world.config.doorbells_per_tick]:
            await doorbells.ring(self.world, delay_s=delay)
