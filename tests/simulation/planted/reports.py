"""Bugs in live status, webhooks, receipts and large answers."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from consumer.core.strictjson import dump_json
from consumer.execution import call, follow_up, inputs, publish, settle, webhooks
from consumer.execution.settlement import Settlement, row_of
from consumer.ports import PortError, Statement, Unavailable
from consumer.provider import standard_webhook
from consumer.run.run import Run
from consumer.service import people, receipts
from consumer.store import publish as publish_sql
from consumer.store import settle as settle_sql
from consumer.store import webhooks as webhooks_sql
from consumer.store.batch import commit
from tests.simulation.planted.patch import Patch, bug

if TYPE_CHECKING:
    from collections.abc import Mapping


@bug
def status_without_version(patch: Patch) -> None:
    """A snapshot does not contain the version that it shows."""

    async def write(world: Any, value: Mapping[str, Any]) -> None:
        await original(world, {**value, "version": 0})

    original = patch.set(publish, "write", write)


@bug
def status_before_the_commit(patch: Patch) -> None:
    """The live status shows an end before it is committed."""

    async def ends(self: Run, intents: Any, now: int) -> Any:
        made = await original(self, intents, now)
        for intent, stored in made:
            task, move = intent.task, stored.settlement.decision.task
            if move is not None:
                whose, version = task.organization, task.version + 1
                early = publish.snapshot_after(
                    task.id, task.identity, whose, version, move.state, now, intent.account
                )
                await publish.write(self.world, early)
        return made

    original = patch.set(Run, "_ends", ends)


@bug
def status_failure_ignored(patch: Patch) -> None:
    """A status that could not be written is not written again."""

    async def write(world: Any, value: Mapping[str, Any]) -> None:
        with suppress(PortError):
            await original(world, value)

    original = patch.set(publish, "write", write)


@bug
def outbox_row_deleted_before_the_put(patch: Patch) -> None:
    """An outbox row is deleted before its status is published."""

    async def publish_outbox(world: Any, token: str, outgoing: Any) -> None:
        done = Statement("DELETE FROM outbox WHERE kind = 'publish' AND holder = ?1", (token,))
        await commit(world.database, world.entropy, [done])
        await publish.republish(world, outgoing)

    patch.set(follow_up, "publish_outbox", publish_outbox)


@bug
def late_status_is_not_corrected(patch: Patch) -> None:
    """A publisher does not check whether its status is still the task's current one."""
    patch.sql(publish_sql.OVERTAKEN, "tasks.version > value ->> 'version'", "false")


@bug
def late_write_is_not_corrected(patch: Patch) -> None:
    """No other write follows a write of a status that was given up, and that may still be carried out."""
    patch.set(publish, "LATE_AFTER_MS", publish.REPAIR_AFTER_MS)


@bug
def webhook_before_acceptance_dropped(patch: Patch) -> None:
    """A webhook about a job whose acceptance is not recorded yet is dropped."""
    patch.sql(webhooks_sql.RECEIVE, "VALUES (", "SELECT ")
    patch.sql(
        webhooks_sql.RECEIVE,
        ")\nON CONFLICT",
        "\nWHERE EXISTS (SELECT 1 FROM task_executions WHERE external_id = ?4)\nON CONFLICT",
    )


@bug
def webhook_handled_before_it_is_settled(patch: Patch) -> None:
    """A webhook counts as handled as soon as it is read."""

    async def unhandled(world: Any, fact: Any) -> Any:
        events = await original(world, fact)
        if events:
            await webhooks.mark_handled(world, events)
        return events

    original = patch.set(webhooks, "unhandled", unhandled)


@bug
def forged_webhook_taken(patch: Patch) -> None:
    """The signature of a webhook is not checked."""

    def unchecked(_secret: object, headers: Mapping[str, str], _body: bytes, _now: int) -> str:
        return headers["webhook-id"]

    patch.everywhere(standard_webhook, unchecked)


@bug
def receipt_always_says_used(patch: Patch) -> None:
    """A receipt does not compare what was sent with what is stored: it says that this answer is used."""
    original = people._receipt

    def receipt(fact: Any, answer: Any, message: str, **more: Any) -> Any:
        sent = more.pop("sent", None)
        return original(fact, answer if sent is None else sent, message, **{**more, "used": True})

    patch.set(people, "_receipt", receipt)


@bug
def words_not_kept(patch: Patch) -> None:
    """A receipt says that an answer which is not used was kept, and nothing is written."""

    async def keep(*_arguments: Any) -> bool:
        return True

    patch.set(receipts, "keep", keep)


@bug
def large_answer_lost(patch: Patch) -> None:
    """A large answer whose blob could not be written counts as written."""

    async def store_result(world: Any, settlement: Settlement) -> settle.Stored:
        stored = await original(world, settlement)
        text = stored.row["result"]
        if text is None or len(text) <= settle.INLINE_RESULT_MAX:
            return stored
        return settle.Stored(settlement, row_of(settlement, None, f"results/{settlement.execution}"))

    original = settle.store_result
    patch.everywhere(original, store_result)


@bug
def large_answer_not_read(patch: Patch) -> None:
    """A later stage does not get a previous result that is stored in a blob."""

    async def previous_result(_world: Any, row: Mapping[str, Any]) -> Any:
        return None if row["previous"] is None else json.loads(str(row["previous"]))

    patch.everywhere(inputs.previous_result, previous_result)


@bug
def repair_without_the_refused_answer(patch: Patch) -> None:
    """A call that repairs an answer is not shown that answer."""
    patch.set(call, "_draft", lambda _plan, _stage, _task: None)


@bug
def second_answer_replaces_the_first(patch: Patch) -> None:
    """An answer that comes after another one, or after its deadline, is stored over the one that is there."""
    patch.schema("DROP TRIGGER executions_finished")
    patch.sql(
        settle_sql.KEEP_UNUSED, " AND status <> 'succeeded' AND result IS NULL AND result_key IS NULL", ""
    )

    async def keep(world: Any, execution: int, sent: Any) -> Any:
        result = dump_json(sent.content)
        await world.write(settle_sql.KEEP_UNUSED(execution=execution, result=result, key=None))
        return await original(world, execution, sent)

    original = patch.set(receipts, "keep", keep)


@bug
def receipt_before_the_record(patch: Patch) -> None:
    """A person gets a receipt for an answer that the database has not taken."""

    async def answer(world: Any, fact: Any, sent: Any) -> Any:
        try:
            return await original(world, fact, sent)
        except Unavailable:
            return people._receipt(fact, sent.content, "Thank you.", used=True)

    original = patch.set(people, "_answer", answer)
