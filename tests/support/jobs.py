"""Asynchronous jobs of the fake provider `job`, and replies and webhooks about them."""

from __future__ import annotations

from typing import Any

from consumer.core.outcome import Accepted, Outcome, Unknown
from consumer.core.policy import MINUTE
from tests.support.fakes import ANSWER
from tests.support.scene import Scene, ai

DONE = {"output": ANSWER}

ACCEPTED = Accepted("job-1")

LATER = Accepted("job-1", 10 * MINUTE)
SILENT = Unknown("no answer")


async def accepted_job(scene: Scene, accepted: Outcome = LATER, **limits: Any) -> int:
    """Make a task whose job the provider has accepted; return its id."""
    task = await scene.given(ai("job"), **limits)
    scene.network.script("job", accepted)
    await scene.drain()
    assert await scene.states(task) == ["waiting"]
    return task
