"""What every `Limiter` must do.  Fixture: `limiter`, which allows 3 requests a minute and has counted none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumer.ports import Limiter

LIMIT = 3


class LimiterContract:
    async def test_requests_up_to_the_limit_are_allowed_and_the_next_are_not(self, limiter: Limiter) -> None:
        # A period may end between two requests, so more than the limit may be allowed once.
        answers = [await limiter.allow("someone") for _ in range(3 * LIMIT)]

        assert answers[:LIMIT] == [True] * LIMIT
        assert answers[-1] is False

    async def test_one_caller_does_not_use_up_what_another_may(self, limiter: Limiter) -> None:
        for _ in range(2 * LIMIT):
            await limiter.allow("a flood")

        assert await limiter.allow("another")
