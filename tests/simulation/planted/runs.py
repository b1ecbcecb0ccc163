"""Bugs in a run's time, in what it settles, and in what it leaves to others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from consumer.core import pace
from consumer.core.situation import Position
from consumer.core.snapshot import key
from consumer.core.strictjson import dump_flat
from consumer.execution import publish
from consumer.run.flight import Flight
from consumer.run.run import Run
from consumer.store import begin
from tests.simulation.planted.patch import Patch, bug

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.pace import Load, Pace


@bug
def work_begins_after_the_time(patch: Patch) -> None:
    """A run begins new work until its hard limit, so that its calls outlast the invocation."""

    def begun(self: Run, *arguments: Any) -> None:
        original(self, *arguments)
        self.stop_at_ms = self.cut_at_ms

    original = patch.set(Run, "__init__", begun)


@bug
def calls_that_are_cut_off_are_not_settled(patch: Patch) -> None:
    """A call that its worker cuts off ends without an outcome, and the sweep finds it minutes later."""

    async def end(self: Flight, grace_ms: int) -> None:
        if self.calls:
            await asyncio.wait(self.calls, timeout=grace_ms / 1000)
        for call in list(self.calls):
            intent = self.calls[call]
            call.cancel()
            if intent is not None:
                self.leases.done(intent.task.token)
        await asyncio.gather(*self.calls, return_exceptions=True)
        cut = [one for one in self.ended if "cut_off" in str(one[1].settlement.reason)]
        self.ended = [one for one in self.ended if one not in cut]

    patch.set(Flight, "end", end)


@bug
def answers_in_a_batch_are_given_up(patch: Patch) -> None:
    """A run waits an outage out for calls that are under way, and not for answers that it is writing."""

    def keep_trying(self: Run) -> bool:
        return bool(self.flight.calls) and self.world.clock.now_ms() < self.cut_at_ms

    patch.set(Run, "_keep_trying", keep_trying)


@bug
def status_is_written_without_a_time_limit(patch: Patch) -> None:
    """A write of the live status waits for the store for ever."""

    async def write(world: Any, value: Mapping[str, Any]) -> None:
        await world.kv.put(key(value["task"], value["identity"] or ""), dump_flat(value), None)

    patch.set(publish, "write", write)


@bug
def hand_over_forgets_the_calls_in_flight(patch: Patch) -> None:
    """A run that has left the rest to another one ends, although its own calls are still under way."""

    def next_step(load: Load, given: Pace) -> Any:
        return original(load._replace(in_flight=0) if load.handed_over else load, given)

    original = patch.set(pace, "next_step", next_step)


@bug
def unsent_call_stays_open(patch: Patch) -> None:
    """A begin that is applied late, after the worker has given its task back, stays an open call."""
    patch.sql(begin.UNSENT, "WHERE ", "WHERE false AND ")


@bug
def repeat_is_repeated(patch: Patch) -> None:
    """A call whose outcome is unknown is repeated, although it is itself the repeat of another one."""
    patch.set(Position, "was_repeated", lambda _position, _execution: False)
