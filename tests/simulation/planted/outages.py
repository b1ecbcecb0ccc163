"""Bugs in time, outages, the platform's limits, and what a reply proves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.core import statuses
from consumer.core.money import Usage
from consumer.core.statuses import Proof
from consumer.core.usage import read_usage
from consumer.run.meter import Metered
from consumer.run.run import Run
from consumer.run.traffic import Traffic
from consumer.world import World
from tests.simulation.planted.patch import Patch, bug

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from consumer.ports import Result, Statement


@bug
def calls_end_with_the_time_for_new_work(patch: Patch) -> None:
    """A run cuts its calls off when its time for new work is over, as if it was asked to stop."""

    def begun(self: Run, *arguments: Any) -> None:
        original(self, *arguments)
        self.cut_at_ms = self.stop_at_ms

    original = patch.set(Run, "__init__", begun)


@bug
def failure_of_the_database_cancels_calls(patch: Patch) -> None:
    """A run that cannot reach the database for five tries gives up, and its calls with it."""
    patch.set(Run, "_keep_trying", lambda _run: False)


@bug
def storage_without_a_time_limit(patch: Patch) -> None:
    """A call to the status store, the blob store or the queue waits for ever."""

    async def within(_world: World, answer: Awaitable[Any]) -> Any:
        return await answer

    patch.set(World, "within", within)


@bug
def statements_are_not_counted(patch: Patch) -> None:
    """A run does not count the statements that it sends."""

    async def batch(self: Metered, statements: Sequence[Statement]) -> list[Result]:
        return await self._database.batch(statements)

    patch.set(Metered, "batch", batch)


@bug
def any_status_of_an_error_is_free(patch: Patch) -> None:
    """Statuses that a server on the way makes after the work count as proof that nothing was done."""
    free = statuses.PROOF | dict.fromkeys((408, 500, 502, 503, 504), Proof.BUSY)
    patch.set(statuses, "PROOF", free)


@bug
def counts_of_zero_are_believed(patch: Patch) -> None:
    """A usage of zero tokens beside an answer counts as a call that costs nothing."""

    def read(found: Any, model: str, *, worked: bool, wrote: bool) -> Usage | None:
        usage = original(found, model, worked=worked, wrote=wrote)
        counts = found.values() if isinstance(found, dict) else ()
        return Usage(0, 0, model=model) if counts and not any(counts) else usage

    original = read_usage
    patch.everywhere(original, read)


@bug
def state_of_a_profile_lost_during_a_round_trip(patch: Patch) -> None:
    """What a call says about its profile is lost if it ends while a batch is under way."""

    def read(self: Traffic, rows: Any) -> None:
        changed, self.changed = self.changed, set()
        original(self, rows)
        self.changed = changed

    original = patch.set(Traffic, "read", read)
