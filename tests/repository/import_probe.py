"""Imports every module that ships, as the Worker does at start-up, and fails if one uses I/O, a clock or randomness.

Run it as a program of its own, because Python imports a module only once: `python -m tests.repository.import_probe`.
"""

from __future__ import annotations

import builtins
import importlib
import io
import os
import random
import socket
import sys
import sysconfig
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from scripts.stage import ENTRY, ROOT, shipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

FORBIDDEN: tuple[tuple[ModuleType | type, str], ...] = (
    *((os, name) for name in ("getrandom", "getpid", "listdir", "open", "scandir", "stat", "urandom")),
    *((time, name) for name in ("monotonic", "monotonic_ns", "perf_counter", "sleep", "time", "time_ns")),
    *((random, name) for name in ("_urandom", "choice", "getrandbits", "randbytes", "randint", "random")),
    *((socket, name) for name in ("create_connection", "getaddrinfo")),
    (random.Random, "__init__"),
    (socket.socket, "__init__"),
    (builtins, "open"),
    (io, "open"),
)


class Runtime(ModuleType):
    """Replaces a module that only the Workers runtime has: each of its attributes is a class."""

    __path__: list[str] = []  # noqa: RUF012  # this attribute makes it a package

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


def import_what_ships() -> list[str]:
    """Import every module that ships and return their names.  A forbidden call by one of them raises RuntimeError."""
    for name in ("js", "pyodide", "pyodide.ffi", "workers"):
        sys.modules[name] = Runtime(name)
    for module, name in FORBIDDEN:
        if hasattr(module, name):
            setattr(module, name, guarded(f"{module.__name__}.{name}", getattr(module, name)))
    names = [name for name in shipped() if name.endswith(".py")]
    for name in names:
        path = ENTRY if name == Path(ENTRY).name else name
        importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    return names


def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that it raises RuntimeError when the product calls it."""

    def guard(*arguments: Any, **options: Any) -> Any:
        caller = product_frame(sys._getframe(1))
        if caller is not None:
            where = f"{caller.f_code.co_filename}:{caller.f_lineno}"
            raise RuntimeError(f"{name} is called while {where} is imported")
        return function(*arguments, **options)

    return guard


def product_frame(frame: FrameType | None) -> FrameType | None:
    """Find the frame of the product that caused a call; None if another package calls for its own purposes."""
    product = tuple(str(ROOT / package) + os.sep for package in ("consumer", "providers"))
    library = sysconfig.get_path("stdlib") + os.sep
    packages = sysconfig.get_path("purelib") + os.sep
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(product):
            return frame
        if "importlib" in file or file.startswith(packages) or not file.startswith((library, "<frozen")):
            return None
        frame = frame.f_back
    return None


if __name__ == "__main__":
    sys.stdout.write("\n".join(import_what_ships()))
