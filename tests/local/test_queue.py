"""The local queue's consumer: when it delivers, what a verdict does, and what survives a dead process.

Time is virtual wherever it matters: the loop jumps to its next timer instead of waiting for it.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.local.clock import SystemClock
from consumer.local.mailbox import RETENTION_S, VISIBILITY_S, LocalMessage
from consumer.local.queue import WALL_S, LocalConsumer, LocalQueue
from consumer.ports import Message, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

EPOCH_MS: Final = 1_000_000_000_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits for a timer: it moves its clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.turns = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now_s


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.turns += 1
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self._loop.now_s += timeout
        return ready


class VirtualClock:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return EPOCH_MS + round(self._loop.now_s * 1_000)


class Recorder:
    """A handler that notes what it was given and when, and does as it is told."""

    def __init__(self, clock: VirtualClock, verdict: Callable[[Message], object] = Message.ack) -> None:
        self.batches: list[list[int]] = []
        self.attempts: list[list[int]] = []
        self.at_s: list[float] = []
        self.ids: list[str] = []
        self._clock = clock
        self._verdict = verdict

    async def __call__(self, messages: list[Message]) -> None:
        self.at_s.append((self._clock.now_ms() - EPOCH_MS) / 1_000)
        self.batches.append([number(message) for message in messages])
        self.attempts.append([message.attempts for message in messages])
        self.ids += [message.id for message in messages]
        for message in messages:
            self._verdict(message)


class Bench:
    """One queue and its dead letters on a virtual clock, and whatever consumers a test starts."""

    def __init__(self, directory: Path, loop: VirtualLoop) -> None:
        self.path = directory / "queue.sqlite3"
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.queues: list[LocalQueue] = []
        self.consumers: list[LocalConsumer] = []
        self.jobs = self.queue("jobs")
        self.dead = self.queue("dead")

    def queue(self, name: str) -> LocalQueue:
        self.queues.append(LocalQueue(self.path, name, self.clock))
        return self.queues[-1]

    def recorder(self, verdict: Callable[[Message], object] = Message.ack) -> Recorder:
        return Recorder(self.clock, verdict)

    def start(
        self,
        handler: Callable[[list[Message]], Awaitable[None]],
        queue: LocalQueue | None = None,
        **options: Any,
    ) -> LocalConsumer:
        consumer = LocalConsumer(queue or self.jobs, handler, **({"batch_timeout_s": 0} | options))
        consumer.start()
        self.consumers.append(consumer)
        return consumer

    async def send(self, *numbers: int, delay_s: int = 0) -> None:
        await self.jobs.send([{"n": one} for one in numbers], delay_s)

    async def close(self) -> None:
        for consumer in self.consumers:
            await consumer.stop()
        for queue in self.queues:
            queue.close()


def number(message: Message) -> int:
    body: Any = message.body
    return int(body["n"])


def retry_first(message: Message) -> None:
    if message.attempts == 1:
        message.retry(0)


def fail(_message: Message) -> None:
    raise RuntimeError("the handler failed, as this test wants it to")


def virtual(scenario: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """A test that plays the scenario in virtual time."""

    async def play(directory: Path, loop: VirtualLoop) -> None:
        bench = Bench(directory, loop)
        try:
            await scenario(bench)
        finally:
            await bench.close()

    def test(tmp_path: Path) -> None:
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(play(tmp_path, loop))

    return test


@virtual
async def test_a_full_batch_is_delivered_at_once(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler, batch_size=3, batch_timeout_s=5)

    await bench.send(1, 2, 3, 4, 5, 6, 7)
    await asyncio.sleep(60)

    assert handler.batches == [[1, 2, 3], [4, 5, 6], [7]]
    assert handler.at_s == [0, 0, 5]


@virtual
async def test_a_batch_waits_for_more_until_its_oldest_message_is_old_enough(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler, batch_timeout_s=5)

    await bench.send(1)
    await asyncio.sleep(3)
    await bench.send(2)
    await asyncio.sleep(60)

    assert handler.batches == [[1, 2]]
    assert handler.at_s == [5]


@virtual
async def test_without_a_timeout_every_message_is_delivered_at_once(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler)

    for one in range(3):
        await bench.send(one)
        await asyncio.sleep(1)

    assert handler.batches == [[0], [1], [2]]
    assert handler.at_s == [0, 1, 2]


@virtual
async def test_what_was_sent_before_the_start_is_delivered(bench: Bench) -> None:
    await bench.send(1, 2)
    handler = bench.recorder()
    bench.start(handler)

    await asyncio.sleep(1)

    assert handler.batches == [[1, 2]]


@virtual
async def test_a_delayed_message_comes_in_its_time(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler)

    await bench.send(1, delay_s=86_400)
    await bench.send(2, delay_s=90)
    await bench.send(3)
    await asyncio.sleep(90_000)

    assert handler.batches == [[3], [2], [1]]
    assert handler.at_s == [0, 90, 86_400]


@virtual
async def test_a_batch_is_full_when_delayed_messages_fill_it(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler, batch_size=2, batch_timeout_s=60)

    await bench.send(1)
    await bench.send(2, delay_s=7)
    await asyncio.sleep(100)

    assert handler.batches == [[1, 2]]
    assert handler.at_s == [7]


@virtual
async def test_a_retried_message_waits_as_long_as_it_was_told(bench: Bench) -> None:
    def verdict(message: Message) -> None:
        if message.attempts == 1:
            message.retry(40 if number(message) == 1 else 0)

    handler = bench.recorder(verdict)
    bench.start(handler, retry_delay_s=10)

    await bench.send(1, 2, 3)
    await asyncio.sleep(100)

    assert handler.batches == [[1, 2, 3], [2, 3], [1]]
    assert handler.attempts == [[1, 1, 1], [2, 2], [2]]
    assert handler.at_s == [0, 0, 40]


@virtual
async def test_a_failed_batch_waits_as_long_as_the_consumer_says(bench: Bench) -> None:
    handler = bench.recorder(lambda message: fail(message) if message.attempts == 1 else None)
    bench.start(handler, retry_delay_s=10)

    await bench.send(1, 2)
    await asyncio.sleep(100)

    assert handler.batches == [[1, 2], [1, 2]]
    assert handler.at_s == [0, 10]


@virtual
async def test_a_handler_that_raises_keeps_what_it_acknowledged_and_delayed(bench: Bench) -> None:
    handler = bench.recorder()

    async def decide_two_then_raise(messages: list[Message]) -> None:
        await handler(messages) if messages[0].attempts > 1 else None
        if messages[0].attempts == 1:
            messages[0].ack()
            messages[1].retry(20)
            fail(messages[2])

    bench.start(decide_two_then_raise, retry_delay_s=10)

    await bench.send(1, 2, 3)
    await asyncio.sleep(100)

    assert handler.batches == [[3], [2]]
    assert handler.at_s == [10, 20]


@virtual
async def test_a_message_that_fails_too_often_becomes_a_dead_letter(bench: Bench) -> None:
    handler = bench.recorder(fail)
    graveyard = bench.recorder()
    bench.start(handler, max_retries=2, retry_delay_s=5, dead_letter=bench.dead)
    bench.start(graveyard, bench.dead)

    await bench.send(1)
    await asyncio.sleep(100)

    assert handler.attempts == [[1], [2], [3]]
    assert graveyard.batches == [[1]]
    assert graveyard.attempts == [[1]]
    assert graveyard.at_s == [10]
    assert graveyard.ids == handler.ids[:1]
    assert await bench.jobs.backlog() == await bench.dead.backlog() == 0


@virtual
async def test_without_a_dead_letter_queue_it_is_deleted(bench: Bench) -> None:
    handler = bench.recorder(lambda message: message.retry(0))
    bench.start(handler, max_retries=0)

    await bench.send(1)
    await asyncio.sleep(100)

    assert handler.attempts == [[1]]
    assert await bench.jobs.backlog() == 0


@virtual
async def test_a_message_stays_with_its_handler_however_long_that_takes(bench: Bench) -> None:
    batches = []

    async def slow(messages: list[Message]) -> None:
        batches.append([number(message) for message in messages])
        await asyncio.sleep(10 * VISIBILITY_S)

    bench.start(slow, max_concurrency=2)
    await bench.send(1)
    await asyncio.sleep(20 * VISIBILITY_S)

    assert batches == [[1]]
    assert await bench.jobs.backlog() == 0


@virtual
async def test_a_handler_may_not_take_longer_than_on_cloudflare(bench: Bench) -> None:
    ended_s = []

    async def endless(messages: list[Message]) -> None:
        if messages[0].attempts == 1:
            try:
                await asyncio.sleep(10 * WALL_S)
            finally:
                ended_s.append(bench.loop.now_s)

    bench.start(endless)
    await bench.send(1)
    await asyncio.sleep(2 * WALL_S)

    assert ended_s == [WALL_S]
    assert await bench.jobs.backlog() == 0


@virtual
async def test_batches_are_handled_at_the_same_time_up_to_a_limit(bench: Bench) -> None:
    running = 0
    most = 0

    async def slow(_messages: list[Message]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    bench.start(slow, batch_size=1, max_concurrency=3)
    await bench.send(*range(7))
    await asyncio.sleep(2.5)
    assert await bench.jobs.backlog() == 0
    await asyncio.sleep(1)

    assert most == 3
    assert running == 0


@virtual
async def test_what_a_dead_process_was_handling_comes_again_at_the_next_start(bench: Bench) -> None:
    await bench.send(1, 2)
    died = bench.queue("jobs")
    died.mailbox.take(10)
    handler = bench.recorder()

    bench.start(handler)
    await asyncio.sleep(1)

    assert handler.batches == [[1, 2]]
    assert handler.attempts == [[2, 2]]
    assert handler.at_s == [0]


@virtual
async def test_a_running_process_takes_over_what_another_no_longer_holds(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler)
    other = bench.queue("jobs")
    other.mailbox.send(['{"n":1}'], 0)
    (held,) = other.mailbox.take(10)

    await asyncio.sleep(VISIBILITY_S / 3)
    other.mailbox.renew([held])
    await asyncio.sleep(VISIBILITY_S * 3)

    assert handler.attempts == [[2]]
    assert handler.at_s == [VISIBILITY_S / 3 + VISIBILITY_S]


@virtual
async def test_a_verdict_that_comes_too_late_moves_nothing(bench: Bench) -> None:
    """The message was taken over, and its new owner decides."""
    await bench.send(1)
    first, second = bench.queue("jobs").mailbox, bench.queue("jobs").mailbox
    (late,) = first.take(10)
    await asyncio.sleep(VISIBILITY_S)
    (current,) = second.take(10)

    first.settle([], [(late, 0)], [], None)
    first.settle([], [], [late], bench.dead.mailbox)
    first.renew([late])

    assert second.wait_ms(1, 0) == VISIBILITY_S * 1_000
    assert await bench.dead.backlog() == 0
    second.settle([], [(current, 0)], [], None)
    assert await bench.jobs.backlog() == 1


@virtual
async def test_a_message_that_kills_its_process_becomes_a_dead_letter(bench: Bench) -> None:
    await bench.send(1)
    handler = bench.recorder()
    graveyard = bench.recorder()
    for _ in range(3):
        bench.queue("jobs").mailbox.take(10)
        bench.jobs.mailbox.recover()

    bench.start(handler, max_retries=2, dead_letter=bench.dead)
    bench.start(graveyard, bench.dead)
    await bench.send(2)
    await asyncio.sleep(1)

    assert handler.batches == [[2]]
    assert graveyard.batches == [[1]]


@virtual
async def test_stopping_waits_for_the_handlers(bench: Bench) -> None:
    ended = []

    async def slow(messages: list[Message]) -> None:
        await asyncio.sleep(5)
        ended.append(number(messages[0]))

    consumer = bench.start(slow)
    await bench.send(1)
    await asyncio.sleep(1)
    await bench.send(2)
    await consumer.stop()
    await bench.send(3)
    await asyncio.sleep(60)

    assert ended == [1]
    assert await bench.jobs.backlog() == 2


@virtual
async def test_what_is_cut_off_by_stopping_is_retried(bench: Bench) -> None:
    cancelled = []

    async def endless(messages: list[Message]) -> None:
        messages[0].ack()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append(bench.loop.now_s)
            raise

    consumer = bench.start(endless)
    await bench.send(1, 2)
    await asyncio.sleep(1)
    await consumer.stop(grace_s=5)
    await consumer.stop()
    handler = bench.recorder()
    bench.start(handler)
    await asyncio.sleep(1)

    assert cancelled == [6]
    assert handler.batches == [[2]]
    assert handler.attempts == [[2]]


@virtual
async def test_a_consumer_can_be_started_again(bench: Bench) -> None:
    handler = bench.recorder()
    consumer = bench.start(handler)
    with pytest.raises(RuntimeError):
        consumer.start()
    await consumer.stop()
    consumer.start()

    await bench.send(1)
    await asyncio.sleep(1)

    assert handler.batches == [[1]]


@virtual
async def test_an_idle_consumer_does_nothing(bench: Bench) -> None:
    bench.start(bench.recorder(), batch_timeout_s=5)
    bench.start(bench.recorder(), bench.dead)
    await asyncio.sleep(1)
    before = bench.loop.turns

    await asyncio.sleep(86_400)

    assert bench.loop.turns - before <= 3


@virtual
async def test_queues_of_one_file_do_not_mix(bench: Bench) -> None:
    jobs, dead = bench.recorder(), bench.recorder()
    bench.start(jobs)
    bench.start(dead, bench.dead)

    await bench.send(1)
    await bench.dead.send([{"n": 2}])
    await asyncio.sleep(1)

    assert (jobs.batches, dead.batches) == ([[1]], [[2]])


@virtual
async def test_the_backlog_counts_what_waits(bench: Bench) -> None:
    seen: list[int] = []

    async def handler(_messages: list[Message]) -> None:
        seen.append(await bench.jobs.backlog())

    await bench.send(1, 2, 3)
    await bench.send(4, delay_s=60)
    before = await bench.jobs.backlog()
    bench.start(handler, batch_size=2)
    await asyncio.sleep(1)

    assert before == 4
    assert seen == [2, 1]
    assert await bench.jobs.backlog() == 1


@virtual
async def test_messages_that_nobody_took_are_deleted_in_the_end(bench: Bench) -> None:
    await bench.send(1)
    await asyncio.sleep(RETENTION_S - 10)
    await bench.send(2)
    await asyncio.sleep(10)
    handler = bench.recorder()

    bench.start(handler)
    await asyncio.sleep(1)

    assert handler.batches == [[2]]


@virtual
async def test_a_locked_file_delays_delivery_but_does_not_end_it(bench: Bench) -> None:
    handler = bench.recorder()
    bench.start(handler)
    bench.jobs.mailbox._connection.execute("PRAGMA busy_timeout = 0")
    await bench.send(1)
    other = sqlite3.connect(bench.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable, match="locked"):
        await bench.send(2)
    await asyncio.sleep(10)
    assert handler.batches == []
    other.execute("ROLLBACK")
    other.close()
    await asyncio.sleep(1)

    assert handler.batches == [[1]]


@virtual
async def test_verdicts_that_cannot_be_written_bring_the_messages_again(bench: Bench) -> None:
    handler = bench.recorder()
    other = sqlite3.connect(bench.path, isolation_level=None)
    bench.jobs.mailbox._connection.execute("PRAGMA busy_timeout = 0")

    async def lock_the_file(messages: list[Message]) -> None:
        await handler(messages)
        if messages[0].attempts == 1:
            other.execute("BEGIN IMMEDIATE")
            asyncio.get_running_loop().call_later(5, other.execute, "ROLLBACK")

    bench.start(lock_the_file)
    await bench.send(1)
    await asyncio.sleep(100)
    other.close()

    assert handler.attempts == [[1], [2]]
    assert handler.at_s == [0, VISIBILITY_S]


@virtual
async def test_a_full_disk_refuses_the_whole_batch(bench: Bench) -> None:
    bench.jobs.mailbox._connection.execute("PRAGMA max_page_count = 10")

    with pytest.raises(Unavailable, match="full"):
        await bench.jobs.send([{"n": 1}, {"n": 2, "filling": "x" * 100_000}])

    assert await bench.jobs.backlog() == 0
    await bench.send(3)


@virtual
async def test_a_batch_that_cannot_be_held_is_held_the_next_time(bench: Bench) -> None:
    batches = []
    bench.jobs.mailbox._connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(bench.path, isolation_level=None)

    async def slow(messages: list[Message]) -> None:
        batches.append([number(message) for message in messages])
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(VISIBILITY_S / 2)
        other.execute("ROLLBACK")
        await asyncio.sleep(3 * VISIBILITY_S)

    bench.start(slow, max_concurrency=2)
    await bench.send(1)
    await asyncio.sleep(10 * VISIBILITY_S)
    other.close()

    assert batches == [[1]]


@virtual
async def test_a_storm_of_sends_through_another_connection_loses_nothing(bench: Bench) -> None:
    """Far more datagrams than a socket holds."""
    handler = bench.recorder()
    bench.start(handler, batch_size=100)
    await asyncio.sleep(1)
    other = bench.queue("jobs")

    for one in range(1_000):
        await other.send([{"n": one}])
    await asyncio.sleep(0.001)

    assert sorted(one for batch in handler.batches for one in batch) == list(range(1_000))


@virtual
async def test_a_send_through_another_connection_wakes_the_consumer(bench: Bench) -> None:
    """As one from another process does: by a datagram."""
    handler = bench.recorder()
    bench.start(handler)
    await asyncio.sleep(1)

    await bench.queue("jobs").send([{"n": 1}])
    await asyncio.sleep(0.001)

    assert handler.batches == [[1]]


@virtual
async def test_a_second_consumer_looks_every_second(bench: Bench) -> None:
    first, second = bench.recorder(), bench.recorder()
    stopped = bench.start(first)
    bench.start(second, bench.queue("jobs"))
    await stopped.stop()
    await asyncio.sleep(0.5)

    await bench.send(1)
    await asyncio.sleep(1)

    assert second.batches == [[1]]


@virtual
async def test_what_a_dead_process_left_of_its_socket_is_replaced(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(bench.jobs.mailbox.socket_path))
    handler = bench.recorder()

    consumer = bench.start(handler)
    await bench.queue("jobs").send([{"n": 1}])
    await asyncio.sleep(0.001)
    await consumer.stop()

    assert handler.batches == [[1]]
    assert not bench.jobs.mailbox.socket_path.exists()


@virtual
async def test_where_no_socket_can_be_the_consumer_looks_every_second(bench: Bench) -> None:
    """As on a system without Unix sockets: this path is too long for one."""
    deep = bench.path.parent / ("deep" * 30)
    deep.mkdir()
    bench.path = deep / "queue.sqlite3"
    handler = bench.recorder()
    bench.start(handler, bench.queue("jobs"))
    await asyncio.sleep(0.5)

    await bench.queue("jobs").send([{"n": 1}])
    await asyncio.sleep(1)

    assert handler.batches == [[1]]


CHILD: Final = """
import asyncio, sys
from consumer.local.clock import SystemClock
from consumer.local.queue import LocalConsumer, LocalQueue

