"""The cost of a call, and the most that it can cost.

The charge that the provider reports counts first, then the price declared in the profile, then the price book.  A cost
that none of them knows is unknown, which is not zero.  An error while pricing never fails the call.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices

from consumer.core.money import FREE, UNKNOWN, Cost, Usage, to_micro
from consumer.core.outcome import Failed, Invalid, Rejected, Retry, Succeeded

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account, Price
    from consumer.provider import Quote

MILLION: Final = 1_000_000
_MAX_MICRO: Final = 2**53 - 2
"""The most micro-dollars that a row can hold."""


def rate(account: Account, outcome: Outcome, at_ms: int) -> Cost:
    """The cost of a call that began at `at_ms`; UNKNOWN when it consumed something at an unknown price."""
    try:
        cost = _cost(account, outcome, at_ms)
    except Exception:  # noqa: BLE001  # the price book may raise anything, and no answer may be lost to it
        return UNKNOWN
    return UNKNOWN if cost.micro is not None and cost.micro > _MAX_MICRO else cost


def bound(account: Account, quote: Quote, max_cost: Decimal | None, at_ms: int) -> int | None:
    """The most that a call can cost which begins at `at_ms`, in micro-dollars; None if that is unknown.

    `max_cost`: the bound in dollars that the template's author states, used when none can be computed."""
    try:
        rates = _highest_rates(account, quote, at_ms)
    except Exception:  # noqa: BLE001  # as above
        rates = None
    if rates is None or (quote.output_tokens is None and rates.output):
        return None if max_cost is None else to_micro(max_cost)
    return to_micro(rates.amount(quote.input_tokens, quote.output_tokens or 0))


def by_bound(account: Account | None, reserved_micro: int) -> Cost:
    """The cost that is charged when the true one will never be known: the reservation; unknown if there was none."""
    declared = account.profile.price if account is not None else None
    known = reserved_micro > 0 or (declared is not None and _is_free(declared))
    return Cost(reserved_micro, "bound") if known else UNKNOWN


class _Rates(NamedTuple):
    """Dollars for a call, for a million input tokens and for a million output tokens."""

    call: Decimal
    input: Decimal
    output: Decimal

    def amount(self, input_tokens: int, output_tokens: int) -> Decimal:
        return self.call + (self.input * input_tokens + self.output * output_tokens) / MILLION


def _cost(account: Account, outcome: Outcome, at_ms: int) -> Cost:
    profile, usage = account.profile, outcome.usage
    if outcome.charged is not None:
        return Cost(to_micro(outcome.charged), "provider")
    if isinstance(outcome, Failed | Retry) and usage is None:
        return FREE
    if profile.price is not None:
        return _declared(profile.price, outcome)
    if profile.price_book is not None and usage is not None:
        return _by_the_book(profile.price_book, usage, at_ms)
    return UNKNOWN


def _declared(price: Price, outcome: Outcome) -> Cost:
    answered = isinstance(outcome, Succeeded | Invalid | Rejected)
    tokens = _tokens(outcome.usage)
    rates = _Rates(
        price.per_task if answered else Decimal(0), price.input_per_million, price.output_per_million
    )
    if _is_free(price):
        return Cost(0, "declared")
    if tokens is not None:
        return Cost(to_micro(rates.amount(*tokens)), "declared")
    if answered and not (price.input_per_million or price.output_per_million):
        return Cost(to_micro(price.per_task), "declared")
    return UNKNOWN


def _is_free(price: Price) -> bool:
    return not (price.input_per_million or price.output_per_million or price.per_task)


def _by_the_book(provider: str, usage: Usage, at_ms: int) -> Cost:
    tokens = _tokens(usage)
    if tokens is None or not usage.model or _priced(provider, usage.model, at_ms) is None:
        return UNKNOWN
    counted = genai_prices.Usage(
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    price = genai_prices.calc_price(
        counted, usage.model, provider_id=provider, genai_request_timestamp=_time(at_ms)
    )
    return Cost(to_micro(price.total_price), "price_book")


def _tokens(usage: Usage | None) -> tuple[int, int] | None:
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens, usage.output_tokens


def _highest_rates(account: Account, quote: Quote, at_ms: int) -> _Rates | None:
    """The highest rates at which this call can be charged."""
    declared, book = account.profile.price, account.profile.price_book
    if declared is not None:
        return _Rates(declared.per_task, declared.input_per_million, declared.output_per_million)
    if book is None or quote.model is None:
        return None
    price = _priced(book, quote.model, at_ms)
    if price is None or price.output_citation_mtok is not None:  # citations: we cannot limit them
        return None
    return _Rates(
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
