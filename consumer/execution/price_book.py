"""The price book of genai-prices: dated rates of models, in dollars.  `prices` imports it when it first needs it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices

from consumer.execution.price_corrections import correction

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

    from consumer.core.money import Usage


def total(provider: str, model: str, usage: Usage, tokens: tuple[int, int], at_ms: int) -> Decimal | None:
    """The price of a usage, `tokens` in and out; None for a model without rates.  Raises whatever the book raises."""
    if _priced(provider, model, at_ms) is None:
        return None
    corrected = correction(provider, model, at_ms)
    if corrected is not None and corrected.own:
        return (corrected.input * tokens[0] + corrected.output * tokens[1]) / 1_000_000
    counted = genai_prices.Usage(
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        **usage.further,
    )
    price = genai_prices.calc_price(
        counted, model, provider_id=provider, genai_request_timestamp=_time(at_ms)
    )
    return price.total_price


def highest(provider: str, model: str, at_ms: int) -> tuple[Decimal, Decimal, Decimal] | None:
    """The highest rates of a model, of the book or of its correction, as `listed` gives them."""
    found, corrected = listed(provider, model, at_ms), correction(provider, model, at_ms)
    if found is None or corrected is None:
        return found
    return found[0], max(found[1], corrected.input), max(found[2], corrected.output)


def listed(provider: str, model: str, at_ms: int) -> tuple[Decimal, Decimal, Decimal] | None:
    """The highest rates of a model in the book: for a call, a million input tokens, a million output tokens.

    None for a model without rates, or with a price for citations, whose number we cannot limit."""
    price = _priced(provider, model, at_ms)
    if price is None or price.output_citation_mtok is not None:
        return None
    return (
        _highest(price.requests_kcount) / 1000,
        # The provider decides whether the input is read from a cache or written to one.
        max(
            _highest(price.input_mtok),
            _highest(price.cache_read_mtok),
            _highest(price.cache_write_mtok),
            _highest(price.cache_write_5m_mtok),
            _highest(price.cache_write_1h_mtok),
        ),
        max(_highest(price.output_mtok), _highest(price.output_reasoning_mtok)),
    )


def _priced(provider: str, model: str, at_ms: int) -> ModelPrice | None:
    """The price book's rates; None for a model that it lists without rates, whose cost it would compute as 0.

    Raises LookupError for a model that it does not list."""
    _, found = get_snapshot().find_provider_model(model, None, provider, None)
    price = found.get_prices(_time(at_ms))
    return None if price.input_mtok is None or price.output_mtok is None else price


def _highest(price: Decimal | TieredPrices | None) -> Decimal:
    """The highest tier of a rate: long contexts may cost more."""
    if isinstance(price, TieredPrices):
        return max(price.base, *(tier.price for tier in price.tiers))
    return Decimal(0) if price is None else price


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
