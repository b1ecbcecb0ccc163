"""The load: tasks of two organizations, one with a small budget, inserted as another application does."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from tests.chaos.shop import CALL_S, PRICE_MICRO
from tests.support.fakes import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

FED: Final = 6
"""The number of tasks for each kill."""
NARROW: Final = 20
"""The number of answers that the second organization can pay until its cap is raised after the last kill."""
PATIENCE_S: Final = 180.0
"""The time in seconds for the open tasks after the last kill."""


class Site(Protocol):
    """A host, seen from outside."""

    async def sql(self, text: str, *parameters: Any) -> list[dict[str, Any]]:
        """Run one statement, like another application."""
        ...

    async def ring(self) -> None:
        """Send a doorbell."""
        ...

    async def status(self, task: int) -> str | None:
        """The live status, as readers see it."""
        ...

    async def blob(self, key: str) -> bytes:
        """The bytes of a large result."""
        ...


class Load:
    """The tasks of a site, and their state."""

    def __init__(self, site: Site, profile: str) -> None:
        self._site = site
        self._profile = profile
        self._dice = random.Random(profile)  # noqa: S311  # to be repeated
        self._templates: list[tuple[int, int]] = []
        self._raised = False

    async def prepare(self) -> None:
        """Insert organizations, templates of one and two stages, and the small budget."""
        stage = {"kind": "ai", "candidates": [{"profile": self._profile}] * 3}
        limits = {"call_s": CALL_S, "attempts": 20}
        for organization in (1, 2):
            await self._site.sql("INSERT INTO organizations (id, name) VALUES (?1, 'chaos')", organization)
            for stages in (1, 2):
                (row,) = await self._site.sql(
                    "INSERT INTO task_templates (organization_id, name, output_schema, route, limits)"
                    " VALUES (?1, 'chaos', ?2, ?3, ?4) RETURNING id",
                    *(organization, json.dumps(SCHEMA), json.dumps({"stages": [stage] * stages})),
                    json.dumps(limits),
                )
                self._templates.append((organization, row["id"]))
        await self._site.sql(
            "INSERT INTO budgets (organization_id, scope, scope_id, period, cap_micro)"
            " VALUES (2, 'organization', 2, 'total', ?1)",
            NARROW * PRICE_MICRO,
        )

    async def raise_the_cap(self) -> None:
        """Raise the cap; the sweep finds the room."""
        self._raised = True
        await self._site.sql("UPDATE budgets SET cap_micro = 1000000000000")

    async def feed(self, count: int) -> None:
        """Insert more tasks, and send a doorbell."""
        for _ in range(count):
            organization, template = self._dice.choice(self._templates)
            await self._site.sql(
                "INSERT INTO tasks (template_id, organization_id, title, priority)"
                " VALUES (?1, ?2, 'task ' || (SELECT COALESCE(max(id), 0) + 1 FROM tasks), ?3)",
                *(template, organization, self._dice.choice(["urgent", "high", "medium", "low"])),
            )
        await self._site.ring()

    async def open(self) -> int:
        """The work that is left; tasks that wait for a budget may be tried again at any time."""
        (row,) = await self._site.sql(
            "SELECT (SELECT count(*) FROM tasks WHERE status IN ('running', 'waiting')"
            " OR (status = 'pending' AND (organization_id = 1 OR ?1)))"
            " + (SELECT count(*) FROM task_executions WHERE status IN ('running', 'waiting', 'unknown'))"
            " + (SELECT count(*) FROM leases) + (SELECT ?1 * count(*) FROM outbox) AS n",
            int(self._raised),
        )
        return int(row["n"])

    async def counts(self) -> str:
        """Tasks by state, in words."""
        rows = await self._site.sql("SELECT status, count(*) AS n FROM tasks GROUP BY status ORDER BY status")
        return ", ".join(f"{row['n']} {row['status']}" for row in rows)

    async def calm_down(self, revive: Callable[[], None], say: Callable[[str], None]) -> list[str]:
        """Wait until nothing is open; then raise the cap that kept some tasks waiting, and wait again."""
        problems = []
        for raised in (False, True):
            if raised:
                await self.raise_the_cap()
            end = time.monotonic() + PATIENCE_S
            while left := await self.open():
                revive()
                say(f"{left} open, {await self.counts()}")
                if time.monotonic() > end:
                    problems.append(f"{left} still open after {PATIENCE_S:.0f} s without a kill")
                    break
                await asyncio.sleep(0.25)
        return problems

    async def seen(self) -> tuple[dict[int, str | None], dict[str, bytes]]:
        """The live status of every task, and every large result."""
        tasks = [int(row["id"]) for row in await self._site.sql("SELECT id FROM tasks")]
        keys = await self._site.sql(
            "SELECT result_key AS key FROM task_executions WHERE result_key IS NOT NULL"
        )
        statuses = {task: await self._site.status(task) for task in tasks}
        return statuses, {str(row["key"]): await self._site.blob(str(row["key"])) for row in keys}
