"""`bizq dev --runtime workerd`: the Worker as it is deployed, in the Workers runtime, on files of this machine.

The runtime runs in a child process, whose program is a part of the checkout's tests: tests/workerd/serve.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from consumer.cli.dev import models
from consumer.cli.dev.loopback import listen
from consumer.cli.dev.seed import seed
from consumer.cli.dev.working import Stop
from consumer.cli.group import Failure
from consumer.cli.host import (
    EXAMPLES,
    LOCAL_MODEL,
    MODEL_NAME,
    MODEL_PROFILE,
    PROFILES,
    ROOT,
    link_secret,
    read_profiles,
)
from consumer.cli.options import say
from consumer.cli.remote import Api, RemoteClient
from consumer.cli.target import Remote, Target, command
from consumer.core.profile import accounts, secrets_named
from consumer.local import child
from consumer.local.layout import Layout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from consumer.cli.dev.options import ServeOptions

MODULE: Final = "tests.workerd.serve"
START_S: Final = 180.0
"""Seconds in which Node, workerd and Python start.  The first start also collects the packages."""
STOP_S: Final = 15.0
OPERATOR_KEY: Final = "operator-key"
ADMIN_KEY: Final = "admin-key"


def run(root: Path, options: ServeOptions, *, as_json: bool) -> int:
    """Serve on the files below `root` until the process is asked to stop.  Raises `BizQError`, Failure."""
    options = models.without_missing_examples(options)
    with listen(options.port) as listener:  # the runtime opens the same port a moment later
        port = listener.getsockname()[1]
    return asyncio.run(serve(Layout(root), replace(options, port=port), as_json=as_json))


async def serve(layout: Layout, options: ServeOptions, *, as_json: bool) -> int:
    """Serve until the process is asked to stop, or the runtime ends by itself.  Raises as `run` does."""
    check_checkout(ROOT)
    stop = Stop()
    async with AsyncExitStack() as stack:
        stack.enter_context(stop.listening())
        prepare(layout)
        stack.enter_context(alone(layout.root))
        profiles = await _profiles(stack, layout, options)
        address = f"http://127.0.0.1:{options.port}"
        values = variables(layout, options, profiles, address)
        settings = {
            "persist": str(layout.root.resolve()),
            "port": options.port,
            "keys": {name: str((layout.root / name).resolve()) for name in (OPERATOR_KEY, ADMIN_KEY)},
            "variables": values,
        }
        process = await stack.enter_async_context(running(settings))
        ready = await _ready(process, stop)
        if ready is None:
            return 0
        layout.public_url.write_text(f"{values['PUBLIC_URL']}\n")
        if options.examples and ready["applied"]:
            await _seed(Remote(address, (layout.root / OPERATOR_KEY).read_text().strip()))
        files = {name.replace("-", "_"): str(layout.root / name) for name in (OPERATOR_KEY, ADMIN_KEY)}
        value = {"url": address, "data": str(layout.root), "pid": ready["pid"], **files}
        names = json.loads(values["PROFILES"])
        say(value, greeting(layout, address, names, ready["applied"]), as_json=as_json)
        await _until_stopped(process, stop)
    return 0


async def _until_stopped(process: asyncio.subprocess.Process, stop: Stop) -> None:
    """Wait for Ctrl-C.  Raises Failure if the runtime ends first."""
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not stop():
        raise Failure(
            "the Workers runtime ended by itself: its messages are above; no task is lost, start it again"
        )
    click.echo("stopping: Ctrl-C again ends immediately", err=True)


async def _seed(remote: Remote) -> None:
    """Create the organizations, people and templates of the examples through the API of this worker."""
    api = Api(remote)
    try:
        await seed(RemoteClient(api), EXAMPLES, MODEL_NAME)
    finally:
        api.close()


def check_checkout(root: Path) -> None:
    """Raises Failure if `root` is not a checkout of the repository."""
    if not (root / "tests" / "workerd" / "serve.py").is_file():
        raise Failure(
            f"--runtime workerd needs a checkout of the repository, and {root} has no tests/workerd: "
            "clone it, then `make dev RUNTIME=workerd`"
        )


def prepare(layout: Layout) -> None:
    """Make the directory, which only its owner can read, with the first profiles."""
    layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not layout.profiles.exists():
        layout.profiles.write_text(json.dumps(PROFILES, indent=2) + "\n")


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Lock the directory while this is open, because two runtimes would write the same files.  Raises Failure.

    The lock ends with the process."""
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Failure(
            f"another `bizq dev` works in {root}: stop it, or name another directory with --data"
        ) from None
    try:
        yield
    finally:
        os.close(lock)


