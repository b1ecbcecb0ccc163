"""The status store in a file: expiry, the write rate of KV, shared commits."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest

from consumer.local.kv import SqliteKeyValue
from consumer.ports import MIN_TTL_S, Refused, Unavailable

if TYPE_CHECKING:
    from pathlib import Path
from tests.local.conftest import SetClock


class TestKeyValueFile:
    async def test_a_value_is_gone_when_its_time_is_up(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        await kv.put("short", "value", ttl_s=MIN_TTL_S)
        await kv.put("for good", "value")

        clock.ms += MIN_TTL_S * 1_000 - 1
        assert await kv.get("short") == "value"
        clock.ms += 1
        assert await kv.get("short") is None
        assert await kv.get("for good") == "value"

    async def test_a_new_value_has_its_own_time(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        await kv.put("key", "first", ttl_s=MIN_TTL_S)
        clock.ms += 2_000
        await kv.put("key", "second")
        clock.ms += MIN_TTL_S * 1_000

        assert await kv.get("key") == "second"

    async def test_expired_rows_are_deleted(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        await asyncio.gather(*(kv.put(f"key:{number}", "value", ttl_s=MIN_TTL_S) for number in range(1_200)))
        clock.ms += MIN_TTL_S * 1_000
        counts = []
        for number in range(3):
            await kv.put(f"other:{number}", "value")
            counts.append(kv._connection.execute("SELECT count(*) FROM entries").fetchone()[0])

        assert counts == [701, 202, 3]

    async def test_a_second_write_within_a_second_is_unavailable(
        self, kv: SqliteKeyValue, clock: SetClock
    ) -> None:
        await kv.put("key", "first")
        clock.ms += 999

        with pytest.raises(Unavailable, match="429"):
            await kv.put("key", "second")
        assert await kv.get("key") == "first"
        await kv.put("other", "value")
        clock.ms += 1
        await kv.put("key", "third")
        assert await kv.get("key") == "third"
        clock.ms += 999
        with pytest.raises(Unavailable):
            await kv.put("key", "fourth")

    async def test_keys_written_long_ago_are_forgotten(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        for number in range(10):
            clock.ms += 600
            await kv.put(f"key:{number}", "value")

        assert len(kv._recent) + len(kv._earlier) <= 4

    async def test_a_clock_set_back_does_not_lock_a_key(self, kv: SqliteKeyValue, clock: SetClock) -> None:
        await kv.put("key", "first")
        clock.ms -= 3_600_000
        await kv.put("key", "second")

        assert await kv.get("key") == "second"

    async def test_the_rate_can_be_left_unlimited(self, tmp_path: Path, clock: SetClock) -> None:
        kv = SqliteKeyValue(tmp_path / "a.sqlite3", clock, strict_rate=False)
        await kv.put("key", "first")
        await kv.put("key", "second")

        assert await kv.get("key") == "second"
        kv.close()

    async def test_puts_of_one_turn_share_a_commit(self, kv: SqliteKeyValue) -> None:
        statements: list[str] = []
        kv._connection.set_trace_callback(statements.append)

        await asyncio.gather(*(kv.put(f"key:{number}", "value") for number in range(50)))

        assert statements.count("COMMIT") == 1

    async def test_a_put_that_returned_is_seen_by_other_processes(
        self, kv: SqliteKeyValue, tmp_path: Path, clock: SetClock
    ) -> None:
        reader = SqliteKeyValue(tmp_path / "kv.sqlite3", clock)

        await kv.put("key", "value", ttl_s=MIN_TTL_S)

        assert await reader.get("key") == "value"
        clock.ms += MIN_TTL_S * 1_000
        assert await reader.get("key") is None
        with pytest.raises(Refused):
            await reader.get("")
        reader.close()
        with pytest.raises(Unavailable):
            await reader.get("key")

    async def test_a_locked_file_fails_the_puts_that_waited_and_no_others(
        self, kv: SqliteKeyValue, tmp_path: Path, clock: SetClock
    ) -> None:
        kv._connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(tmp_path / "kv.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        outcomes = await asyncio.gather(kv.put("a", "1"), kv.put("b", "2"), return_exceptions=True)
        other.execute("ROLLBACK")
        other.close()
        clock.ms += 1_000
        await kv.put("a", "3")

        assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
        assert [await kv.get("a"), await kv.get("b")] == ["3", None]

    async def test_a_full_disk_fails_the_puts_and_stores_none_of_them(self, kv: SqliteKeyValue) -> None:
        kv._connection.execute("PRAGMA max_page_count = 6")

        outcomes = await asyncio.gather(
            kv.put("small", "1"), kv.put("large", "x" * 100_000), return_exceptions=True
        )

        assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
        assert await kv.get("small") is None
        await kv.put("other", "2")
        assert await kv.get("other") == "2"

    async def test_a_cancelled_put_does_not_touch_the_others(self, kv: SqliteKeyValue) -> None:
        cancelled = asyncio.create_task(kv.put("a", "1"))
        other = asyncio.create_task(kv.put("b", "2"))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled, other})

        assert cancelled.cancelled()
        assert await kv.get("b") == "2"

    async def test_closing_writes_the_waiting_puts(self, tmp_path: Path, clock: SetClock) -> None:
        kv = SqliteKeyValue(tmp_path / "a.sqlite3", clock)
        put = asyncio.create_task(kv.put("key", "value"))
        await asyncio.sleep(0)
        kv.close()
        await put

        reader = SqliteKeyValue(tmp_path / "a.sqlite3", clock)
        assert await reader.get("key") == "value"
        reader.close()
        with pytest.raises(Unavailable):
            await kv.get("key")
        with pytest.raises(Unavailable):
            await kv.put("other", "value")
