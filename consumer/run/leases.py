"""The leases of one run: one row for each claimed batch, deleted when all its tasks are done and published.

Their length is `lease_ms` of `consumer/world.py`, by default `LEASE` of `core/policy.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumer.core.policy import RENEW_EVERY
from consumer.execution import publish
from consumer.store import leases
from consumer.store import publish as publish_sql

if TYPE_CHECKING:
    from consumer.ports import Statement


@dataclass(slots=True, eq=False, repr=False)
class Leases:
    """The leases that a run holds, and the statuses that it has published.

    `length_ms`: the length of a lease.  `renew_at_ms`: the time of the next renewal.  `left`: the number of tasks and
    writes that still need each lease, by token.  `published`: the version at which a task's status was written.
    `unpublished`: the tasks whose status could not be written."""

    length_ms: int
    renew_at_ms: int
    left: dict[str, int] = field(default_factory=dict)
    published: dict[int, int] = field(default_factory=dict)
    unpublished: list[int] = field(default_factory=list)

    def take(self, token: str, tasks: int) -> None:
        """Note that a batch of this many tasks was claimed under a new lease."""
        self.left[token] = tasks

    def hold(self, token: str) -> None:
        """Note that something more needs a lease."""
        self.left[token] += 1

    def done(self, token: str) -> None:
        """Note that one task of a batch, or a write of its status, no longer needs its lease."""
        self.left[token] -= 1

    def statements(self, now_ms: int) -> list[Statement]:
        """Statements that delete the finished leases, and renew the others in time.

        Before a lease goes, its tasks that must be published again get a row in the outbox.  Each call returns new work
        only: send the statements, because the next call does not repeat them."""
        written: list[Statement] = []
        due = now_ms + publish.REPAIR_AFTER_MS
        if self.unpublished:
            written.append(publish.republish_later(now_ms, self.unpublished))
            self.unpublished.clear()
        done = [token for token, left in self.left.items() if left <= 0]
        if done:
            if self.published:
                versions = [{"task": task, "version": version} for task, version in self.published.items()]
                written.append(publish_sql.OVERTAKEN(rows=json.dumps(versions), due=due))
                self.published.clear()
            written.append(leases.FINISH(tokens=json.dumps(done)))
            for token in done:
                del self.left[token]
        if now_ms >= self.renew_at_ms:
            self.renew_at_ms = now_ms + RENEW_EVERY
            written.append(leases.RENEW(tokens=json.dumps(list(self.left)), until=now_ms + self.length_ms))
        return written
