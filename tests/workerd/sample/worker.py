"""A Worker that uses every binding once, for the tests of the harness itself."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    """Fetches URLs on request, gives messages the requested verdict, and notes events in KV."""

    async def fetch(self, request: Any) -> Any:
        """Answer `/call?url=...` with the reply of that URL, any other path with an echo."""
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
        """Give each message the verdict in its body, and note each delivery."""
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
