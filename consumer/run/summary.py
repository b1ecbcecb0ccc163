"""Counts of a run, as its caller and the log see them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Summary:
    """Counts of a run.  `more`: it stopped although work may still be due.  `left`: leases that only the sweep can
    end."""

    claimed: int = 0
    executions: int = 0
    followed_up: int = 0
    more: bool = False
    left: int = 0
