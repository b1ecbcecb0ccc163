"""What every `Blobs` must do.  Fixture: `blobs`, empty."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from consumer.ports import MAX_KEY_BYTES, Refused

if TYPE_CHECKING:
    from consumer.ports import Blobs

KEYS = [
    "plain",
    "a/b/c.json",
    "/leading",
    "trailing/",
    "a//b",
    ".",
    "..",
    "../../outside",
    "..\\outside",
    ".hidden",
    "UPPER",
    "upper",
    "white space",
    "per%cent",
    "%2E%2E",
    "con",
    "a:b*c?d|e<f>g",
    "new\nline",
    "naïve 🧠",
    "k" * MAX_KEY_BYTES,
    "k" * (MAX_KEY_BYTES - 1) + "l",
]
NO_KEYS = ["empty", "too long", "too many bytes", "no Unicode"]


class BlobsContract:
    @pytest.mark.parametrize(
        "value",
        [b"", b"text", bytes(range(256)) * 4, b"x" * 1_000_000],
        ids=["empty", "text", "binary", "1 MB"],
    )
    async def test_bytes_come_back_as_they_were(self, blobs: Blobs, value: bytes) -> None:
        await blobs.put("key", value)

        found = await blobs.get("key")

        assert found == value
        assert type(found) is bytes

    async def test_a_missing_key_is_none(self, blobs: Blobs) -> None:
        assert await blobs.get("missing") is None

    async def test_keys_do_not_touch_each_other(self, blobs: Blobs) -> None:
        """Keys of any characters, and keys that are prefixes of other keys."""
        for number, key in enumerate([*KEYS, "a", "a/b"]):
            await blobs.put(key, str(number).encode())

        for number, key in enumerate([*KEYS, "a", "a/b"]):
            assert await blobs.get(key) == str(number).encode(), key

    async def test_putting_the_same_bytes_again_changes_nothing(self, blobs: Blobs) -> None:
        await blobs.put("key", b"value")
        await blobs.put("key", b"value")

        assert await blobs.get("key") == b"value"

    async def test_concurrent_puts_are_all_stored(self, blobs: Blobs) -> None:
        await asyncio.gather(*(blobs.put(f"key/{number}", b"%d" % number) for number in range(10)))

        assert [await blobs.get(f"key/{number}") for number in range(10)] == [b"%d" % n for n in range(10)]

    async def test_a_deleted_key_is_gone(self, blobs: Blobs) -> None:
        await blobs.put("gone", b"value")
        await blobs.put("kept", b"value")

        await blobs.delete("gone")

        assert await blobs.get("gone") is None
        assert await blobs.get("kept") == b"value"

    async def test_deleting_a_missing_key_is_no_error(self, blobs: Blobs) -> None:
        await blobs.delete("missing")

    @pytest.mark.parametrize(
        "key", ["", "k" * (MAX_KEY_BYTES + 1), "é" * (MAX_KEY_BYTES // 2 + 1), "\ud800"], ids=NO_KEYS
    )
    async def test_an_invalid_key_is_refused(self, blobs: Blobs, key: str) -> None:
        with pytest.raises(Refused):
            await blobs.put(key, b"value")
        with pytest.raises(Refused):
            await blobs.get(key)
        with pytest.raises(Refused):
            await blobs.delete(key)

    @pytest.mark.parametrize(
        "value", ["text", None, 1, [1, 2], {"a": 1}], ids=lambda value: type(value).__name__
    )
    async def test_a_value_that_is_not_bytes_is_refused(self, blobs: Blobs, value: Any) -> None:
        with pytest.raises(Refused):
            await blobs.put("key", value)

        assert await blobs.get("key") is None
