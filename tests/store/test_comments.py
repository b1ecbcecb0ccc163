"""Every statement of the store has a comment directly above it, which says what the statement does."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Final

import pytest

from consumer.store import claim
from consumer.store.sql import Query
from tests.support.statements import modules

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKED: Final = modules()


def statements(module: ModuleType) -> Iterator[tuple[str, int]]:
    """The name of each statement that the source of a module assigns, and the number of its line, counted from 1."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            yield from ((name, node.lineno) for name in names if is_statement(getattr(module, name, None)))


def is_statement(value: object) -> bool:
    """A query, or a tuple of queries."""
    values = value if isinstance(value, tuple) else (value,)
    return bool(values) and all(isinstance(query, Query) for query in values)


def without_comment(module: ModuleType) -> list[str]:
    """The statements of a module that have no comment above them.  The heading of a section (`# ---`) is none."""
    lines = inspect.getsource(module).splitlines()
    above = {name: lines[number - 2] if number > 1 else "" for name, number in statements(module)}
    return [name for name, line in above.items() if not line.startswith("# ") or line.startswith("# ---")]


@pytest.mark.parametrize("module", CHECKED, ids=lambda module: module.__name__)
def test_every_statement_has_a_comment_above_it(module: ModuleType) -> None:
    assert without_comment(module) == []


def test_statements_are_found() -> None:
    assert {"CLAIM_LEASE", "CLAIMED"} <= {name for name, _ in statements(claim)}
    assert len([name for module in modules() for name, _ in statements(module)]) > 100


def test_a_statement_without_a_comment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = [
        "ONE: Final = Query('SELECT 1')",
        "# Read two.",
        "TWO: Final = Query('SELECT 2')",
        "# --- a section ---",
        "THREE = (Query('SELECT 3'),)",
        "# Read four.",
        "",
        "FOUR = Query('SELECT 4')",
        "FIVE = 'a text'",
    ]
    module = ModuleType("example")
    vars(module).update(dict.fromkeys(("ONE", "TWO", "FOUR"), Query("SELECT 1")))
    vars(module).update(THREE=(Query("SELECT 3"),), FIVE="a text")
    monkeypatch.setattr(inspect, "getsource", lambda _: "\n".join(source))

    assert without_comment(module) == ["ONE", "THREE", "FOUR"]
