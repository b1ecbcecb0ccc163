"""Hooks for all tests."""

from __future__ import annotations

import pytest
from _pytest.nodeid import NodeId

pytest.register_assert_rewrite("tests.contracts", "tests.support")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a group on one process: pytest-xdist 3.8 writes a group where pytest 9.2 no longer reads it."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark is not None:
            item._id = NodeId.parse(f"{item.nodeid}@{mark.args[0]}")
