"""Why a request brought no reply: which address, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx2

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_CAUSES: Final = 10


def address(request: httpx2.Request) -> str:
    """The host and the port of a request.  The rest of its address may hold a secret."""
    return request.url.netloc.decode("ascii", "replace") or "an empty address"


def network_reason(request: httpx2.Request, error: Exception) -> str:
    """The reason of an execution whose request failed on its way."""
    where, kind = address(request), type(error).__name__
    causes = list(_causes(error))
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"network: {where} refused the connection: nothing listens there"
    # By name: no module that a Worker imports may import `socket` or `ssl`.
    if any(type(cause).__name__ == "gaierror" for cause in causes):
        return f"network: unknown host {request.url.host}"
    if any(type(cause).__name__.startswith("SSL") for cause in causes):
        return f"network: {where} offers no TLS that can be trusted ({kind})"
    if isinstance(error, httpx2.ConnectTimeout):
        return f"network: {where} did not accept a connection in time"
    if isinstance(error, httpx2.ConnectError):
        return f"network: no connection to {where} ({kind})"
    if isinstance(error, httpx2.RemoteProtocolError):
        return f"network: {where} closed the connection, or does not speak HTTP ({kind})"
    return f"network: the request to {where} broke off ({kind})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__
