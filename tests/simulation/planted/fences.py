"""Who may write what, and when: fences, leases, intents, acknowledgements, unknown outcomes."""

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
from consumer.run.run import Run, Summary
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
    """A settle writes whatever version the task has by then."""
    patch.sql(settle.SETTLE_TASKS, "tasks.version = value ->> 'version' AND ", "")
    patch.sql(
        settle.SETTLE_EXECUTIONS,
        "COALESCE((SELECT version FROM tasks WHERE id = value ->> 'task'), value ->> 'version') = value ->> 'version'",
        "true",
    )


@bug
def acknowledged_before_the_work(patch: Patch) -> None:
    """The messages are acknowledged first, and then the work is done."""

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
    """The lease of a batch that is done stays until it expires."""
    patch.sql(leases.FINISH, "WHERE ", "WHERE false AND ")


@bug
def lost_lease_not_repaired(patch: Patch) -> None:
    """Tasks whose worker died before it began them are left to it."""
    patch.sql(sweep_sql.LOST_TASKS, "WHERE ", "WHERE false AND ")


@bug
def lost_call_not_repaired(patch: Patch) -> None:
    """Calls whose worker died in their midst stay `running`."""
    patch.sql(sweep_sql.LOST_CALLS, "WHERE id IN", "WHERE false AND id IN")


@bug
def doorbell_lost_after_commit(patch: Patch) -> None:
    """Nobody rings for what is due but was not heard."""

    async def ring_for_due(*_arguments: object) -> int:
        return 0

    patch.set(sweep, "ring_for_due", ring_for_due)


@bug
def poison_for_ever(patch: Patch) -> None:
    """A task that kills every worker is given to the next one without end."""
    patch.sql(sweep_sql.LOST_TASKS, "tasks.lost + 1 >= ?", "tasks.lost + 1 >= 1000000 + ?")


@bug
def poison_with_its_batch(patch: Patch) -> None:
    """What has lost its worker is claimed together with others, and fails them."""
    patch.sql(claim.CLAIM_LEASE, "CASE WHEN max(lost) > 0 THEN", "CASE WHEN false THEN")


@bug
def begun_again_while_open(patch: Patch) -> None:
    """A task that another application set back to pending is run again though its call is open."""
    patch.sql(claim.CLAIMED, "AND e.status IN ('running', 'waiting', 'unknown')", "AND false")
    patch.sql(begin.BEGIN, "AND e.status IN ('running', 'waiting', 'unknown')", "AND false")


@bug
def sent_without_intent(patch: Patch) -> None:
    """A call is sent whether its execution was begun or not."""

    async def begun(self: Run, intents: Any, _results: object) -> set[int]:
        for one in intents:
            if one.immediate_outcome is None:
                self.flight.start(one)
        return set()

    patch.set(Run, "_begun", begun)


@bug
def unknown_retried_without_a_record(patch: Patch) -> None:
    """A call that was not answered is simply sent once more."""

    async def call(world: Any, provider: Any, call: Any, verb: Any, step: Any) -> Any:
        outcome = await original(world, provider, call, verb, step)
        if isinstance(outcome, Unknown):
            outcome = await original(world, provider, call, verb, step)
        return outcome

    original = patch.set(flight, "perform", call)


@bug
def unknown_taken_for_failed(patch: Patch) -> None:
    """A call that was not answered counts as not done and not charged."""
    original = perform.perform

    async def call(*arguments: Any) -> Any:
        outcome = await original(*arguments)
        return Failed(outcome.why) if isinstance(outcome, Unknown) else outcome

    patch.set(flight, "perform", call)


@bug
def unknown_blocks_nothing(patch: Patch) -> None:
    """While nobody knows what became of a call, the next candidate is tried."""

    def unknown(at: Any, outcome: Unknown) -> Any:
        if not at.current or at.execution.state == "unknown":
            return original(at, outcome)
        return replace(original(at, outcome), task=decide._go_on(at, at.task.position))

    original = patch.set(decide, "_unknown", unknown)
    patch.sql(claim.CLAIMED, "AND e.status IN ('running', 'waiting', 'unknown')", "AND false")
    patch.sql(begin.BEGIN, "AND e.status IN ('running', 'waiting', 'unknown')", "AND false")


@bug
def key_changes_at_retry(patch: Patch) -> None:
    """The idempotency key is made anew each time a call is built."""
    original = perform.build_call

    def build_call(world: Any, *arguments: Any) -> Any:
        call = original(world, *arguments)
        return replace(call, key=f"{call.key}-{world.clock.now_ms()}")

    patch.everywhere(original, build_call)


