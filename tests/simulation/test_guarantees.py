"""docs/guarantees.md names every invariant, and only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.simulation import edges, ends
from tests.simulation.commit_invariants import CommitInvariants
from tests.simulation.effect_invariants import EffectInvariants
from tests.simulation.platform import Platform
from tests.simulation.readers import Readers
from tests.simulation.restores import Restores
from tests.simulation.traffic_invariants import TrafficInvariants

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
CLASSES = (CommitInvariants, EffectInvariants, TrafficInvariants, Readers, Platform, Restores)
HOMES = (*ends.ENDS, *vars(edges).values(), *(value for home in CLASSES for value in vars(home).values()))
COLUMNS = {"cost_source", "blocked_by"}
FUNCTIONS = {found.__name__: found for found in HOMES if callable(found) and hasattr(found, "__name__")}


def _invariants() -> set[str]:
    """The names of invariants that the simulator reports."""
    sources = (ROOT / "tests" / "simulation").glob("*.py")
    said = re.compile(r"\b(?:must|broken|violated)\(\s*\"(\w+)\"")
    found = {name for path in sources for name in said.findall(path.read_text(encoding="utf-8"))}
    return found | {invariant.__name__ for invariant in ends.ENDS}


def test_every_invariant_is_a_function_that_says_what_it_holds() -> None:
    assert {name for name in _invariants() if name not in FUNCTIONS or not FUNCTIONS[name].__doc__} == set()


def test_the_page_names_every_invariant_and_no_other() -> None:
    named = {name for name in re.findall(r"`(\w+)`", PAGE) if "_" in name and name not in COLUMNS}
    assert named == _invariants()


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`([\w/]+)\.(test_\w+)`", PAGE))
    missing = [
        f"{module}.{test}"
        for module, test in sorted(named)
        if not any(
            re.search(rf"\bdef {test}\(", path.read_text(encoding="utf-8"))
            for path in (ROOT / "tests").rglob(f"{module}.py")
        )
    ]
    assert len(named) > 20
    assert missing == []