async def hang(messages):
    print("handling", flush=True)
    await asyncio.sleep(3600)

async def main():
    queue = LocalQueue(sys.argv[1], "jobs", SystemClock())
    if sys.argv[2] == "send":
        await queue.send([{"n": 7}])
        queue.close()
    else:
        LocalConsumer(queue, hang, batch_timeout_s=0).start()
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def child(path: Path, what: str) -> subprocess.Popen[bytes]:
    """Another process on the same queue."""
    command = [sys.executable, "-c", CHILD, str(path), what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


async def test_another_process_wakes_a_consumer_that_waits_without_a_timer(tmp_path: Path) -> None:
    queue = LocalQueue(tmp_path / "queue.sqlite3", "jobs", SystemClock())
    received: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handler(messages: list[Message]) -> None:
        received.set_result(number(messages[0]))

    consumer = LocalConsumer(queue, handler, batch_timeout_s=0)
    consumer.start()
    with child(tmp_path / "queue.sqlite3", "send") as sender:
        async with asyncio.timeout(30):
            assert await received == 7
    await consumer.stop()
    queue.close()

    assert sender.returncode == 0


async def test_what_a_killed_process_was_handling_is_handled_by_the_next(tmp_path: Path) -> None:
    queue = LocalQueue(tmp_path / "queue.sqlite3", "jobs", SystemClock())
    await queue.send([{"n": 1}, {"n": 2}])
    with child(tmp_path / "queue.sqlite3", "consume") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"handling\n"
        killed.kill()
    handled: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()

    async def handler(messages: list[Message]) -> None:
        handled.set_result(messages)

    consumer = LocalConsumer(queue, handler, batch_timeout_s=0)
    consumer.start()
    async with asyncio.timeout(30):
        messages = await handled
    await consumer.stop()

    assert [(message.body, message.attempts) for message in messages] == [({"n": 1}, 2), ({"n": 2}, 2)]
    assert await queue.backlog() == 0
    queue.close()


async def ignore(_messages: list[Message]) -> None:
    """A handler for consumers that never start."""


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 101},
        {"batch_timeout_s": -1},
        {"batch_timeout_s": 61},
        {"max_retries": -1},
        {"max_retries": 101},
        {"retry_delay_s": -1},
        {"retry_delay_s": 86_401},
    ],
)
def test_what_cloudflare_would_not_configure_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    queue = LocalQueue(tmp_path / "queue.sqlite3", "jobs", SystemClock())
    with pytest.raises(Refused):
        LocalConsumer(queue, ignore, **options)
    queue.close()


