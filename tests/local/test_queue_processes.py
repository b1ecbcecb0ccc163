"""Several processes on one local queue, and settings that the queue refuses as Cloudflare does."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from consumer.local.clock import SystemClock
from consumer.local.mailbox import LocalMessage
from consumer.local.queue import LocalConsumer, LocalQueue
from consumer.ports import Message, Refused, Unavailable
from tests.local.virtual_queue import Bench, number, virtual


@virtual
async def test_a_storm_of_sends_through_another_connection_loses_nothing(bench: Bench) -> None:
    """Many more datagrams than a socket holds."""
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
    """Another process does the same: it sends a datagram."""
    handler = bench.recorder()
    bench.start(handler)
    await asyncio.sleep(1)

    await bench.queue("jobs").send([{"n": 1}])
    await asyncio.sleep(0.001)

    assert handler.batches == [[1]]


@virtual
async def test_a_second_consumer_polls_every_second(bench: Bench) -> None:
    first, second = bench.recorder(), bench.recorder()
    stopped = bench.start(first)
    bench.start(second, bench.queue("jobs"))
    await stopped.stop()
    await asyncio.sleep(0.5)

    await bench.send(1)
    await asyncio.sleep(1)

    assert second.batches == [[1]]


@virtual
async def test_the_socket_file_of_a_dead_process_is_replaced(bench: Bench) -> None:
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
async def test_without_a_socket_the_consumer_polls_every_second(bench: Bench) -> None:
    """The path is too long for a socket, which gives the same result as a system without Unix sockets."""
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
    """Start another process on the same queue."""
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


async def test_messages_of_a_killed_process_are_handled_by_the_next(tmp_path: Path) -> None:
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
def test_settings_that_cloudflare_does_not_allow_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    queue = LocalQueue(tmp_path / "queue.sqlite3", "jobs", SystemClock())
    with pytest.raises(Refused):
        LocalConsumer(queue, ignore, **options)
    queue.close()


def test_a_dead_letter_queue_must_be_in_the_same_file(tmp_path: Path) -> None:
    queue = LocalQueue(tmp_path / "a.sqlite3", "jobs", SystemClock())
    dead = LocalQueue(tmp_path / "b.sqlite3", "dead", SystemClock())
    with pytest.raises(Refused, match="same file"):
        LocalConsumer(queue, ignore, dead_letter=dead)
    queue.close()
    dead.close()


@pytest.mark.parametrize("name", ["", "Jobs", "a_b", "-a", "a-", "../a", "a" * 64])
def test_a_queue_name_must_be_valid_on_cloudflare(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        LocalQueue(tmp_path / "queue.sqlite3", name, SystemClock())


@pytest.mark.parametrize("delay_s", [-1, 86_401, 0.5, None, True])
def test_a_delay_that_cloudflare_refuses_is_no_verdict(delay_s: Any) -> None:
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
