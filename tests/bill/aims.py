"""Aims for the usage of a task: an AI task that succeeds at its first attempt, from doorbell to final status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.bill.usage import Usage

AIMS: Final[Mapping[str, float]] = {
    "rows_written": 6,
    "rows_read": 20,
    "kv_writes": 1,
    "queue_operations": 3,
    "trips": 0.5,
}
"""Done within a second, in batches of 10."""
MORE_FOR_A_BUDGET: Final = 2
"""Additional rows under a budget: its counter, at the reservation and at the settle."""
DOLLARS: Final = 12.50
DOLLARS_OTHERWISE: Final = 17.50
"""Dollars for a million tasks; otherwise = each takes more than a second and is published twice."""


def above(each: Usage, aims: Mapping[str, float] = AIMS) -> dict[str, tuple[float, float]]:
    """The counts above their aims, as they are printed, with the aims."""
    used = {name: round(float(getattr(each, name)), 2) for name in aims}
    return {name: (used[name], aim) for name, aim in aims.items() if used[name] > aim}