def test_dead_letters_stay_in_the_file(tmp_path: Path) -> None:
    queue = LocalQueue(tmp_path / "a.sqlite3", "jobs", SystemClock())
    dead = LocalQueue(tmp_path / "b.sqlite3", "dead", SystemClock())
    with pytest.raises(Refused, match="same file"):
        LocalConsumer(queue, ignore, dead_letter=dead)
    queue.close()
    dead.close()


@pytest.mark.parametrize("name", ["", "Jobs", "a_b", "-a", "a-", "../a", "a" * 64])
def test_a_queue_has_a_name_that_cloudflare_would_take(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        LocalQueue(tmp_path / "queue.sqlite3", name, SystemClock())


@pytest.mark.parametrize("delay_s", [-1, 86_401, 0.5, None, True])
def test_a_delay_that_cloudflare_would_refuse_is_no_verdict(delay_s: Any) -> None:
    message = LocalMessage(1, {}, 1)
    with pytest.raises(Refused):
        message.retry(delay_s)

    message.retry(3)

    assert message.delay_s == 3


async def test_a_closed_queue_is_unavailable(tmp_path: Path) -> None:
    queue = LocalQueue(tmp_path / "queue.sqlite3", "jobs", SystemClock())
    queue.close()
    with pytest.raises(Unavailable):
        await queue.send([{}])
    with pytest.raises(Unavailable):
        await queue.backlog()
    with pytest.raises(Unavailable):
        LocalConsumer(queue, ignore).start()
