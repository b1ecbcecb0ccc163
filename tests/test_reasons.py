"""Every reason that our code gives begins with a code in snake_case, because a log line carries that code only."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

import pytest

from consumer.telemetry import reason_code
from scripts.stage import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTCOMES: Final = ("Failed", "Retry", "Unknown")
"""The outcomes whose first argument is a reason."""
GIVEN: Final = ("reason", "why", "unreadable")
"""The names under which a reason is passed on or kept."""
CODE: Final = re.compile(r"[a-z][a-z0-9_]*(: .+| by .+|)", re.ASCII | re.DOTALL)
FOLDERS: Final = (
    "consumer/core",
    "consumer/execution",
    "consumer/run",
    "consumer/service/commands.py",
    "providers",
)


def beginning(value: ast.expr) -> str | None:
    """The text of a literal, with `x` for each value in it; None if it begins with a value or is no text."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr) and isinstance(value.values[0], ast.Constant):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in value.values)
    return None


def reasons(tree: ast.Module) -> Iterator[ast.expr]:
    """The values that a module gives as reasons."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in OUTCOMES:
                yield from node.args[:1]
            yield from (keyword.value for keyword in node.keywords if keyword.arg in GIVEN)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in GIVEN:
            yield node.value


def written() -> list[str]:
    """The reasons in the modules that decide, as `file: text`."""
    files = [
        file
        for name in FOLDERS
        for file in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]
    found = [(file, beginning(value)) for file in files for value in reasons(ast.parse(file.read_text()))]
    found += [
        (file, text)
        for file in (ROOT / "consumer/store").rglob("*.py")
        for text in re.findall(r"\breason = (?:CASE [^']*THEN )?'([^']*)'", file.read_text())
    ]
    return sorted({f"{file.relative_to(ROOT)}: {text}" for file, text in found if text is not None})


@pytest.mark.parametrize("found", written())
def test_a_reason_begins_with_a_code(found: str) -> None:
    _, _, reason = found.partition(": ")
    assert CODE.fullmatch(reason), f"{found!r} does not begin with a code, as in 'worker_lost: ...'"
    assert reason_code(reason) == re.split("[: ]", reason, maxsplit=1)[0]


def test_the_reasons_of_each_kind_are_found() -> None:
    found = {reason.partition(": ")[2] for reason in written()}
    assert found >= {
        "never_sent",
        "cut_off: the worker was stopped",
        "deadline",
        "no_evidence: none has come yet",
    }
    assert len(found) > 25
