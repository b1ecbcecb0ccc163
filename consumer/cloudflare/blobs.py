"""`Blobs` on R2."""

from __future__ import annotations

from typing import Any

from pyodide.ffi import JsException

from consumer.limits import check_blob, check_key
from consumer.ports import Unavailable


class R2Blobs:
    """`Blobs` on the binding of an R2 bucket.

    Keys and values are checked before a request is sent, so every error of R2 is `Unavailable`.
    """

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    async def get(self, key: str) -> bytes | None:
        """The bytes of a key; None if it has none."""
        check_key(key)
        try:
            found = await self._binding.get(key)
            return None if found is None else bytes(await found.arrayBuffer())
        except JsException as error:
            raise Unavailable(str(error.message)) from error

    async def put(self, key: str, value: bytes) -> None:
        """Store the bytes.  Storing the same bytes under the same key again changes nothing."""
        check_key(key)
        check_blob(value)
        try:
            await self._binding.put(key, value)
        except JsException as error:
            raise Unavailable(str(error.message)) from error

    async def delete(self, key: str) -> None:
        """Delete the bytes of a key, if it has any."""
        check_key(key)
        try:
            await self._binding.delete(key)
        except JsException as error:
            raise Unavailable(str(error.message)) from error
