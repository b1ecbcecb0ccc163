"""A Worker that uses every binding once: what the tests of the harness itself run."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    """Fetches what it is told to, obeys messages, and notes what happened in KV."""

    async def fetch(self, request: Any) -> Any:
        """Answer `/call?url=...` with what that URL answered, anything else with an echo."""
        _, _, target = request.url.partition("?url=")
        if not target:
            return Response.json({"method": request.method, "url": request.url, "text": await request.text()})
        try:
            async with httpx2.AsyncClient(timeout=0.3) as client:
                answer = await client.get(target)
            return Response.json({"status": answer.status_code, "text": answer.text})
        except httpx2.HTTPError as error:
            return Response.json({"error": type(error).__name__})

    async def queue(self, batch: Any, _env: object, _ctx: object) -> None:
        """Do as each message says, and note each delivery."""
        for message in batch.messages:
            body = message.body
            await self.env.STATUS.put(
                f"{batch.queue}:{body['name']}:{message.attempts}", json.dumps(dict(body))
            )
            if body.get("raise") and batch.queue != "bizq-dead-letters":
                raise RuntimeError(body["raise"])
            if (delay := body.get("retry")) is not None:
                message.retry(delaySeconds=delay)
            else:
                message.ack()

    async def scheduled(self, controller: Any, _env: object, _ctx: object) -> None:
        """Note the tick."""
        await self.env.STATUS.put("tick", json.dumps([controller.cron, int(controller.scheduledTime)]))
