"""One worker of the local host, in a process and group of its own: the same as in `bizq dev`, on a faster clock."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consumer import telemetry
from consumer.app import App
from consumer.cli.dev.serve import Server, server_config
from consumer.cli.dev.working import Stop, working
from consumer.cli.host import OpenOptions, opened
from consumer.core.profile import accounts
from consumer.local.kv import SqliteKeyValue
from consumer.local.layout import Layout
from consumer.ports import PortError
from consumer.world import LOCAL
from providers import PROVIDERS
from tests.chaos.adapter import Blind, Ledgered
from tests.chaos.shop import PRICE_MICRO, SECRET

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from consumer.cli.host import Host
    from consumer.ports import Queue
    from tests.chaos.clock import Fast

TICK_S: Final = 1.0
"""Cron, every minute of a clock that runs sixty times as fast."""
ADAPTERS: Final = {adapter.name: adapter for adapter in (Ledgered(), Blind())}
SECRETS: Final = {"SHOP_SECRET": SECRET}


def profiles(shop: str) -> dict[str, Any]:
    """The accounts with the shop, one for each of its dialects."""
    price = {"per_task": f"{PRICE_MICRO / 1_000_000:.2f}"}
    return {
        name: {"provider": name, "base_url": shop, "price": price}
        | ({"webhook_secret": "SHOP_SECRET"} if adapter.abilities.webhook else {})
        for name, adapter in ADAPTERS.items()
    }


@dataclass(frozen=True, slots=True)
class Hurried:
    """A queue with shorter delays, because its consumer waits on the machine's clock."""

    inner: Queue
    speed: int

    async def send(self, bodies: Sequence[Mapping[str, object]], delay_s: int = 0) -> None:
        await self.inner.send(bodies, delay_s // self.speed)

    async def backlog(self) -> int | None:
        return await self.inner.backlog()


@dataclass(frozen=True, slots=True)
class Post:
    """The place of a worker."""

    root: str
    shop: str
    address: str
    clock: Fast

    def equip(self, host: Host) -> Host:
        """An opened data directory, with the shop's adapters and the clock of this run."""
        world = replace(
            host.world,
            providers={**PROVIDERS, **ADAPTERS},
            accounts={**host.world.accounts, **accounts(profiles(self.shop), SECRETS)},
            clock=self.clock,
            queue=Hurried(host.world.queue, self.clock.speed),
            kv=SqliteKeyValue(Layout(Path(self.root)).status, self.clock),
        )
        return replace(host, world=world)

    def options(self) -> OpenOptions:
        """How the directory is opened."""
        return OpenOptions(create=True, working=True, config=replace(LOCAL, public_url=self.address))


def work(post: Post, listener: socket.socket) -> None:
    """Work until killed."""
    os.setsid()
    with Path(post.root, "worker.log").open("a") as log:
        telemetry.configure("WARNING", log)
        asyncio.run(_work(post, listener))


async def _work(post: Post, listener: socket.socket) -> None:
    stop = Stop()
    conductor = parent_process()
    assert conductor is not None
    # If the starting process is killed, this one ends too.
    asyncio.get_running_loop().add_reader(conductor.sentinel, os._exit, 1)
    async with opened(Layout(Path(post.root)), post.options()) as found:
        host = post.equip(found)
        app = App(host.world, stop)
        server = Server(server_config(app), stop)
        async with working(host, app):
            ticking = asyncio.create_task(_tick(app))
            await server.serve(sockets=[listener])
            ticking.cancel()


async def _tick(app: App) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        with suppress(PortError):  # the next one will
            await app.on_tick()
