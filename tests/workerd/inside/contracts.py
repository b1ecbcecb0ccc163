"""Every contract, bound to Cloudflare's host.  Importable anywhere, run inside the Worker only."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

from tests import contracts

NO_TABLES = "tests.contracts.database"
"""The module of the suite that makes its own tables; all other suites use the product's."""


class OnTables:
    """The product's tables, empty."""

    @pytest.fixture
    def database(self, tables: Any) -> Any:
        return tables


def found() -> list[type]:
    """Every class of the package whose name ends with `Contract` and that no other extends."""
    names = [module.name for module in pkgutil.iter_modules(contracts.__path__, "tests.contracts.")]
    modules = [importlib.import_module(name) for name in sorted(names)]
    suites = {
        value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and name.endswith("Contract")
    }
    extended = {base for suite in suites for base in suite.__mro__[1:]}
    return sorted(suites - extended, key=lambda suite: (suite.__module__, suite.__name__))


def bound() -> dict[str, type]:
    """A test class for each contract."""
    classes = {}
    for suite in found():
        bases = (suite,) if suite.__module__ == NO_TABLES else (OnTables, suite)
        name = f"Test{suite.__name__}"
        classes[name] = type(name, bases, {"__module__": __name__, "__doc__": suite.__doc__})
    return classes


globals().update(bound())
