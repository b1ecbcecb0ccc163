"""Replaces the Worker's random numbers."""

from __future__ import annotations

import json

from consumer.cloudflare.clock import WorkersEntropy

_chance = WorkersEntropy.draw


def draw(argument: str) -> str:
    """Let every draw be this number; null restores random draws."""
    number: float | None = json.loads(argument)
    chosen = _chance if number is None else lambda _self: number
    setattr(WorkersEntropy, "draw", chosen)  # noqa: B010  # only a test replaces a method
    return "null"
