"""A worker at work on this machine: the consumers of both queues, the cron tick, and how Ctrl-C ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from consumer.cli.group import INTERRUPTED
from consumer.core.policy import MINUTE
from consumer.local.queue import LocalConsumer
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from types import FrameType

    from consumer.app import App
    from consumer.cli.host import Host
    from consumer.ports import Message

STOP_S: Final = 10.0
"""For a run to wind down: its own 5 s of grace for calls, and time to settle what they brought."""
RUNS: Final = 5
"""Runs at once: one that waits for a slow call keeps no other task waiting."""
MAX_RETRIES: Final = 5
RETRY_DELAY_S: Final = 30
"""As in wrangler.toml."""


class Stop:
    """Ctrl-C, once: begin nothing more and end what is begun.  Twice: leave at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._heard = False

    def __call__(self) -> bool:
        """Whether it was asked for."""
        return self._heard

    async def wait(self) -> None:
        """Until it is asked for."""
        await self._asked.wait()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over for a while."""
        loop = asyncio.get_running_loop()

        def hear(_number: int, _frame: FrameType | None) -> None:
            if self._heard:
                os._exit(INTERRUPTED)
            self._heard = True
            loop.call_soon_threadsafe(self._asked.set)

        kept = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


@asynccontextmanager
async def working(host: Host, app: App, *, runs: int = RUNS) -> AsyncIterator[None]:
    """Answer doorbells, keep dead letters and tick; at the end, stop as `app.stopping` says by then."""
    doorbells = LocalConsumer(
        host.queue,
        _handler(app),
        batch_timeout_s=0,
        max_retries=MAX_RETRIES,
        retry_delay_s=RETRY_DELAY_S,
        dead_letter=host.dead_letters,
        max_concurrency=runs,
    )
    letters = LocalConsumer(
        host.dead_letters, app.on_dead_letters, batch_size=100, retry_delay_s=RETRY_DELAY_S
    )
    doorbells.start()
    letters.start()
    ticking = asyncio.create_task(tick_forever(app))
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(doorbells.stop(STOP_S), letters.stop(STOP_S), ticking, return_exceptions=True)


def _handler(app: App) -> Callable[[list[Message]], Awaitable[None]]:
    async def handle(messages: list[Message]) -> None:
        await app.on_messages(messages)

    return handle


async def tick_forever(app: App) -> None:
    """Sweep now and at the beginning of every minute."""
    while True:
        try:
            await app.on_tick()
        except Exception as error:  # noqa: BLE001  # whatever it was, a minute later it may be over
            log().error(Event.REQUEST_FAILED, error=type(error).__name__, method="tick")
        now = app.world.clock.now_ms()
        await asyncio.sleep((MINUTE - now % MINUTE) / 1000)
