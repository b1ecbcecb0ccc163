"""`bizq dev`: the worker and its HTTP API on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click
import uvicorn

from consumer import telemetry
from consumer.app import App
from consumer.cli.client import LocalClient
from consumer.cli.dev import models
from consumer.cli.dev.loopback import listen
from consumer.cli.dev.seed import seed
from consumer.cli.dev.working import Stop, working
from consumer.cli.group import Failure
from consumer.cli.host import (
    EXAMPLES,
    LOCAL_MODEL,
    MODEL_NAME,
    MODEL_PROFILE,
    OpenOptions,
    keep_profile,
    opened,
    prepare,
)
from consumer.cli.options import say
from consumer.cli.target import command
from consumer.local.layout import Layout
from consumer.service import queries
from consumer.web.app import build
from consumer.world import LOCAL

if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager
    from pathlib import Path

    from consumer.cli.dev.options import ServeOptions
    from consumer.cli.host import Host

HTTP_STOP_S: Final = 5
"""Seconds that requests get to end after Ctrl-C."""


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers, and without its main loop, which wakes ten times a second."""

    def __init__(self, config: uvicorn.Config, stop: Stop) -> None:
        super().__init__(config)
        self._stop = stop
        self._up = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def main_loop(self) -> None:
        self._up.set()
        await self._stop.wait()

    async def up(self) -> None:
        """Wait until the server answers requests."""
        await self._up.wait()


def server_config(app: App) -> uvicorn.Config:
    """The settings of the web server."""
    return uvicorn.Config(
        build(app),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=HTTP_STOP_S,
    )


def run(data: Path, options: ServeOptions, *, as_json: bool) -> int:
    """Serve on a data directory until the process is asked to stop.  Raises `BizQError`, `PortError`, Failure."""
    options = models.without_missing_examples(options)
    listener = listen(options.port)
    telemetry.configure(options.log_level)
    asyncio.run(serve(Layout(data), listener, options, as_json=as_json))
    return 0


async def serve(layout: Layout, listener: socket.socket, options: ServeOptions, *, as_json: bool) -> None:
    """Open the data directory, then work and serve until the process is asked to stop.  Raises as `run` does."""
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = Stop()
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        stack.enter_context(stop.listening())
        prepare(layout, create=True)
        how = await _open_options(stack, layout, options, address)
        host = await stack.enter_async_context(opened(layout, how))
        if options.examples and host.applied:
            await seed(LocalClient(host), EXAMPLES, MODEL_NAME)
        problems = await queries.health(host.world)
        if problems:
            raise Failure(f"{problems[0]}: run {command('doctor')} to diagnose")
        layout.public_url.write_text(f"{host.world.config.public_url}\n")
        await _work(host, listener, stop, address, as_json=as_json)


async def _open_options(
    stack: AsyncExitStack, layout: Layout, options: ServeOptions, address: str
) -> OpenOptions:
    """How to open the data directory.  Starts the model of the profile `local` if the options ask for one."""
    model_url = options.model_url
    if model_url is None and (options.with_model or options.examples):
        model_url = await models.address(stack, layout, None)
        keep_profile(layout, LOCAL_MODEL, MODEL_PROFILE)
    return OpenOptions(
        create=True,
        working=True,
        profiles=options.profiles,
        model_url=model_url,
        config=replace(LOCAL, public_url=(options.public_url or address).rstrip("/")),
    )


async def _work(host: Host, listener: socket.socket, stop: Stop, address: str, *, as_json: bool) -> None:
    """Handle doorbells, ticks and requests until the process is asked to stop."""
    app = App(host.world, stop)
    server = Server(server_config(app), stop)
    async with working(host, app):
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.up()
        say({"url": address, "data": str(host.layout.root)}, greeting(host, address), as_json=as_json)
        await stop.wait()
        click.echo("stopping: calls in flight have 5 s; Ctrl-C again ends immediately", err=True)
    await serving


def greeting(host: Host, address: str) -> str:
    """The addresses and files of this worker, and the next step."""
    applied = f", {len(host.applied)} migrations applied" if host.applied else ""
    lines = [
        f"BizQ      {address}/",
        f"API       {address}/v1, described in {address}/openapi.json",
        f"health    {address}/healthz",
        f"data      {host.layout.root}{applied}",
        f"profiles  {', '.join(sorted(host.world.accounts))}",
    ]
    start = command("dev --model")
    lines += [
        f"          {name} is left out, because no model runs: {start} starts one" for name in host.idle
    ]
    return "\n".join([*lines, f"key       {command('key create --role operator')} creates one; Ctrl-C stops"])
