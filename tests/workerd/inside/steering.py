"""Takes chance out of the Worker's hands."""

from __future__ import annotations

import json

from consumer.cloudflare.clock import WorkersEntropy

_chance = WorkersEntropy.draw


def draw(argument: str) -> str:
    """Let every draw be this number, or null: chance again."""
    number: float | None = json.loads(argument)
    chosen = _chance if number is None else lambda _self: number
    setattr(WorkersEntropy, "draw", chosen)  # noqa: B010  # a method is not assigned to but in a test
    return "null"
