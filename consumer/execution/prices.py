"""The cost of a call, and the most that it can cost.

The charge that the provider reports counts first, then the price declared in the profile, then the price book.  A cost
that none of them knows is unknown, which is not zero.  An error while pricing never fails the call.

The price book is imported when a profile first needs it: it takes more time and memory than all of our own modules, and
a deployment with declared prices never uses it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.core.money import FREE, UNKNOWN, Cost, Usage, to_micro
from consumer.core.outcome import Failed, Invalid, Rejected, Retry, Succeeded

if TYPE_CHECKING:
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account, Price
    from consumer.provider import Quote

MILLION: Final = 1_000_000
_MAX_MICRO: Final = 2**53 - 2
"""The most micro-dollars that a row can hold."""


def cost_of_call(account: Account, outcome: Outcome, at_ms: int) -> Cost:
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
    if tokens is None or not usage.model:
        return UNKNOWN
    from consumer.execution import price_book  # noqa: PLC0415  # see the top of this file

    total = price_book.total(provider, usage.model, usage, tokens, at_ms)
    return UNKNOWN if total is None else Cost(to_micro(total), "price_book")


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
    from consumer.execution import price_book  # noqa: PLC0415  # see the top of this file

    highest = price_book.highest(book, quote.model, at_ms, quote.context)
    return None if highest is None else _Rates(*highest)
