"""How an event reaches the project's class: the conversions of Cloudflare's own Python entry point."""

from __future__ import annotations

import asyncio
import itertools
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any, Final

from pyodide.code import relaxed_call
from workers import python_from_rpc, python_to_rpc

_numbers: Final = itertools.count(1)
_event: Final[ContextVar[int]] = ContextVar("event")
_leftovers: Final[list[str]] = []


async def call(instance: object, name: str, *arguments: object) -> Any:
    """Call `instance.name` in Python's types; only `fetch` may take fewer arguments than it is given."""
    number = next(_numbers)
    _event.set(number)  # inherited by every task that the handler starts
    method = getattr(instance, name)
    values = [python_from_rpc(argument) for argument in arguments]
    try:
        result = relaxed_call(method, *values) if name == "fetch" else method(*values)
        return python_to_rpc(await result if isawaitable(result) else result)
    finally:
        _leftovers.extend(repr(task) for task in asyncio.all_tasks() if _is_left(task, number))


def _is_left(task: asyncio.Task[Any], number: int) -> bool:
    return task is not asyncio.current_task() and task.get_context().get(_event) == number  # type: ignore[attr-defined]  # Python 3.12 and later


def leftovers() -> list[str]:
    """Tasks that a handler left running, drained: Cloudflare destroys them, or they block the next event."""
    found = list(_leftovers)
    _leftovers.clear()
    return found
