"""Webhooks of the simulated providers: early, late, twice, out of order, lost, and forged."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from consumer.store.sql import task_of
from tests.simulation import edges
from tests.simulation.adapters import HOOK_SECRET

if TYPE_CHECKING:
    from tests.simulation.seen import Begun
    from tests.simulation.services import Job
    from tests.simulation.simulation import Simulation

WAITS_S: Final = (5, 60, 600, 3_600, 20_000, 40_000)
"""Delays before a refused webhook is sent again; after the last one it is given up."""


class Hooks:
    """Sends webhooks.  `accepted`: the events that were answered with 2xx, each with the execution that it is about.

    `bare`: executions that their events name by external id only.  A restore takes back what a database has
    accepted, so `accepted` and `reported_charges` go back with it; no provider sends an accepted event again."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.accepted: dict[tuple[str, str], Begun] = {}
        self.reported_charges: dict[Begun, Decimal] = {}
        self.bare: set[Begun] = set()
        self.forged: set[tuple[str, str]] = set()
        self._numbers = 0

    def _hit(self, job: Job, kind: str, probability: float) -> bool:
        hit = self._sim.dice.hit(kind, probability)
        if hit:
            self._sim.coverage.task(task_of(job.execution), kind)
        return hit

    async def tell(self, job: Job) -> None:
        """Send the event about the end of a job, with its faults."""
        dice, said = self._sim.dice, job.said()
        working = {"status": "working", "id": job.id, "charged": None}
        if self._hit(job, "webhook.progress", 0.2):
            await self._send(job, working)
        if self._hit(job, "webhook.lost", 0.1):
            return
        if self._hit(job, "webhook.late", 0.1):
            await asyncio.sleep(dice.between("webhook.lateness", 600, 150_000))
        event = self._event()
        await self._send(job, said, event)
        if self._hit(job, "webhook.twice", 0.15):
            await asyncio.sleep(dice.between("webhook.again", 0, 300))
            await self._send(job, said, event)
        if self._hit(job, "webhook.new_id", 0.05):
            await self._send(job, said)
        if self._hit(job, "webhook.out_of_order", 0.1):
            await self._send(job, working)
        if self._hit(job, "webhook.forged", 0.2):
            await self._forge(job, {**said, "status": "done", "answer": {"answer": "forged"}})

    def _event(self) -> str:
        self._numbers += 1
        return f"event-{self._numbers}"

    async def _send(self, job: Job, said: dict[str, Any], event: str | None = None) -> None:
        event = event or self._event()
        address = urlsplit(job.callback or "")
        path, query = address.path, address.query
        if job.bare:
            query = ""
        for wait in WAITS_S:
            turned = self._sim.restores.turned
            status = await self._post(path, query, self._signed(said, event))
            if status is not None and 200 <= status < 300:
                self._sim.note(job.provider, "reports", f"{event}: {said['status']} of {job.execution}")
                if turned != self._sim.restores.turned:  # it was accepted before or after the restore
                    return
                self.accepted[job.provider, event] = job.begun
                if job.bare:
                    self.bare.add(job.begun)
                if said["charged"] is not None:
                    self.reported_charges[job.begun] = Decimal(said["charged"])
                return
            if status is not None:
                edges.authentic_webhooks_are_taken(self._sim, event, status)
            await asyncio.sleep(wait)

    async def _forge(self, job: Job, said: dict[str, Any]) -> None:
        address = urlsplit(job.callback or "")
        event, draw = f"forged-{self._event()}", self._sim.dice.between("forgery", 0, 4)
        headers, body = self._signed(said, event)
        query = address.query
        if draw < 1:
            headers["webhook-signature"] = "v1,Zm9yZ2Vk"
        elif draw < 2:
            headers, body = self._signed(said, event, age_s=3_600)
        elif draw < 3:
            query = query.replace("execution=", "execution=1")
        else:
            body = body.replace(b"forged", b"altered")
        self.forged.add((job.provider, event))
        status = await self._post(address.path, query, (headers, body))
        if status is not None:
            edges.no_forged_webhook_is_taken(self._sim, event, status)

    def _signed(self, said: dict[str, Any], event: str, age_s: int = 0) -> tuple[dict[str, str], bytes]:
        moment = datetime.fromtimestamp(self._sim.now_ms() // 1000 - age_s, UTC)
        body = json.dumps(said)
        return {
            "webhook-id": event,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(HOOK_SECRET).sign(event, moment, body),
        }, body.encode()

    async def _post(self, path: str, query: str, signed: tuple[dict[str, str], bytes]) -> int | None:
        headers, body = signed
        answer = await self._sim.web.request("POST", f"{path}?{query}" if query else path, body, headers)
        return None if answer is None else answer[0]