@bug
def repeated_after_a_stop(patch: Patch) -> None:
    """A call whose fate is unknown is sent again under its key, though all spending was stopped."""
    patch.sql(facts.SITUATIONS, "EXISTS (SELECT 1 FROM stops) AS stopped", "false AS stopped")


@bug
def resolve_by_ignored(patch: Patch) -> None:
    """What nobody answers stays open."""
    patch.set(follow_up.View, "expired", property(lambda _view: False))


@bug
def deadline_ignored(patch: Patch) -> None:
    """Nothing happens at a task's own deadline."""
    patch.sql(sweep_sql.OVERDUE_TASKS, "WHERE id IN", "WHERE false AND id IN")


@bug
def begun_after_the_deadline(patch: Patch) -> None:
    """Nobody looks at the deadline before a call, and the sweep forgets it."""
    original = claiming._claimed

    async def claimed(*arguments: Any) -> Any:
        task = await original(*arguments)
        task.deadline_ms = None
        return task

    patch.set(claiming, "_claimed", claimed)
    patch.sql(sweep_sql.OVERDUE_TASKS, "WHERE id IN", "WHERE false AND id IN")


@bug
def redo_unbounded(patch: Patch) -> None:
    """A reviewer may send a draft back for ever."""

    def rejected(at: Any, outcome: Any) -> Any:
        if outcome.redo:
            return replace(
                decide._go_on(at, decide._task(at).position.previous_stage()), feedback=outcome.note
            )
        return original(at, outcome)

    original = patch.set(decide, "_rejected", rejected)


@bug
def terminal_overwritten(patch: Patch) -> None:
    """Another application may change a finished task."""
    patch.schema("DROP TRIGGER tasks_finished")


@bug
def cancel_overwritten(patch: Patch) -> None:
    """The settle of a call that was in flight undoes a cancel."""
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
    """Whoever holds a task does not notice that another application has changed it."""
    patch.schema("DROP TRIGGER tasks_foreign_edit")


@bug
def cancel_ends_calls(patch: Patch) -> None:
    """A cancel ends what is open at a provider in the books alone."""
    patch.sql(commands_sql.CANCEL_CALLS, "SET wake_at_ms = 0", "SET status = 'cancelled', wake_at_ms = NULL")


@bug
def open_executions_are_anybodys(patch: Patch) -> None:
    """Another application may end an execution that is open, by its status alone."""
    patch.schema("DROP TRIGGER executions_ours")


@bug
def select_then_insert(patch: Patch) -> None:
    """A submission looks for its key first and then inserts, in two steps."""
    patch.schema("DROP INDEX tasks_idempotency")
    _, clause, tail = commands_sql.SUBMIT.sql.partition("ON CONFLICT")
    patch.sql(commands_sql.SUBMIT, clause + tail, "RETURNING id, idempotency_key")
    original = committing.commit

    async def commit(database: Any, entropy: Any, batch: Any) -> Any:
        if batch[0].sql == commands_sql.SUBMIT.sql:
            (found,) = await original(database, entropy, batch[1:])
            if found.rows:
                batch = [Statement("SELECT 1 AS created_at, '' AS idempotency_key WHERE false"), *batch[1:]]
        return await original(database, entropy, batch)

    patch.set(committing, "commit", commit)


@bug
def retried_twice(patch: Patch) -> None:
    """Whoever asks for a retry again, because no answer came, has a second task made."""
    original = committing.commit
    count = itertools.count(1)

    async def commit(database: Any, entropy: Any, batch: Any) -> Any:
        if batch[0].sql == commands_sql.SUBMIT.sql:
            new = f"-{next(count)}"
            parts = [tuple(_keyed(value, new) for value in one.parameters) for one in batch]
            batch = [Statement(one.sql, part) for one, part in zip(batch, parts, strict=True)]
        return await original(database, entropy, batch)

    patch.set(committing, "commit", commit)


def _keyed(value: Any, suffix: str) -> Any:
    return re.sub(r'("key": ?"~retry[^"]*)', rf"\1{suffix}", value) if isinstance(value, str) else value


@bug
def answer_of_the_stage_before_lost(patch: Patch) -> None:
    """A later stage is not given what the one before it made."""
    patch.sql(
        settle.SETTLE_TASKS,
        "WHEN value ->> 'feeds_next' THEN value ->> 'execution'",
        "WHEN value ->> 'feeds_next' THEN input_from",
    )
    original = claiming.Claimed.moved
    patch.set(
        claiming.Claimed, "moved", lambda self, move, number, _output: original(self, move, number, None)
    )
