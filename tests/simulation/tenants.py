"""A hostile tenant, with the key of an administrator of its organization.

It floods the queue, writes prompts, schemas and patterns at their limits, changes caps at bad moments, and sends storms
of cancels and retries."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tests.simulation import edges
from tests.simulation.scenario import HOUR, ORGANIZATIONS, ROUTES, admin_key, ai, organization_of

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

PROMPT: Final = "{{title}}" + "Do it again. " * 3_800
"""As long as a prompt may be."""
PATTERN: Final = "^(yes|[a-z]|[0-9]|[, !]){1,40}" + "(([a-z0-9]?!*)*[!]{0,90}){0,12}$"
"""A pattern that would keep a backtracking engine busy for ever, and of which a few thousand places are remembered."""
SCHEMAS: Final[tuple[dict[str, Any], ...]] = (
    {
        "type": "object",
        "properties": {"answer": {"type": "string", "pattern": PATTERN}},
        "required": ["answer"],
    },
    {
        "type": "object",
        "properties": {f"p{number}": {"type": "string", "maxLength": number} for number in range(300)},
        "required": ["answer"],
    },
)
LARGE_INPUT: Final = {"words": "x" * 250_000}
MOST_AT_ONCE: Final = 30
PERIODS: Final = ("day", "month", "total")


class Tenants:
    """The hostile tenant of a seed."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.organization = 1 + sim.plan.seed % ORGANIZATIONS
        self._key = admin_key(self.organization)
        self._templates = [
            number for number in range(1, len(ROUTES) + 1) if organization_of(number) == self.organization
        ]
        self._floods = 0

    async def harass(self, until_s: float) -> None:
        """Do harm within what a tenant may do."""
        sim, dice = self._sim, self._sim.dice
        while sim.loop.time() < until_s:
            await asyncio.sleep(dice.between("tenant.pause", 200, 1_000))
            if dice.hit("tenant.floods", 0.08):
                sim.start(self._flood())
            if dice.hit("tenant.templates", 0.15):
                sim.start(self._write_a_large_template())
            if dice.hit("tenant.caps", 0.3):
                await self._set_a_cap()
            if dice.hit("tenant.storms", 0.15):
                await self._storm()

    async def _flood(self) -> None:
        """Submit many urgent tasks in one request, some of them as large as a task may be."""
        chance = self._sim.dice.stream("tenant.flood")
        self._floods += 1
        template = chance.choice(self._templates)
        tasks = [
            {
                "template": template,
                "title": f"flood {number}",
                "input": LARGE_INPUT if number == 0 else {"words": "more"},
                "priority": "urgent",
                "due_date": "2027-02-01T00:00:00Z",
                "idempotency_key": f"flood-{self._floods}-{number}",
            }
            for number in range(1 + chance.randrange(MOST_AT_ONCE))
        ]
        await self._submit(template, tasks, self._sim.restores.turned)

    async def _submit(self, template: int, tasks: list[dict[str, Any]], turned: int) -> None:
        sim, began = self._sim, self._sim.loop.time()
        answer = await sim.others.repeat_until_answered("POST", "/v1/tasks", tasks, self._key)
        restored = sim.restores.under_way or turned != sim.restores.turned  # then the template may be gone
        if answer is None or (answer[0] == 422 and (restored or sim.editors.was_broken(template, began))):
            return
        edges.no_good_request_is_refused(sim, *answer)
        sim.note("a tenant", "floods", f"{len(tasks)} tasks of template {template}")

    async def _write_a_large_template(self) -> None:
        """Add a template with everything at its limits, and a few tasks of it."""
        sim, chance = self._sim, self._sim.dice.stream("tenant.template")
        value = {
            "name": f"large {chance.random():.6f}",
            "prompt": PROMPT,
            "output_schema": chance.choice(SCHEMAS),
            "route": {"stages": [ai(chance.choice(("keyed", "plain", "chat")))]},
            "limits": {"call_s": 20, "attempts": 2, "repairs": 1, "task_s": 6 * HOUR},
        }
        turned = sim.restores.turned
        answer = await sim.others.repeat_until_answered("POST", "/v1/templates", value, self._key)
        if answer is None:
            return
        edges.no_good_request_is_refused(sim, *answer)
        template = int(answer[1]["id"])
        self._floods += 1
        keys = [f"large-{self._floods}-{number}" for number in range(1 + chance.randrange(4))]
        await self._submit(
            template, [{"template": template, "title": key, "idempotency_key": key} for key in keys], turned
        )

    # --- caps and storms --------------------------------------------------------------------------------------------

    async def _set_a_cap(self) -> None:
        """Set a cap of its own to nothing, to very much or to something between, while tasks have just been claimed.

        Sometimes it names a budget of the operator, which does not exist for it."""
        sim, chance = self._sim, self._sim.dice.stream("tenant.cap")
        sim.books.taken.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(sim.books.taken.wait(), 300)
        scope = chance.choice(("organization", "template"))
        value = {
            "scope": scope,
            "scope_id": self.organization if scope == "organization" else chance.choice(self._templates),
            "period": chance.choice(PERIODS),
            "cap": chance.choice(("0", "0.000001", "0.03", "0.5", "999999999")),
            "refused": chance.choice(("wait", "wait", "fail")),
        }
        theirs = sorted(one.id for one in sim.books.budgets.values() if one.tier == "operator")
        if theirs and chance.random() < 0.3:
            target = f"/v1/budgets/{chance.choice(theirs)}"
            answer = await sim.others.repeat_until_answered("PUT", target, value, self._key)
        else:
            answer = await sim.others.repeat_until_answered("POST", "/v1/budgets", value, self._key)
        sim.note("a tenant", "sets a cap", f"{value}: {answer and answer[0]}")

    async def _storm(self) -> None:
        """Cancel and retry many tasks at the same moment, some of them of other organizations."""
        sim, chance = self._sim, self._sim.dice.stream("tenant.storm")
        tasks = sorted(sim.books.tasks)
        wanted = [
            f"/v1/tasks/{chance.choice(tasks)}/{chance.choice(('cancel', 'retry', 'retry'))}"
            for _ in range(chance.randrange(12) if tasks else 0)
        ]
        requests = [sim.web.json("POST", target, None, self._key) for target in wanted]
        said = await asyncio.gather(*requests)
        sim.note("a tenant", "storms", [answer and answer[0] for answer in said])
