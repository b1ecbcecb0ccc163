"""`KeyValue` on Workers KV."""

from __future__ import annotations

import re
from typing import Any, Final

from pyodide.ffi import JsException

from consumer.limits import check_status_key, check_value
from consumer.ports import PortError, Refused, TooSoon, Unavailable

_STATUS: Final = re.compile(r"\bfailed: (\d{3})\b")
TOO_SOON: Final = 429
_TRANSIENT: Final = frozenset({408, TOO_SOON})
"""Status codes below 500 after which a later attempt can succeed."""


class WorkersKeyValue:
    """`KeyValue` on the binding of a KV namespace."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    async def get(self, key: str) -> str | None:
        """The value of a key; None if it has none, or the value has expired.  The answer may be a minute old."""
        check_status_key(key)
        try:
            value: str | None = await self._binding.get(key)
        except JsException as error:
            raise port_error(str(error.message)) from error
        return value

    async def put(self, key: str, value: str, ttl_s: int | None = None) -> None:
        """Store a value for `ttl_s` seconds, or without an end."""
        check_status_key(key)
        check_value(value, ttl_s)
        options = {} if ttl_s is None else {"expirationTtl": ttl_s}
        try:
            await self._binding.put(key, value, **options)
        except JsException as error:
            raise port_error(str(error.message)) from error


def port_error(message: str) -> PortError:
    """The error of the port for an error of KV, with KV's own text: `KV PUT failed: 400 Invalid ...`."""
    found = _STATUS.search(message)
    status = int(found[1]) if found else 0
    refused = 400 <= status < 500 and status not in _TRANSIENT
    if status == TOO_SOON:
        return TooSoon(message)
    return Refused(message) if refused else Unavailable(message)
