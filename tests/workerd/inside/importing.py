"""Importing the project's main module under the rules of Cloudflare's global scope.

There is no randomness while a Worker is imported: a deployment that asks for it is refused.  The packages
that need it (to seed hash tables) are permitted it by patches in Cloudflare's SDK, which run here unchanged on a
stand-in for the runtime's own `_cloudflare` package.
"""

from __future__ import annotations

import errno
import importlib
import os
import random
import site
import sys
from types import FrameType, ModuleType

from inside import global_scope

REFUSAL = "randomness while the Worker is imported, which Cloudflare refuses"


def import_main(name: str, packages: str, watch: bool) -> ModuleType:  # noqa: FBT001  # JavaScript has no keywords
    """Import the main module as at deployment; `packages` is where the vendored packages are.

    `watch`: note in `clock_callers` which modules read the clock.  Raises `RuntimeError` naming the modules that asked
    for randomness.
    """
    global_scope.install()
    site.addsitedir(packages)  # runs the SDK's .pth file, which registers its patches
    before = random.getstate()
    urandom, os.urandom = os.urandom, _refuse
    sys.setprofile(_watch_clock if watch else None)
    try:
        with global_scope.closed():
            module = importlib.import_module(name)
    finally:
        sys.setprofile(None)
        os.urandom = urandom
    if random.getstate() != before:
        refused.append("the random module's generator")
    if refused:
        raise RuntimeError(f"{REFUSAL}: {refused}")
    return module


refused: list[str] = []
"""Stacks that asked for randomness without permission."""


clock_callers: list[str] = []
"""Stacks that read the clock, which stands still during the import."""

CLOCKS = {
    "monotonic",
    "now",
    "perf_counter",
    "process_time",
    "time",
    "today",
    "utcnow",
    "localtime",
    "gmtime",
}


def _watch_clock(_frame: FrameType, event: str, function: object) -> None:
    name = getattr(function, "__name__", "").removesuffix("_ns")
    if event == "c_call" and name in CLOCKS and _home(function) in {"time", "date", "datetime"}:
        clock_callers.append(f"{name}: {caller()}")


def _home(function: object) -> str:
    """The module of a function, or the class of a method."""
    owner = getattr(function, "__self__", None)
    return str(getattr(function, "__module__", None) or getattr(owner, "__name__", ""))


def asked() -> str:
    """Note a request for randomness and return its caller; the runtime calls this on the caller's stack."""
    asker = caller()
    if not global_scope.allow_one():
        refused.append(asker)
    return asker


def _refuse(_size: int) -> bytes:
    raise OSError(errno.EIO, f"{REFUSAL}: {caller()}")


def caller() -> str:
    """Name the modules on the stack, innermost first, without the import system."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "?")
        if not name.startswith(("importlib", "_frozen_importlib", "inside.")) and name not in names[-1:]:
            names.append(name)
        frame = frame.f_back
    return " < ".join(names)
