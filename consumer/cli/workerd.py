"""`dev --runtime workerd`: the Worker as it is deployed, in the Workers runtime, on files of this machine.

The runtime itself is started by the checkout's tests, in a process of its own: see tests/workerd/serve.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

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
from consumer.cli.options import Target, say
from consumer.cli.remote import Api, RemoteDesk
from consumer.cli.seed import furnish
from consumer.cli.working import Stop
from consumer.core.profile import accounts, secrets_named
from consumer.local import model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from consumer.local.layout import Layout

MODULE: Final = "tests.workerd.serve"
START_S: Final = 180.0
"""For Node, workerd and Python; the first time, packages are collected too."""
STOP_S: Final = 15.0
OPERATOR_KEY: Final = "operator-key"
ADMIN_KEY: Final = "admin-key"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the command line says.  `port`: a free one."""

    port: int
    public_url: str | None
    profiles: Path | None
    model_url: str | None
    log_level: str
    with_model: bool = False
    examples: bool = False


async def serve(layout: Layout, chosen: Chosen, *, as_json: bool) -> int:
    """Serve until the process is asked to stop, or the runtime ends by itself.  Raises Failure, `BizQError`."""
    check_checkout(ROOT)
    stop = Stop()
    async with AsyncExitStack() as stack:
        stack.enter_context(stop.listening())
        prepare(layout)
        stack.enter_context(alone(layout.root))
        profiles = read_profiles(layout, chosen.profiles)
        if chosen.with_model or chosen.examples or chosen.model_url:
            profiles = await _with_model(stack, layout, chosen, profiles)
        address = f"http://127.0.0.1:{chosen.port}"
        given = variables(layout, chosen, profiles, address)
        settings = {
            "persist": str(layout.root.resolve()),
            "port": chosen.port,
            "keys": {name: str((layout.root / name).resolve()) for name in (OPERATOR_KEY, ADMIN_KEY)},
            "variables": given,
        }
        process = await stack.enter_async_context(running(settings))
        ready = await _ready(process, stop)
        if ready is None:
            return 0
        layout.public_url.write_text(f"{given['PUBLIC_URL']}\n")
        if chosen.examples and ready["applied"]:
            await _furnish(Target(address, (layout.root / OPERATOR_KEY).read_text().strip()))
        files = {name.replace("-", "_"): str(layout.root / name) for name in (OPERATOR_KEY, ADMIN_KEY)}
        value = {"url": address, "data": str(layout.root), "pid": ready["pid"], **files}
        say(
            value, greeting(layout, address, json.loads(given["PROFILES"]), ready["applied"]), as_json=as_json
        )
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not stop():
            raise Failure(
                "the Workers runtime ended by itself: what it said is above; nothing is lost, start again"
            )
        click.echo("stopping: Ctrl-C again leaves at once", err=True)
    return 0


async def _furnish(target: Target) -> None:
    """The organizations, people and templates of the examples, through the API that everybody has."""
    api = Api(target)
    try:
        await furnish(RemoteDesk(api), EXAMPLES, MODEL_NAME)
    finally:
        api.close()


def check_checkout(root: Path) -> None:
    """Raises Failure where only the installed program is, without its repository."""
    if not (root / "tests" / "workerd" / "serve.py").is_file():
        raise Failure(
            f"--runtime workerd needs a checkout of the repository, and {root} has no tests/workerd: "
            "clone it, then `make dev RUNTIME=workerd`"
        )


def prepare(layout: Layout) -> None:
    """Make the directory, for its owner alone, with the first profiles and a secret for links."""
    layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not layout.profiles.exists():
        layout.profiles.write_text(json.dumps(PROFILES, indent=2) + "\n")


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """One runtime for a directory: two would write the same files.  The lock ends with the process."""
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


def variables(layout: Layout, chosen: Chosen, profiles: Mapping[str, Any], address: str) -> dict[str, str]:
    """The Worker's variables and secrets, checked first.  Raises Failure for a secret without a value, BadInput."""
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
        "PUBLIC_URL": (chosen.public_url or address).rstrip("/"),
        "PROFILES": json.dumps(usable),
        "LOG_LEVEL": chosen.log_level,
    }


async def _with_model(
    stack: AsyncExitStack, layout: Layout, chosen: Chosen, profiles: dict[str, Any]
) -> dict[str, Any]:
    url = chosen.model_url
    if url is None:
        try:
            url = await stack.enter_async_context(model.running(layout.model_log))
        except model.NoModel as error:
            raise Failure(f"{error}: --model-url takes any server that speaks OpenAI's API") from None
    return {**profiles, LOCAL_MODEL: {**profiles.get(LOCAL_MODEL, MODEL_PROFILE), "base_url": url}}


@asynccontextmanager
async def running(settings: Mapping[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process that has the runtime; it ends when its standard input does, however this process ends.

    What it is to do, secrets too, goes in there, where no other user of this machine reads it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", MODULE),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None  # noqa: S101  # it was asked for
    try:
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        yield process
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(process: asyncio.subprocess.Process, stop: Stop) -> dict[str, Any] | None:
    """What it says when it serves; None when Ctrl-C came first.  Raises Failure when it cannot."""
    assert process.stdout is not None  # noqa: S101  # it was asked for
    line = asyncio.create_task(process.stdout.readline())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((line, stopped), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not line.done():
        line.cancel()
        if stop():
            return None
        raise Failure(f"the Workers runtime did not start within {START_S:g} s")
    said: dict[str, Any] = json.loads(line.result() or b"{}")
    if "url" not in said:
        raise Failure(said.get("error") or "the Workers runtime did not start: what it said is above")
    return said


def greeting(layout: Layout, address: str, profiles: Mapping[str, Any], applied: list[str]) -> str:
    """Where things are, and what to do next."""
    migrated = f", {len(applied)} migrations applied" if applied else ""
    admin, operator = layout.root / ADMIN_KEY, layout.root / OPERATOR_KEY
    away = f"--target {address} --key-file {operator}"
    return "\n".join(
        [
            f"BizQ      {address}/, in workerd",
            f"API       {address}/v1, described in {address}/openapi.json",
            f"health    {address}/healthz",
            f"data      {layout.root}{migrated}",
            f"profiles  {', '.join(sorted(profiles))}",
            f"keys      {admin} (organization 1), {operator} (operator)",
            f"try       `bizq submit examples/tasks.jsonl {away}`,",
            f"          `bizq watch 1 {away}`; Ctrl-C stops",
        ]
    )
