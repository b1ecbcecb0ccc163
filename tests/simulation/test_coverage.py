"""docs/coverage.md has the edges and the kinds of fault of the code.  Its counts are those of the day it was made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer.core.lifecycle import EXECUTION_TRANSITIONS, TASK_TRANSITIONS
from tests.simulation.coverage import EDGES, NO_FAULT, Edge
from tests.simulation.faults import FAULTS, PORTS, TITLES, fault_of
from tests.simulation.summary import COMMAND, WHY, Summary
from tests.simulation.weather import SERVICES

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "coverage.md").read_text(encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def _matrix() -> list[list[str]]:
    return [_cells(line) for line in PAGE.partition("## Edges\n")[2].splitlines() if line.startswith("| ")]


def test_the_rows_are_the_edges_of_the_lifecycle() -> None:
    _, _, *rows = _matrix()
    assert [Edge(*row[:4]) for row in rows] == list(EDGES)
    tables = (TASK_TRANSITIONS, EXECUTION_TRANSITIONS)
    assert len(EDGES) == sum(len(moves) for table in tables for moves in table.values())


def test_the_columns_are_the_kinds_of_fault() -> None:
    head, *_ = _matrix()
    assert head == ["of", "from", "event", "to", NO_FAULT, *TITLES]
    assert all(f"| {fault.title} | {fault.meaning} |" in PAGE for fault in FAULTS)


def test_the_page_names_its_command_and_each_gap() -> None:
    counted = re.search(r"counts of (\d+) seeds", PAGE)
    assert counted
    assert COMMAND.format(seeds=counted[1]) in PAGE
    _, _, *rows = _matrix()
    for place, title in enumerate((NO_FAULT, *TITLES), start=4):
        missing = [row for row in rows if row[place] == "0"]
        said = re.search(rf"^\* \*\*{re.escape(title)}\*\*: (.*)$", PAGE, re.MULTILINE)
        named = re.findall(r"(task|execution) `(\w+)` `(\w+)`", said[1]) if said else []
        assert named == [(row[0], row[1], row[2]) for row in missing], title


def test_every_fault_of_the_simulator_has_a_kind() -> None:
    """A new kind of fault gets its column in `faults.py`."""
    text = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("*.py"))
    said = set(re.findall(r"""\b(?:hit|count)\((?:\w+, )?f?"([a-z_.{}]+)\"""", text))
    names = {name for name in said if "{" not in name}
    names |= {f"outage.{service}" for service in SERVICES}
    names |= {
        f"{port}.{way}" for port in PORTS for way in ("after", "before", "ghost", "slow", "storm", "hang")
    }
    assert {fault_of(name).title for name in names} <= set(TITLES)
    assert {name for name in said if "{" in name} == {
        "outage.{service}",
        "{service}.hang",
        *(f"{{kind}}.{way}" for way in ("after", "before", "ghost", "slow", "storm")),
    }
    with pytest.raises(LookupError, match="nonsense"):
        fault_of("nonsense")


def test_reasons_are_given_for_columns_only() -> None:
    assert WHY.keys() <= {NO_FAULT, *TITLES}


def test_a_page_without_seeds_names_every_edge_as_a_gap() -> None:
    assert Summary().page().count("task `pending` `claim`") == len(FAULTS) + 1
