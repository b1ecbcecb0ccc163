"""The contracts of the ports on the local host, and its clock."""

from __future__ import annotations

import re

from consumer.local.clock import SystemClock, SystemEntropy
from tests.contracts.blobs import BlobsContract
from tests.contracts.database import DatabaseContract
from tests.contracts.kv import KeyValueContract
from tests.contracts.queue import DeliveryContract, QueueContract


class TestDatabase(DatabaseContract):
    """The contract."""


class TestKeyValue(KeyValueContract):
    """The contract."""


class TestBlobs(BlobsContract):
    """The contract."""


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
