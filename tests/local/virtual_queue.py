"""A local queue in virtual time: the loop jumps to its next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consumer.local.queue import LocalConsumer, LocalQueue
from consumer.ports import Message

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
    """A handler that records its messages and the time, and gives each message the wanted verdict."""

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
    """One queue and its dead letters on a virtual clock, with the consumers that a test starts."""

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
    """A test that runs the scenario in virtual time."""

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
