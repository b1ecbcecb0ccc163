"""No regular expression of the product takes time that grows faster than the text."""

from __future__ import annotations

import ast
import importlib
import math
import re
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from scripts.stage import ROOT
from tests.support.backtracking import Search, TooManySteps, beginnings, characters

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT: Final = 70
"""Repetitions in the shorter text, more than the bound of any repetition of the product."""


def expressions() -> dict[tuple[str, int], str]:
    """Every regular expression of the product, with one place where it stands."""
    found: dict[tuple[str, int], str] = {}
    for folder in ("consumer", "providers"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            found |= dict.fromkeys(written(file.read_text()), name)
            try:
                module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
            except ImportError:  # the modules of a host that is not this one
                continue
            values = [value for value in vars(module).values() if isinstance(value, re.Pattern)]
            found |= {(value.pattern, value.flags & ~re.UNICODE): name for value in values}
    return found


def written(source: str) -> Iterator[tuple[str, int]]:
    """The expressions that a source has as constant texts: calls of `re`, and the patterns of fields."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        of_re = (
            isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
        )
        candidates = [*node.args[:1]] if of_re else [k.value for k in node.keywords if k.arg == "pattern"]
        for each in candidates:
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                names = [
                    name for name in ("DOTALL", "VERBOSE", "MULTILINE") if f"re.{name}" in ast.unparse(node)
                ]
                yield each.value, sum(int(re.RegexFlag[name]) for name in names)


def worst_growth(pattern: str, flags: int = 0) -> float:
    """How much more the third part of a text costs than its second part, for the worst of many texts.

    It is 1 where the work grows with the text, and more than 1.6 where it grows with the square."""
    search = Search(pattern, flags)
    letters = sorted(characters(search.parts))[:5]
    start = beginnings(search.parts)
    units = {
        *letters,
        *map("".join, product(letters[:3], repeat=2)),
        *(start + each for each in letters),
        start,
    }
    worst = 0.0
    for unit, end in product(sorted(units - {""}), ("", "\x00")):
        try:
            first, second, third = (search.run(start + unit * n + end) for n in (SHORT, 2 * SHORT, 3 * SHORT))
        except TooManySteps:
            return math.inf
        worst = max(worst, (third - second) / max(1, second - first))
    return worst


EXPRESSIONS: Final = expressions()


@pytest.mark.parametrize(("expression", "place"), EXPRESSIONS.items(), ids=lambda each: str(each)[:40])
def test_the_work_of_every_expression_grows_with_the_text(expression: tuple[str, int], place: str) -> None:
    assert worst_growth(*expression) < 1.4, place


def test_every_expression_is_found() -> None:
    assert any("description" in pattern or r"\{\{" in pattern for pattern, _ in EXPRESSIONS)
    assert len(EXPRESSIONS) > 20


@pytest.mark.parametrize(
    "slow", [r"\{\{\s*([^{}]*?)\s*\}\}", r"\s+$", "^a*a*b", "(x+x+)+y", r"\{ids of ([^}]+)\}"]
)
def test_an_expression_whose_parts_match_the_same_text_is_noticed(slow: str) -> None:
    assert worst_growth(slow) >= 1.4
