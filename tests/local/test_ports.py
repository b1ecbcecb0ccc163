"""The contracts of the ports on the local host, and its clock."""

from __future__ import annotations

import re

from consumer.local.clock import SystemClock, SystemEntropy
from consumer.local.limiter import MemoryLimiter
from tests.contracts.blobs import BlobsContract
from tests.contracts.database import DatabaseContract
from tests.contracts.kv import KeyValueContract
from tests.contracts.limiter import LimiterContract
from tests.contracts.queue import DeliveryContract, QueueContract
from tests.support.ports import FakeClock


class TestDatabase(DatabaseContract):
    """The contract."""


class TestKeyValue(KeyValueContract):
    """The contract."""


class TestBlobs(BlobsContract):
    """The contract."""


class TestLimiter(LimiterContract):
    """The contract."""

    async def test_a_new_period_begins_anew(self) -> None:
        clock = FakeClock()
        limiter = MemoryLimiter(clock, requests=1)
        answers = [await limiter.allow("someone") for _ in range(2)]
        clock.advance(60_000)

        assert [*answers, await limiter.allow("someone")] == [True, False, True]


class TestQueue(QueueContract):
    """The contract."""


class TestDelivery(DeliveryContract):
    """The contract."""


class TestClock:
    def test_the_time_is_in_milliseconds(self) -> None:
        assert 1_700_000_000_000 < SystemClock().now_ms() < 10_000_000_000_000

    def test_draws_are_in_range_and_differ(self) -> None:
        draws = {SystemEntropy().draw() for _ in range(100)}

        assert all(0 <= draw < 1 for draw in draws)
        assert len(draws) == 100

    def test_tokens_are_hexadecimal_and_differ(self) -> None:
        tokens = {SystemEntropy().token() for _ in range(100)}

        assert all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)
        assert len(tokens) == 100