def variables(
    layout: Layout, options: ServeOptions, profiles: Mapping[str, Any], address: str
) -> dict[str, str]:
    """The Worker's variables and secrets, after a check.  Raises Failure for a secret without a value, BadInput."""
    secrets = {name: os.environ.get(name, "") for name in sorted(secrets_named(profiles))}
    unset = [name for name, value in secrets.items() if not value]
    if unset:
        raise Failure(f"the profiles name the secret {unset[0]}, which is not set: set it in the environment")
    idle = [name for name in (LOCAL_MODEL,) if name in profiles and not profiles[name].get("base_url")]
    usable = {name: profile for name, profile in profiles.items() if name not in idle}
    accounts(usable, secrets)
    return {
        **secrets,
        "LINK_SECRET": link_secret(layout),
        "PUBLIC_URL": (options.public_url or address).rstrip("/"),
        "PROFILES": json.dumps(usable),
        "LOG_LEVEL": options.log_level,
    }


async def _profiles(stack: AsyncExitStack, layout: Layout, options: ServeOptions) -> dict[str, Any]:
    """The profiles, with the address of the model if the options ask for one.  Raises BadInput, Failure."""
    profiles = read_profiles(layout, options.profiles)
    if not (options.with_model or options.examples or options.model_url):
        return profiles
    url = await models.address(stack, layout, options.model_url)
    return {**profiles, LOCAL_MODEL: {**profiles.get(LOCAL_MODEL, MODEL_PROFILE), "base_url": url}}


@asynccontextmanager
async def running(settings: Mapping[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The child process that has the runtime.

    It reads its settings from standard input, where no other user of this machine can read the secrets among them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", MODULE),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None  # noqa: S101  # a pipe was made for it
    try:
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        yield process
    finally:
        await child.end(process, STOP_S)


async def _ready(process: asyncio.subprocess.Process, stop: Stop) -> dict[str, Any] | None:
    """The message of the process that it serves; None if Ctrl-C came first.  Raises Failure if it cannot serve."""
    assert process.stdout is not None  # noqa: S101  # a pipe was made for it
    line = asyncio.create_task(process.stdout.readline())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((line, stopped), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not line.done():
        line.cancel()
        if stop():
            return None
        raise Failure(f"the Workers runtime did not start within {START_S:g} s")
    message: dict[str, Any] = json.loads(line.result() or b"{}")
    if "url" not in message:
        raise Failure(message.get("error") or "the Workers runtime did not start: its messages are above")
    return message


def greeting(layout: Layout, address: str, profiles: Mapping[str, Any], applied: list[str]) -> str:
    """The addresses and files of this worker, and the next step."""
    migrated = f", {len(applied)} migrations applied" if applied else ""
    admin, operator = layout.root / ADMIN_KEY, layout.root / OPERATOR_KEY
    there = Target(layout.root, Remote(address, key_file=operator))
    submit, watch = command("submit examples/tasks.jsonl", there), command("watch 1", there)
    return "\n".join(
        [
            f"BizQ      {address}/, in workerd",
            f"API       {address}/v1, described in {address}/openapi.json",
            f"health    {address}/healthz",
            f"data      {layout.root}{migrated}",
            f"profiles  {', '.join(sorted(profiles))}",
            f"keys      {admin} (organization 1), {operator} (operator)",
            f"try       {submit},",
            f"          {watch}; Ctrl-C stops",
        ]
    )
