"""`Limiter` on the Rate Limiting binding.

It counts for each location of Cloudflare, and not exactly.
developers.cloudflare.com/workers/runtime-apis/bindings/rate-limit
"""

from __future__ import annotations

from typing import Any

from pyodide.ffi import JsException


class WorkersLimiter:
    """`Limiter` on the binding.  wrangler.toml has the number of requests and the period."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    async def allow(self, who: str) -> bool:
        """Count a request of `who`.  If the platform cannot count, the request is allowed: the limit is a protection,
        and must not stop the service."""
        try:
            outcome = await self._binding.limit({"key": who})
        except JsException:
            return True
        allowed: bool = outcome["success"]
        return allowed
