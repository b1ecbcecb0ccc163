"""Money and usage.

In code, an amount is an exact decimal of US dollars.  In a row it is an integer of micro-dollars (millionths), rounded
up once for each execution.  An unknown amount is None and never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MICRO: Final = 1_000_000
"""Micro-dollars in a dollar."""
_SMALLEST: Final = Decimal("0.000001")
_FLOAT: Final = Context(prec=12, rounding=ROUND_HALF_EVEN)
"""The digits of an amount that a server computed with floats: a float holds 15 to 17, and sums spoil the last."""
_MAX_REPORTED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a call consumed; None: the provider did not report them.

    `input_tokens` includes the tokens that were read from a cache or written to it, and `output_tokens` includes
    reasoning.  `model`: the model that answered.  `raw`: the provider's own report, and its names for the exchange, by
    which its support finds the call.  `further`: more counts, under the names that the price book has for them
    (`core/usage.py`).  `context`: how the call was processed, where that changes its price, such as
    `{"service_tier": "flex"}`.  Empty: in the standard way."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    model: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, int] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)


class Cost(NamedTuple):
    """The cost of an execution in micro-dollars: None while it is unknown.

    `source` is the value of the column `cost_source`: `provider` (it reported the charge), `declared` (by the price of
    the profile), `price_book`, `bound` (the reservation was charged) or `none` (nothing was charged)."""

    micro: int | None
    source: str | None


FREE: Final = Cost(0, "none")
"""Certainly nothing was charged: the provider refused the call, or it was never sent."""
UNKNOWN: Final = Cost(None, None)


def to_micro(amount: Decimal) -> int:
    """Micro-dollars of an amount in dollars, rounded up.

    Raises ValueError on NaN, infinity, a negative amount, and one that is too large to be exact."""
    try:
        # A product would first be rounded to the digits of the decimal context, perhaps down.
        rounded = amount.quantize(_SMALLEST, rounding=ROUND_CEILING)
    except InvalidOperation:
        rounded = Decimal("NaN")
    if not rounded.is_finite() or amount < 0:
        msg = f"not an amount of money: {amount}"
        raise ValueError(msg)
    return int(rounded * MICRO)


def reported_amount(value: object) -> Decimal | None:
    """An amount in dollars that a server reports as a number or as text; None if it is not one.

    Servers compute with floats, so that 0.028575 arrives as 0.028575000000000003.  Rounding up would make a further
    micro-dollar of that, so the noise is removed first."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    return _FLOAT.plus(amount) if amount.is_finite() and 0 <= amount <= _MAX_REPORTED else None


def from_micro(micro: int) -> Decimal:
    """The exact amount in dollars of a number of micro-dollars."""
    return Decimal(micro) / MICRO


def show(micro: int | None) -> str:
    """An amount for people: `$0.001234`, or `unknown`."""
    return "unknown" if micro is None else f"${from_micro(micro):.6f}"
