"""What a task may use: an AI task that succeeds at its first attempt, from doorbell to final status."""

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
"""Rows written: its counter, when money is reserved and when it is spent."""
DOLLARS: Final = 12.50
DOLLARS_OTHERWISE: Final = 17.50
"""For a million tasks; otherwise = each takes more than a second and is published once more."""


def above(each: Usage, aims: Mapping[str, float] = AIMS) -> dict[str, tuple[float, float]]:
    """The counts that are above their aim, as they are printed, with it."""
    used = {name: round(float(getattr(each, name)), 2) for name in aims}
    return {name: (used[name], aim) for name, aim in aims.items() if used[name] > aim}
