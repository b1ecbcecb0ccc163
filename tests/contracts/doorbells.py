"""Messages, dead letters, and a database that is down or broken.  Fixtures: `database`, `kv`, `blobs`, `queue`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consumer.app import RETRY_S, App
from consumer.core.outcome import Retry, Succeeded
from consumer.execution import doorbells
from consumer.ports import Refused, Unavailable
from consumer.run.run import Run
from consumer.run.schema import BrokenSchema
from tests.support.fakes import ANSWER, Hold
from tests.support.ports import Crash, RecordingMessage
from tests.support.scene import LEASE_OVER, Scene, Suite, ai

if TYPE_CHECKING:
    from consumer.ports import Queue

UNREADABLE: list[object] = [
    None,
    "text",
    7,
    [],
    {},
    {"v": 2},
    {"v": "1"},
    {"v": True},
    {"v": None},
    {"v": 1, "task": "7"},
    {"v": 1, "task": True},
    {"v": 1, "task": 1.5},
]


class DoorbellContract(Suite):
    @pytest.mark.parametrize("body", UNREADABLE, ids=repr)
    async def test_a_message_that_cannot_be_read_is_kept_then_acknowledged(
        self, scene: Scene, body: object
    ) -> None:
        (message,) = await scene.ring(body)

        assert message.verdicts == ["ack"]
        (letter,) = await scene.sql("SELECT * FROM dead_letters")
        assert (letter["message_id"], letter["received_ms"]) == (message.id, scene.clock.ms)
        assert letter["body"] == repr(body)
        assert letter["reason"]

    async def test_a_message_that_cannot_be_read_stops_no_other(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))

        messages = await scene.ring({"v": 9}, {"v": 1}, "?")

        assert [message.verdicts for message in messages] == [["ack"]] * 3
        assert (await scene.task(task))["status"] == "completed"
        assert await scene.count("dead_letters") == 2

    async def test_a_dead_letter_delivered_twice_is_kept_once(self, scene: Scene) -> None:
        await scene.ring("?")
        await scene.ring("?")

        assert await scene.count("dead_letters") == 1

    @pytest.mark.parametrize("body", ["\0\ud800" * 10, "x" * 120_000, {"k": ["\ud800"] * 50_000}])
    async def test_any_dead_letter_can_be_kept(self, scene: Scene, body: object) -> None:
        (message,) = await scene.ring(body)

        assert message.verdicts == ["ack"]
        assert await scene.count("dead_letters") == 1

    async def test_a_task_id_in_a_doorbell_decides_nothing(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"), count=2)
        await scene.sql("UPDATE tasks SET run_at_ms = ?1 WHERE id = ?2", scene.clock.ms + 1, task)

        (message,) = await scene.ring({"v": 1, "task": task})

        assert message.verdicts == ["ack"]
        assert await scene.statuses() == {"completed": 1, "pending": 1}

    async def test_messages_that_were_delivered_too_often_are_kept_then_acknowledged(
        self, scene: Scene
    ) -> None:
        messages = [RecordingMessage({"v": 1}, "a", 4), RecordingMessage("?", "b", 4)]

        await App(scene.world).on_dead_letters(messages)

        assert [message.verdicts for message in messages] == [["ack"]] * 2
        rows = await scene.sql("SELECT message_id, reason FROM dead_letters ORDER BY 1")
        assert [(row["message_id"], row["reason"]) for row in rows] == [
            ("a", "delivered too often"),
            ("b", "delivered too often"),
        ]

    async def test_dead_letters_that_cannot_be_kept_come_back(self, scene: Scene) -> None:
        scene.database.down = True
        message = RecordingMessage("?")

        await App(scene.world).on_dead_letters([message])
        await App(scene.world).on_messages([unreadable := RecordingMessage("?")])

        assert (message.verdicts, unreadable.verdicts) == (["retry"], ["retry"])

    # --- the database is down -----------------------------------------------------------------------

    async def test_messages_are_retried_later_when_the_database_is_down(self, scene: Scene) -> None:
        scene.database.down = True

        messages = await scene.ring({"v": 1}, {"v": 1})

        assert [message.verdicts for message in messages] == [["retry"]] * 2
        assert all(1 <= message.delays[0] <= RETRY_S for message in messages)

    async def test_the_delay_is_jittered(self, scene: Scene) -> None:
        scene.database.down = True
        scene.entropy.draws = [0, 0, 0, 0, 0.999, 0]  # four of them are immediate repetitions

        messages = await scene.ring({"v": 1}, {"v": 1})

        assert {message.delays[0] for message in messages} == {1, RETRY_S}

    @pytest.mark.parametrize("error", [Unavailable("x"), Refused("x")])
    @pytest.mark.parametrize("batch", range(2, 6))
    async def test_a_run_that_the_database_ends_acknowledges_nothing(
        self, scene: Scene, batch: int, error: Exception
    ) -> None:
        task = await scene.given(ai("blind"))
        for number in range(batch, batch + 20):
            scene.database.fail(number, error=error)

        (message,) = await scene.ring()

        assert len(message.verdicts) == 1
        scene.database.heal()
        if message.verdicts == ["ack"]:
            assert (await scene.task(task))["status"] == "completed" or await scene.count("leases") == 1
        for _ in range(3):
            await scene.later(LEASE_OVER)
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_claim_that_the_database_refuses_is_not_sent_again_and_again(self, scene: Scene) -> None:
        await scene.given(ai("blind"))
        for number in range(2, 200):
            scene.database.fail(number, error=Refused("x"))

        (message,) = await scene.ring()

        assert message.verdicts == ["retry"]
        assert scene.database.batches < 10

    async def test_a_short_outage_is_waited_out(self, scene: Scene) -> None:
        task = await scene.given(ai("blind"))
        for number in (1, 2, 3, 6, 7, 8, 9):
            scene.database.fail(number)

        (message,) = await scene.ring()

        assert message.verdicts == ["ack"]
        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count() == 1

    @pytest.mark.parametrize("error", [Crash(), RuntimeError("a bug"), KeyboardInterrupt()], ids=repr)
    async def test_a_message_always_gets_exactly_one_verdict(
        self, scene: Scene, error: BaseException
    ) -> None:
        await scene.given(ai("blind"))
        scene.database.fail(3, error=error)
        message = RecordingMessage({"v": 1})

        with pytest.raises(type(error)):
            await App(scene.world).on_messages([message])

        assert message.verdicts == ["retry"]

    # --- the schema is broken -----------------------------------------------------------------------

    @pytest.mark.parametrize(
        "damage",
        [
            "DROP TRIGGER executions_admission",
            "DROP TRIGGER tasks_foreign_edit",
            "DROP INDEX tasks_due",
            "DROP INDEX tasks_idempotency",
        ],
    )
    async def test_nothing_is_claimed_on_a_broken_schema(self, scene: Scene, damage: str) -> None:
        task = await scene.given(ai("blind"))
        await scene.sql(damage)

        (message,) = await scene.ring()

        assert message.verdicts == ["retry"]
        assert (await scene.task(task))["status"] == "pending"
        assert scene.network.count() == 0
        with pytest.raises(BrokenSchema, match=damage.rpartition(" ")[2]):
            await scene.tick()

    async def test_a_schema_that_breaks_is_noticed_within_ten_minutes(self, scene: Scene) -> None:
        app = App(scene.world)
        await app.on_tick()
        await scene.sql("DROP INDEX tasks_due")
        scene.clock.advance(10 * 60_000)

        with pytest.raises(BrokenSchema):
            await app.on_tick()

    async def test_a_trigger_of_another_application_is_ignored(self, scene: Scene) -> None:
        await scene.sql("CREATE TRIGGER theirs AFTER INSERT ON users BEGIN SELECT 1; END")

        (message,) = await scene.ring()

        await scene.sql("DROP TRIGGER theirs")
        assert message.verdicts == ["ack"]

    # --- sending doorbells --------------------------------------------------------------------------

    async def test_the_worker_can_read_its_own_doorbells(self, scene: Scene) -> None:
        await doorbells.ring(scene.world, task=7)
        await doorbells.ring(scene.world, 3, delay_s=5)

        messages = await scene.ring(*(body for body, _ in scene.queue.sent))

        assert [message.verdicts for message in messages] == [["ack"]] * 4
        assert await scene.count("dead_letters") == 0

    async def test_many_retries_at_different_times_ring_few_doorbells(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=80)
        for number in range(1, 41):  # with an answer in between, so that the profile does not rest
            scene.network.script("blind", Retry("busy", 1_000 * number), Succeeded(ANSWER))

        await scene.drain()

        assert len(scene.queue.sent) == scene.world.config.doorbells_per_tick
        assert scene.queue.delays == sorted(scene.queue.delays)
        assert scene.queue.delays[0] == 1

    async def test_a_stopped_worker_rings_no_doorbell_for_itself(self, scene: Scene) -> None:
        await scene.given(ai("blind"), count=20)
        stopped = False
        hold = Hold()
        scene.network.script("blind", hold)
        run = Run(scene.world, stopping=lambda: stopped)
        working = asyncio.create_task(run.drain())
        await hold.begun.wait()
        stopped = True
        hold.release()
        await working

        assert 0 not in scene.queue.delays

    async def test_the_hosts_queue_accepts_our_doorbells(self, scene: Scene, queue: Queue) -> None:
        await doorbells.ring(replace(scene.world, queue=queue), 2, task=7, delay_s=3_600)
