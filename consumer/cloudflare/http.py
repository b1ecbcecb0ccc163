"""HTTP out of a Worker: httpx2 on the platform's `fetch`.

httpx2's own transport for it (httpx2-jsfetch 1.0) follows redirects whatever it is told, which hands `x-api-key` to
another host, stumbles over a reply without a body, and does not stop a request that was given up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import httpx2
from pyodide.ffi import JsException, to_js

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DECODED: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers that speak of a body as it travelled; `fetch` has decoded it."""


def client() -> httpx2.AsyncClient:
    """A client for one invocation.  It follows no redirect; waiting is bounded by who waits."""
    return httpx2.AsyncClient(transport=FetchTransport(), timeout=None, trust_env=False)


class FetchTransport(httpx2.AsyncBaseTransport):
    """One `fetch` for each request, given up with it."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises httpx2.ReadError for every failure: `fetch` does not tell whether the request had arrived."""
        import js  # noqa: PLC0415  # a JavaScript object must not live in a module of the start-up snapshot

        controller = js.AbortController.new()
        body = await request.aread()
        options = {
            "method": request.method,
            "headers": [[name, value] for name, value in request.headers.items() if name != "content-length"],
            "redirect": "manual",
            "signal": controller.signal,
        }
        if body:
            options["body"] = to_js(body)
        try:
            reply = await js.fetch(str(request.url), to_js(options, dict_converter=js.Object.fromEntries))
        except asyncio.CancelledError:
            controller.abort()
            raise
        except JsException as error:
            raise httpx2.ReadError(str(error.message), request=request) from error
        pairs = (tuple(pair) for pair in js.Array.new(*reply.headers.entries()))
        headers = [(str(name), str(value)) for name, value in pairs if name not in _DECODED]
        return httpx2.Response(reply.status, headers=headers, stream=FetchStream(reply, controller, request))


class FetchStream(httpx2.AsyncByteStream):
    """The body of a reply, as it comes."""

    def __init__(self, reply: Any, controller: Any, request: httpx2.Request) -> None:
        self._reply = reply
        self._controller = controller
        self._request = request
        self._done = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises httpx2.ReadError when the connection breaks."""
        if not self._reply.body:  # 204, 304 and the answer to HEAD have none
            self._done = True
            return
        reader = self._reply.body.getReader()
        while True:
            try:
                part = await reader.read()
            except JsException as error:
                raise httpx2.ReadError(str(error.message), request=self._request) from error
            if part.done:
                self._done = True
                return
            yield part.value.to_bytes()

    async def aclose(self) -> None:
        """What is not read is not wanted: the connection is free for others."""
        if not self._done:
            self._controller.abort()
