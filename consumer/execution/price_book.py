"""The price book of genai-prices: dated rates of models, in dollars.  `prices` imports it when it first needs it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices

from consumer.execution.price_corrections import correction, discounted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genai_prices.types import ModelInfo, ModelPrice

    from consumer.core.money import Usage

NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})


def total(provider: str, model: str, usage: Usage, tokens: tuple[int, int], at_ms: int) -> Decimal | None:
    """The price of a usage, `tokens` in and out; None for a model without rates.  Raises whatever the book raises."""
    rate, context = discounted(provider, usage.context)
    if _priced(provider, model, at_ms, context) is None:
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
        counted,
        model,
        provider_id=provider,
        genai_request_timestamp=_time(at_ms),
        price_context=context or None,
    )
    return price.total_price * rate


def highest(
    provider: str, model: str, at_ms: int, context: Mapping[str, str]
) -> tuple[Decimal, Decimal, Decimal] | None:
    """The highest rates of a model, of the book or of its correction, as `listed` gives them.

    A provider may process a call in the standard way although another one was requested, and may charge either."""
    _, context = discounted(provider, context)
    found, corrected = listed(provider, model, at_ms), correction(provider, model, at_ms)
    special = listed(provider, model, at_ms, context) if context else found
    if found is None or special is None:
        return None
    call, given, made = (max(pair) for pair in zip(found, special, strict=True))
    if corrected is None:
        return call, given, made
    return call, max(given, corrected.input), max(made, corrected.output)


def listed(
    provider: str, model: str, at_ms: int, context: Mapping[str, str] = NO_CONTEXT
) -> tuple[Decimal, Decimal, Decimal] | None:
    """The highest rates of a model in the book: for a call, a million input tokens, a million output tokens.

    None for a model without rates, or with a price for citations, whose number we cannot limit."""
    price = _priced(provider, model, at_ms, context)
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


def _priced(provider: str, model: str, at_ms: int, context: Mapping[str, str]) -> ModelPrice | None:
    """The price book's rates; None for a model that it lists without rates, whose cost it would compute as 0.

    None also for a context that it does not have for this model, where it would compute the standard price.  Raises
    LookupError for a model that it does not list."""
    _, found = get_snapshot().find_provider_model(model, None, provider, None)
    at = _time(at_ms)
    if not _has(found, context, at):
        return None
    price = found.get_prices(at, dict(context) or None)
    return None if price.input_mtok is None or price.output_mtok is None else price


def _has(found: ModelInfo, context: Mapping[str, str], at: datetime) -> bool:
    """Whether the book has a price of this model for each entry of the context, at this time."""
    active = [
        variant.when
        for variant in found.price_variants or ()
        if variant.constraint is None or variant.constraint.active(at)
    ]
    return all(any(when.get(key) == value for when in active) for key, value in context.items())


def _highest(price: Decimal | TieredPrices | None) -> Decimal:
    """The highest tier of a rate: long contexts may cost more."""
    if isinstance(price, TieredPrices):
        return max(price.base, *(tier.price for tier in price.tiers))
    return Decimal(0) if price is None else price


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
