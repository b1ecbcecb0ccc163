"""What every `KeyValue` must do.  Fixture: `kv`, empty.

A second write to a key within a second may be refused everywhere, so no test here relies on one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from consumer.ports import MAX_KEY_BYTES, MAX_KV_VALUE_BYTES, MIN_TTL_S, Refused, Unavailable

if TYPE_CHECKING:
    from consumer.ports import KeyValue


class KeyValueContract:
    @pytest.mark.parametrize(
        "value",
        ["", "text", '{"status":"completed"}', "naïve 🧠\r\n\t'\"\\", "a\0b", "null", "1", "x" * 100_000],
        ids=["empty", "text", "json", "characters", "NUL", "null", "number", "100 KB"],
    )
    async def test_text_comes_back_as_it_was(self, kv: KeyValue, value: str) -> None:
        await kv.put("key", value)

        found = await kv.get("key")

        assert found == value
        assert type(found) is str

    async def test_a_missing_key_is_none(self, kv: KeyValue) -> None:
        assert await kv.get("missing") is None

    @pytest.mark.parametrize(
        "key",
        ["a", "status:1", "a/b", "white space", "naïve 🧠", "...", "k" * MAX_KEY_BYTES],
        ids=["letter", "colon", "slash", "space", "emoji", "dots", "longest"],
    )
    async def test_every_valid_key_is_stored(self, kv: KeyValue, key: str) -> None:
        await kv.put(key, "value")

        assert await kv.get(key) == "value"

    async def test_keys_are_exact(self, kv: KeyValue) -> None:
        await kv.put("Key", "value")

        assert [await kv.get(key) for key in ("key", "Key ", "Ke", "K%")] == [None] * 4

    async def test_concurrent_puts_are_all_stored(self, kv: KeyValue) -> None:
        await asyncio.gather(*(kv.put(f"key:{number}", str(number)) for number in range(20)))

        assert [await kv.get(f"key:{number}") for number in range(20)] == [str(n) for n in range(20)]

    async def test_a_second_write_is_stored_or_raised_but_never_lost_silently(self, kv: KeyValue) -> None:
        await kv.put("key", "first")
        try:
            await kv.put("key", "second")
        except Unavailable:
            expected = "first"
        else:
            expected = "second"

        assert await kv.get("key") == expected

    @pytest.mark.parametrize("ttl_s", [MIN_TTL_S, 86_400, 365 * 86_400])
    async def test_a_value_is_there_before_its_time_is_up(self, kv: KeyValue, ttl_s: int) -> None:
        await kv.put("key", "value", ttl_s=ttl_s)

        assert await kv.get("key") == "value"

    @pytest.mark.parametrize("ttl_s", [MIN_TTL_S - 1, 0, -1, 60.5, "60", True])
    async def test_a_time_to_live_is_at_least_a_minute(self, kv: KeyValue, ttl_s: Any) -> None:
        with pytest.raises(Refused):
            await kv.put("key", "value", ttl_s=ttl_s)

        assert await kv.get("key") is None

    @pytest.mark.parametrize(
        "key",
        ["", ".", "..", "k" * (MAX_KEY_BYTES + 1), "é" * (MAX_KEY_BYTES // 2 + 1), "\ud800"],
        ids=["empty", "dot", "dots", "too long", "too many bytes", "no Unicode"],
    )
    async def test_an_invalid_key_is_refused(self, kv: KeyValue, key: str) -> None:
        with pytest.raises(Refused):
            await kv.put(key, "value")
        with pytest.raises(Refused):
            await kv.get(key)

    @pytest.mark.parametrize(
        "value", [None, 1, True, b"bytes", ["a"], {"a": 1}, "\ud800"], ids=lambda value: type(value).__name__
    )
    async def test_a_value_that_is_not_text_is_refused(self, kv: KeyValue, value: Any) -> None:
        with pytest.raises(Refused):
            await kv.put("key", value)

        assert await kv.get("key") is None

    async def test_a_value_too_large_is_refused(self, kv: KeyValue) -> None:
        with pytest.raises(Refused):
            await kv.put("key", "x" * (MAX_KV_VALUE_BYTES + 1))

        assert await kv.get("key") is None
