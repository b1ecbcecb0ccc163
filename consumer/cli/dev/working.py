"""The worker at work on this machine: the consumers of both queues, the tick of cron, and the handling of Ctrl-C."""

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
"""Seconds that a run gets to end: 5 s of grace for its calls, and time to settle them."""
RUNS: Final = 5
"""Runs at the same time, so that a run which waits for a slow call does not delay other tasks."""
MAX_RETRIES: Final = 5
RETRY_DELAY_S: Final = 30
"""As in wrangler.toml."""


class Stop:
    """The reaction to Ctrl-C.  Once: start nothing new, and let calls end.  Twice: end the process immediately."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._requested = False

    def __call__(self) -> bool:
        """Whether the process was asked to stop."""
        return self._requested

    async def wait(self) -> None:
        """Wait until the process is asked to stop."""
        await self._event.wait()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while this is open."""
        loop = asyncio.get_running_loop()

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self._requested:
                os._exit(INTERRUPTED)
            self._requested = True
            loop.call_soon_threadsafe(self._event.set)

        earlier = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)


@asynccontextmanager
async def working(host: Host, app: App, *, runs: int = RUNS) -> AsyncIterator[None]:
    """Handle doorbells and dead letters, and tick every minute, while this is open."""
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
    """Sweep now, and at the start of every minute."""
    while True:
        try:
            await app.on_tick()
        except Exception as error:  # noqa: BLE001  # the next tick tries again after any error
            log().error(Event.REQUEST_FAILED, error=type(error).__name__, method="tick")
        now = app.world.clock.now_ms()
        await asyncio.sleep((MINUTE - now % MINUTE) / 1000)
