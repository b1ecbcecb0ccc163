"""Every module of `consumer/store` that holds statements."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import consumer.store


def modules() -> list[ModuleType]:
    """The modules of the store, those of its folders included."""
    found = pkgutil.walk_packages(consumer.store.__path__, "consumer.store.")
    return [importlib.import_module(module.name) for module in found]
