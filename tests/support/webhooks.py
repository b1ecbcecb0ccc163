"""Webhooks of the profile `echo`, signed as its provider signs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from standardwebhooks import Webhook

from consumer.execution.call import callback_url
from tests.support.deployment import SECRETS, Deployment

ANSWER: Final = {"title": "by webhook"}


def webhook_body(**data: Any) -> bytes:
    """The body of a webhook of the provider `echo`."""
    return json.dumps(
        {"type": "echo.completed", "data": {"output": ANSWER, **data}}, ensure_ascii=False
    ).encode()


def signed(deployment: Deployment, body: bytes, event: str = "event-1", **changes: str) -> dict[str, str]:
    """The headers of a webhook of the profile `echo`."""
    moment = datetime.fromtimestamp(deployment.clock.ms // 1000, UTC)
    signature = Webhook(SECRETS["ECHO_HOOK"]).sign(event, moment, body.decode("utf-8", "replace"))
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(deployment.clock.ms // 1000),
        "webhook-signature": signature,
    }
    return {**headers, **changes}


async def address(deployment: Deployment, execution: int, profile: str = "echo") -> str:
    """The query of the callback address that the provider gets with its call."""
    found = await deployment.rows("SELECT lease FROM task_executions WHERE id = ?1", execution)
    lease = str(found[0]["lease"]) if found else "0" * 32
    return "?" + callback_url(deployment.world, profile, execution, lease).partition("?")[2]
