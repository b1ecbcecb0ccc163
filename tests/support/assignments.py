"""The links that people get to their assignments."""

from __future__ import annotations

from consumer.core.policy import DAY
from consumer.service import queries
from consumer.store.sql import execution_id
from tests.support.scene import Scene

WEEK = 7 * DAY


async def link(scene: Scene, task: int, number: int = 1) -> str:
    """The token in the link to a task's `number`-th execution, as its person gets it."""
    execution = execution_id(task, number)
    (row,) = [one for one in await queries.inbox(scene.world, None) if one["id"] == execution]
    return str(row["link"]).rpartition("/")[2]
