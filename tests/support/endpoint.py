"""An endpoint of another system that does tasks: it checks each signature, keeps a ledger, and calls back signed.

It shares no code with the adapter: it signs and compares with the library of the specification.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx2
from standardwebhooks import Webhook

from consumer.app import App
from consumer.core.profile import accounts
from consumer.web.app import build

if TYPE_CHECKING:
    from tests.support.deployment import Deployment

NEW: Final = "whsec_bmV3IHNlY3JldCBvZiB0aGUgZW5kcG9pbnQ="
OLD: Final = "whsec_b2xkIHNlY3JldCBvZiB0aGUgZW5kcG9pbnQ="
ADDRESS: Final = "https://endpoint.test/tasks"
OUTPUT: Final = {"title": "done by hand"}


class Sent(NamedTuple):
    """A request that the endpoint got: its method, path, message id, type and data."""

    method: str
    path: str
    id: str
    type: str
    data: dict[str, Any]


def report(kind: str, **data: Any) -> dict[str, Any]:
    """A report, in a reply or a callback."""
    return {"type": f"task.{kind}", "timestamp": "2033-05-18T03:33:20Z", "data": data}


class Endpoint:
    """`replies`: what it answers, in turn; then it accepts every task with 202.

    `hosts`: where each request of the worker went.  `ledger`: the tasks that it began to do, by message id: a repeat
    of an id is no new task."""

    def __init__(self, deployment: Deployment, secret: str = OLD) -> None:
        self.deployment = deployment
        self.secret = secret
        self.replies: list[tuple[int, Any] | httpx2.Response] = []
        self.hosts: list[str] = []
        self.sent: list[Sent] = []
        self.ledger: dict[str, Sent] = {}

    async def serve(self, secret: str = OLD, **options: Any) -> None:
        """Let the deployment have the profile `endpoint`, with a network in which only this endpoint exists."""
        deployment = self.deployment
        profile = {
            "provider": "webhook",
            "base_url": ADDRESS,
            "webhook_secret": "HOOK",
            "price": {"per_task": "0.25"},
            "options": {"kind": "human", **options},
        }
        known = {**deployment.world.accounts, **accounts({"endpoint": profile}, {"HOOK": secret})}
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        deployment.world = replace(deployment.world, accounts=known, http=http)
        transport = httpx2.ASGITransport(app=build(App(deployment.world)))
        deployment.client = httpx2.AsyncClient(transport=transport, base_url="http://bizq.test")

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.hosts.append(request.url.host)
        body = request.content.decode()
        if self._signature(request.headers, body) not in request.headers["webhook-signature"].split():
            return httpx2.Response(401)
        value = json.loads(body or "{}")
        message, kind = request.headers["webhook-id"], value.get("type", "")
        entry = Sent(request.method, request.url.path, message, kind, value.get("data", {}))
        self.sent.append(entry)
        if kind == "task.created":
            self.ledger.setdefault(message, entry)
        answer = self.replies.pop(0) if self.replies else (202, None)
        if isinstance(answer, httpx2.Response):
            return answer
        status, reply = answer
        return httpx2.Response(status, content=b"" if reply is None else json.dumps(reply).encode())

    def _signature(self, headers: httpx2.Headers, body: str) -> str:
        moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        return Webhook(self.secret).sign(headers["webhook-id"], moment, body)

    @property
    def task(self) -> dict[str, Any]:
        """The only task of the ledger."""
        (entry,) = self.ledger.values()
        return entry.data

    async def call_back(
        self, value: dict[str, Any], event: str = "event-1", secret: str | None = None, **changes: str
    ) -> httpx2.Response:
        """Send a signed callback about the only task."""
        body, deployment = json.dumps(value), self.deployment
        stamp = deployment.clock.ms // 1000
        signature = Webhook(secret or self.secret).sign(event, datetime.fromtimestamp(stamp, UTC), body)
        headers = {"webhook-id": event, "webhook-timestamp": str(stamp), "webhook-signature": signature}
        path = self.task["callback_url"].removeprefix("http://bizq.test")
        return await deployment.ask(
            "POST", path, content=body.encode(), headers={**headers, **changes}, key=None
        )
