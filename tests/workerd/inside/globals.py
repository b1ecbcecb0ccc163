"""Searches modules for JavaScript objects, which they must not hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from pyodide.ffi import JsProxy

DEEP = 3


def javascript(_argument: str) -> str:
    """The names of JavaScript objects in modules, their classes and their containers, as a JSON list."""
    found = [
        name
        for module in list(sys.modules.values())
        for key, value in list(getattr(module, "__dict__", {}).items())
        for name in _holders(f"{module.__name__}.{key}", value, DEEP)
    ]
    return json.dumps(sorted(set(found)))


def _holders(name: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, JsProxy):
        yield name
    elif depth and isinstance(value, ModuleType):
        return
    elif depth:
        for key, part in _parts(value):
            yield from _holders(f"{name}.{key}", part, depth - 1)


def _parts(value: Any) -> list[tuple[object, Any]]:
    if type(value) is dict:
        return list(value.items())
    if type(value) in {list, tuple, set, frozenset}:
        return list(enumerate(value))
    # A class or an object of ours; objects of other packages are not searched.
    if str(getattr(value, "__module__", "")).partition(".")[0] in {"consumer", "providers", "worker"}:
        return list(getattr(value, "__dict__", {}).items())
    return []
