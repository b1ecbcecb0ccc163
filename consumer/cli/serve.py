"""`dev`: the worker on this machine, with its HTTP on loopback, until Ctrl-C."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import uvicorn

from consumer import telemetry
from consumer.app import App
from consumer.cli.desk import LocalDesk
from consumer.cli.group import Failure
from consumer.cli.host import (
    EXAMPLES,
    LOCAL_MODEL,
    MODEL_NAME,
    MODEL_PROFILE,
    Wanted,
    keep_profile,
    opened,
    prepare,
)
from consumer.cli.options import common, say
from consumer.cli.seed import furnish
from consumer.cli.working import Stop, working
from consumer.local import model
from consumer.local.layout import Layout
from consumer.service import queries
from consumer.web.app import build
from consumer.world import LOCAL

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from consumer.cli.host import Host

PORT: Final = 8080
HTTP_STOP_S: Final = 5
"""For requests that are being answered."""


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers, and without the clock that it looks at ten times a second."""

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
        """Until requests are answered."""
        await self._up.wait()


@click.command()
@click.option(
    "--runtime",
    type=click.Choice(["local", "workerd"]),
    default="local",
    show_default=True,
    help="workerd: the Worker as it is deployed, in Cloudflare's runtime.  Needs a checkout and `make setup`.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one."
)
@click.option("--public-url", help="Where people and providers reach this worker, if not on this machine.")
@click.option(
    "--profiles",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="BIZQ_PROFILES",
    help="Accounts with providers, in place of profiles.json of the data directory.",
)
@click.option(
    "--model", "with_model", is_flag=True, help="Run a small language model as the profile `local`."
)
@click.option(
    "--model-url", envvar="MODEL_URL", help="A server that speaks OpenAI's API, as the profile `local`."
)
@click.option(
    "--examples",
    is_flag=True,
    help="Begin a new data directory with the organizations, people and templates of examples/, and run their model.",
)
@click.option(
    "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO", show_default=True
)
@common()
def dev(  # noqa: PLR0913  # one for each option
    runtime: str,
    port: int,
    public_url: str | None,
    profiles: Path | None,
    model_url: str | None,
    log_level: str,
    data: Path,
    *,
    with_model: bool,
    examples: bool,
    as_json: bool,
) -> int:
    """Run the worker on this machine until Ctrl-C: HTTP, the doorbells, and the cron tick.

    The first Ctrl-C begins nothing more and gives calls in flight 5 s; the second leaves at once."""
    if with_model and model_url:
        raise Failure("give --model or --model-url, not both")
    examples = examples and (bool(model_url) or _has_model())
    listener = listen(port)
    port = listener.getsockname()[1]
    if runtime == "workerd":
        from consumer.cli import workerd  # noqa: PLC0415  # only a checkout can

        listener.close()  # the runtime opens it in a moment
        chosen = workerd.Chosen(
            port, public_url, profiles, model_url, log_level, with_model=with_model, examples=examples
        )
        return asyncio.run(workerd.serve(Layout(data / "workerd"), chosen, as_json=as_json))
    telemetry.configure(log_level)
    address = f"http://127.0.0.1:{port}"
    wanted = Wanted(
        create=True,
        working=True,
        profiles=profiles,
        model_url=model_url,
        config=replace(LOCAL, public_url=(public_url or address).rstrip("/")),
    )
    serving = serve(
        Layout(data), wanted, listener, address, with_model=with_model, examples=examples, as_json=as_json
    )
    asyncio.run(serving)
    return 0


def _has_model() -> bool:
    """Whether the examples can be done here; says what is missing."""
    try:
        model.weights()
    except model.NoModel as error:
        click.echo(
            f"the examples are left out: {error}; --model-url takes any server that speaks OpenAI's API",
            err=True,
        )
        return False
    return True


def listen(port: int) -> socket.socket:
    """A socket on loopback.  Raises Failure when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise Failure(
            f"port {port} cannot be used ({error.strerror}): --port names another, 0 takes a free one"
        ) from None
    return listener


async def serve(
    layout: Layout,
    wanted: Wanted,
    listener: socket.socket,
    address: str,
    *,
    with_model: bool,
    examples: bool,
    as_json: bool,
) -> None:
    """Work and serve until the process is asked to stop.  Raises `BizQError`, `PortError`, Failure."""
    stop = Stop()
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        stack.enter_context(stop.listening())
        prepare(layout, create=True)
        if with_model or examples or wanted.model_url:
            wanted = await _with_model(stack, layout, wanted)
        host = await stack.enter_async_context(opened(layout, wanted))
        if examples and host.applied:
            await furnish(LocalDesk(host), EXAMPLES, MODEL_NAME)
        problems = await queries.health(host.world)
        if problems:
            raise Failure(f"{problems[0]}: `bizq doctor --data {layout.root}` says what else")
        layout.public_url.write_text(f"{host.world.config.public_url}\n")
        app = App(host.world, stop)
        server = Server(_settings(app), stop)
        async with working(host, app):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await server.up()
            say({"url": address, "data": str(layout.root)}, greeting(host, address), as_json=as_json)
            await stop.wait()
            click.echo("stopping: calls in flight have 5 s; Ctrl-C again leaves at once", err=True)
        await serving


async def _with_model(stack: AsyncExitStack, layout: Layout, wanted: Wanted) -> Wanted:
    url = wanted.model_url
    if url is None:
        try:
            url = await stack.enter_async_context(model.running(layout.model_log))
        except model.NoModel as error:
            raise Failure(f"{error}: --model-url takes any server that speaks OpenAI's API") from None
        keep_profile(layout, LOCAL_MODEL, MODEL_PROFILE)
    return replace(wanted, model_url=url)


def _settings(app: App) -> uvicorn.Config:
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


def greeting(host: Host, address: str) -> str:
    """Where things are, and what to do next."""
    applied = f", {len(host.applied)} migrations applied" if host.applied else ""
    lines = [
        f"BizQ      {address}/",
        f"API       {address}/v1, described in {address}/openapi.json",
        f"health    {address}/healthz",
        f"data      {host.layout.root}{applied}",
        f"profiles  {', '.join(sorted(host.world.accounts))}",
    ]
    lines += [f"          {name} is left out: no model runs, --model starts one" for name in host.idle]
    return "\n".join([*lines, "key       `bizq key create --role operator` makes one; Ctrl-C stops"])
