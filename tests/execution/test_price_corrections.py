"""Where the price book is lower than another source."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumer.core.money import Usage
from consumer.core.outcome import Succeeded
from consumer.execution import price_book
from consumer.execution.price_corrections import CORRECTIONS, Correction, correction
from consumer.execution.prices import bound, cost_of_call
from consumer.provider import Quote
from tests.execution.test_prices import NOW_MS, account

MODELS = [(found, model) for found in CORRECTIONS for model in found.models]


@pytest.mark.parametrize(("found", "model"), MODELS, ids=[model for _, model in MODELS])
def test_a_reservation_is_made_at_the_higher_rate(found: Correction, model: str) -> None:
    profile = account(price_book=found.provider)

    assert bound(profile, Quote(1_000_000, 0, model), None, NOW_MS) == int(found.input * 1_000_000)
    assert (bound(profile, Quote(0, 1_000_000, model), None, NOW_MS) or 0) >= int(found.output * 1_000_000)


@pytest.mark.parametrize(("found", "model"), MODELS, ids=[model for _, model in MODELS])
def test_a_cost_is_corrected_where_the_provider_itself_says_so(found: Correction, model: str) -> None:
    usage = Usage(1_000, 1_000, model=model)
    cost = cost_of_call(account(price_book=found.provider), Succeeded({}, usage=usage), NOW_MS)

    assert cost.source == "price_book"
    corrected = int((found.input + found.output) * 1_000)
    assert (cost.micro == corrected) == found.own
    assert (cost.micro or 0) <= corrected


@pytest.mark.parametrize(("found", "model"), MODELS, ids=[model for _, model in MODELS])
def test_a_correction_that_the_book_has_caught_up_with_is_removed(found: Correction, model: str) -> None:
    call, given, made = price_book.listed(found.provider, model, NOW_MS) or (0, 0, 0)
    assert call == 0
    assert given < found.input or made < found.output


def test_a_correction_has_a_day_and_a_source() -> None:
    for found in CORRECTIONS:
        day = int(
            datetime(found.since.year, found.since.month, found.since.day, tzinfo=UTC).timestamp() * 1000
        )
        assert correction(found.provider, found.models[0], day) is found
        assert correction(found.provider, found.models[0], day - 1) is None
        assert "2026" in found.source
    assert correction("mistral", "another", NOW_MS) is None
