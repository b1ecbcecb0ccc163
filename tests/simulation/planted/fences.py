"""Bugs in fences, leases, intents, acknowledgements and unknown outcomes."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from consumer.app import App
from consumer.core import decide, follow_up
from consumer.core.outcome import Failed, Unknown
from consumer.execution import call as perform
from consumer.ports import PortError, Statement
from consumer.run import claim as claiming
from consumer.run import flight, sweep
from consumer.run.run import Run
from consumer.run.summary import Summary
from consumer.store import batch as committing
from consumer.store import begin, claim, facts, leases, settle
from consumer.store import commands as commands_sql
from consumer.store import sweep as sweep_sql
from tests.simulation.planted.patch import Patch, bug

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Message


@bug
def no_fencing(patch: Patch) -> None:
    """A settle ignores the version of its task."""
    patch.sql(settle.SETTLE_TASKS, "tasks.version = value ->> 'version' AND ", "")
    patch.sql(
        settle.SETTLE_EXECUTIONS,
        "COALESCE((SELECT version FROM tasks WHERE id = value ->> 'task'), value ->> 'version') = value ->> 'version'",
        "true",
    )


@bug
def acknowledged_before_the_work(patch: Patch) -> None:
    """The worker acknowledges its messages before it does the work."""

    async def on_messages(self: App, messages: Sequence[Message]) -> Summary:
        for one in messages:
            one.ack()
        try:
            return await Run(self.world, self.stopping).drain()
        except PortError:
            return Summary()

    patch.set(App, "on_messages", on_messages)


@bug
def lease_never_released(patch: Patch) -> None:
    """The lease of a finished batch stays until it expires."""
    patch.sql(leases.FINISH, "WHERE ", "WHERE false AND ")


@bug
def lost_lease_not_repaired(patch: Patch) -> None:
    """Tasks whose worker died before it began them stay claimed."""
    patch.sql(sweep_sql.LOST_TASKS, "WHERE ", "WHERE false AND ")


@bug
def lost_call_not_repaired(patch: Patch) -> None:
    """Calls whose worker died stay `running`."""
    patch.sql(sweep_sql.LOST_CALLS, "WHERE id IN", "WHERE false AND id IN")


@bug
def doorbell_lost_after_commit(patch: Patch) -> None:
    """The sweep does not ring again for due tasks whose doorbell was lost."""

    async def ring_for_due(*_arguments: object) -> int:
        return 0

    patch.set(sweep, "ring_for_due", ring_for_due)


@bug
def task_that_kills_workers_is_never_given_up(patch: Patch) -> None:
    """A task that kills its workers is claimed again for ever."""
    patch.sql(sweep_sql.LOST_TASKS, "tasks.lost_leases + 1 >= ?", "tasks.lost_leases + 1 >= 1000000 + ?")


@bug
def task_that_kills_workers_is_claimed_with_others(patch: Patch) -> None:
    """A task that lost its worker is claimed together with others, and kills their worker too."""
    patch.sql(claim.CLAIM_LEASE, "CASE WHEN max(lost_leases) > 0 THEN", "CASE WHEN false THEN")


@bug
def begun_again_while_open(patch: Patch) -> None:
    """A task that another application set to pending is run again although its call is open."""
    patch.sql(claim.CLAIMED, "AND e.status IN ('running', 'waiting', 'unknown')", "AND false")
    patch.sql(begin.BEGIN, "AND e.status IN ('running', 'waiting', 'unknown')", "AND false")


@bug
def sent_without_intent(patch: Patch) -> None:
    """A call is sent even if its intent was refused."""

    async def begun(self: Run, intents: Any, _results: object) -> set[int]:
        for one in intents:
            if one.immediate_outcome is None:
                self.flight.start(one)
        return set()

    patch.set(Run, "_begun", begun)


@bug
def unknown_retried_without_a_record(patch: Patch) -> None:
    """A call without an answer is repeated without recording it as unknown."""

    async def call(world: Any, provider: Any, call: Any, verb: Any, step: Any) -> Any:
        outcome = await original(world, provider, call, verb, step)
        if isinstance(outcome, Unknown):
            outcome = await original(world, provider, call, verb, step)
        return outcome

    original = patch.set(flight, "perform", call)


@bug
def unknown_taken_for_failed(patch: Patch) -> None:
    """A call without an answer counts as failed and free."""
    original = perform.perform

    async def call(*arguments: Any) -> Any:
        outcome = await original(*arguments)
        return Failed(outcome.why) if isinstance(outcome, Unknown) else outcome

    patch.set(flight, "perform", call)


@bug
def next_candidate_tried_during_an_unknown(patch: Patch) -> None:
    """While the outcome of a call is unknown, the next candidate is tried."""

    def unknown(at: Any, outcome: Unknown) -> Any:
        if not at.current or at.execution.state == "unknown":
            return original(at, outcome)
        return replace(original(at, outcome), task=decide._go_on(at, at.task.position))

    original = patch.set(decide, "_unknown", unknown)
    patch.sql(claim.CLAIMED, "AND e.status IN ('running', 'waiting', 'unknown')", "AND false")
    patch.sql(begin.BEGIN, "AND e.status IN ('running', 'waiting', 'unknown')", "AND false")


@bug
def key_changes_at_retry(patch: Patch) -> None:
    """A new idempotency key is made each time a call is built."""
    original = perform.build_call

    def build_call(world: Any, *arguments: Any) -> Any:
        call = original(world, *arguments)
        return call._replace(key=f"{call.key}-{world.clock.now_ms()}")

    patch.everywhere(original, build_call)


@bug
def repeated_after_a_stop(patch: Patch) -> None:
    """An unknown call is repeated under its key although all spending is stopped."""
    patch.sql(facts.SITUATIONS, "EXISTS (SELECT 1 FROM stops) AS stopped", "false AS stopped")


@bug
def resolve_by_ignored(patch: Patch) -> None:
    """A waiting execution stays open after its own deadline."""
    patch.set(follow_up.View, "expired", property(lambda _view: False))


@bug
def deadline_ignored(patch: Patch) -> None:
    """The sweep does not end tasks at their deadlines."""
    patch.sql(sweep_sql.OVERDUE_TASKS, "WHERE id IN", "WHERE false AND id IN")


@bug
def begun_after_the_deadline(patch: Patch) -> None:
    """The deadline is checked neither before a call nor by the sweep."""
    original = claiming._claimed

    async def claimed(*arguments: Any) -> Any:
        task = await original(*arguments)
        task.deadline_ms = None
        return task

    patch.set(claiming, "_claimed", claimed)
    patch.sql(sweep_sql.OVERDUE_TASKS, "WHERE id IN", "WHERE false AND id IN")


@bug
def redo_unbounded(patch: Patch) -> None:
    """The number of redos is not limited."""

    def rejected(at: Any, outcome: Any) -> Any:
        if outcome.redo:
            return decide._go_on(at, decide._task(at).position.previous_stage())._replace(
                feedback=outcome.note
            )
        return original(at, outcome)

    original = patch.set(decide, "_rejected", rejected)


@bug
def terminal_overwritten(patch: Patch) -> None:
    """Another application can change a finished task."""
    patch.schema("DROP TRIGGER tasks_finished")


@bug
def cancel_overwritten(patch: Patch) -> None:
    """The settle of a call in flight overwrites a cancel."""
    patch.schema("DROP TRIGGER tasks_finished")
    patch.sql(
        settle.SETTLE_TASKS,
        "tasks.version = value ->> 'version'",
        "(tasks.version = value ->> 'version' OR tasks.status = 'cancelled')",
    )
    patch.sql(
        settle.SETTLE_EXECUTIONS,
        "COALESCE((SELECT version FROM tasks WHERE id = value ->> 'task'), value ->> 'version') = value ->> 'version'",
        "true",
    )


@bug
def foreign_edit_not_fenced(patch: Patch) -> None:
    """A change by another application does not raise the version of the task."""
    patch.schema("DROP TRIGGER tasks_foreign_edit")


@bug
def cancel_ends_calls(patch: Patch) -> None:
    """A cancel ends open calls in the database only, and not at the provider."""
    patch.sql(commands_sql.CANCEL_CALLS, "SET wake_at_ms = 0", "SET status = 'cancelled', wake_at_ms = NULL")


@bug
def open_executions_can_be_ended_by_others(patch: Patch) -> None:
    """Another application can end an open execution by changing its status."""
    patch.schema("DROP TRIGGER executions_ours")


@bug
def select_then_insert(patch: Patch) -> None:
    """A submission reads its key and inserts the task in two separate steps."""
    patch.schema("DROP INDEX tasks_idempotency")
    _, clause, tail = commands_sql.SUBMIT.sql.partition("ON CONFLICT")
    patch.sql(commands_sql.SUBMIT, clause + tail, "RETURNING id, idempotency_key")
    original = committing.commit

    async def commit(database: Any, entropy: Any, batch: Any, *patience: Any) -> Any:
        if batch[0].sql == commands_sql.SUBMIT.sql:
            (found,) = await original(database, entropy, batch[1:])
            if found.rows:
                batch = [Statement("SELECT 1 AS created_at, '' AS idempotency_key WHERE false"), *batch[1:]]
        return await original(database, entropy, batch, *patience)

    patch.set(committing, "commit", commit)


@bug
def retried_twice(patch: Patch) -> None:
    """A repeated request for a retry makes a second task."""
    original = committing.commit
    count = itertools.count(1)

    async def commit(database: Any, entropy: Any, batch: Any, *patience: Any) -> Any:
        if batch[0].sql == commands_sql.SUBMIT.sql:
            new = f"-{next(count)}"
            parts = [tuple(_keyed(value, new) for value in one.parameters) for one in batch]
            batch = [Statement(one.sql, part) for one, part in zip(batch, parts, strict=True)]
        return await original(database, entropy, batch, *patience)

    patch.set(committing, "commit", commit)


def _keyed(value: Any, suffix: str) -> Any:
    return re.sub(r'("key": ?"~retry[^"]*)', rf"\1{suffix}", value) if isinstance(value, str) else value


@bug
def previous_result_lost(patch: Patch) -> None:
    """A later stage does not get the result of the previous one."""
    patch.sql(
        settle.SETTLE_TASKS,
        "WHEN value ->> 'feeds_next' THEN value ->> 'execution'",
        "WHEN value ->> 'feeds_next' THEN input_from",
    )
    original = claiming.Claimed.moved
    patch.set(
        claiming.Claimed, "moved", lambda self, move, number, _output: original(self, move, number, None)
    )
