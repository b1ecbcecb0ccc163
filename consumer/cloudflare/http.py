"""HTTP out of a Worker: httpx2 on the platform's `fetch`.

httpx2's own transport for `fetch` (httpx2-jsfetch 1.0) has three faults.  It follows redirects even if the caller
forbids that, and so sends `x-api-key` to another host; it fails at a reply without a body; it does not stop a
cancelled request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import httpx2
from pyodide.ffi import JsException, to_js

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DECODED: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers about the encoded body.  They are dropped, because `fetch` has decoded it."""


def client() -> httpx2.AsyncClient:
    """A client for one invocation.  It follows no redirect and has no timeout, because its callers have their own."""
    return httpx2.AsyncClient(transport=FetchTransport(), timeout=None, trust_env=False)


class FetchTransport(httpx2.AsyncBaseTransport):
    """One `fetch` for each request, which is aborted if the request is cancelled."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request.  Raises httpx2.ReadError for every failure, because `fetch` does not report whether the
        request had arrived."""
        import js  # noqa: PLC0415  # the snapshot of the modules cannot hold JavaScript

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
    """The body of a reply, part by part as it arrives."""

    def __init__(self, reply: Any, controller: Any, request: httpx2.Request) -> None:
        self._reply = reply
        self._controller = controller
        self._request = request
        self._done = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises httpx2.ReadError when the connection breaks."""
        if not self._reply.body:  # replies with 204 or 304 and replies to HEAD have no body
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
        """Abort a body that was not read to its end, so that its connection is free for another request."""
        if not self._done:
            self._controller.abort()
