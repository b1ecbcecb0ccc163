"""Tasks under a budget, as several contracts make them."""

from __future__ import annotations

from typing import Any

from consumer.core.times import parse_time
from tests.support.scene import PRICE, Scene, ai

MIDNIGHT = parse_time("2033-05-19T00:00:00Z", "")
"""The end of the day on which a scene begins."""

MONTH = parse_time("2033-06-01T00:00:00Z", "")


async def limited(scene: Scene, answers: int, count: int = 10, **columns: Any) -> tuple[int, int]:
    """Make tasks and a budget that covers `answers` of them; return the first task and the budget."""
    task = await scene.given(ai("blind"), count=count)
    return task, await scene.budget(answers * PRICE, **columns)
