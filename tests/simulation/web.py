"""The real HTTP application, called without a network."""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from tests.simulation import edges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.isolates import Isolate
    from tests.simulation.simulation import Simulation


CALLER: Final[ContextVar[str]] = ContextVar("caller", default="")
"""Who sent the request that is being answered: the header with the key."""


class Web:
    """Requests to some worker, which may die during a request."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any] | None:
        """Status and JSON; None if the connection broke."""
        sim = self._sim
        sim.events += 1
        isolate = sim.isolate()
        caller = CALLER.set((headers or {}).get("authorization", ""))
        asking = sim.spawn(isolate.invoke(f"{method} {target}", _ask(isolate, method, target, body, headers)))
        CALLER.reset(caller)  # the invocation keeps it, and so does everything that it commits
        await asyncio.wait([asking])
        answer: tuple[int, Any] | None = asking.result()
        if answer is not None:
            edges.no_internal_error(sim, f"{method} {target}", *answer)
        return answer

    async def json(
        self, method: str, target: str, value: Any = None, key: str = ""
    ) -> tuple[int, Any] | None:
        """A request of a program."""
        headers = {"accept": "application/json", "content-type": "application/json"}
        if key := self._sim.restores.key_of(key):
            headers["authorization"] = f"Bearer {key}"
        return await self.request(
            method, target, b"" if value is None else json.dumps(value).encode(), headers
        )


async def _ask(
    isolate: Isolate, method: str, target: str, body: bytes, headers: Mapping[str, str] | None
) -> tuple[int, Any]:
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        "server": ("bizq.test", 80),
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    started: dict[str, Any] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:  # an ASGI channel is asynchronous
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:  # as above
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            parts.append(message.get("body", b""))

    await isolate.web(scope, receive, send)
    text = b"".join(parts)
    return started["status"], json.loads(text) if text.startswith((b"{", b"[")) else text
