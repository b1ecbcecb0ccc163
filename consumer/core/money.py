"""Money and usage, defined once.

Amounts are exact decimals of US dollars in code and integers of micro-dollars in rows, rounded up once per
execution.  An unknown amount is None and never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MICRO: Final = 1_000_000
_SMALLEST: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call consumed.  Children are parts of their parent: cached input is inside `input_tokens`,
    reasoning inside `output_tokens`.  `raw` is what the provider said, to the letter."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    model: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an execution cost: `micro` is None while nobody knows.  `source` says how we know."""

    micro: int | None
    source: str | None


FREE: Final = Cost(0, "none")
"""Certain: nothing was charged (the provider refused the call, or it was never sent)."""
UNKNOWN: Final = Cost(None, None)


def to_micro(amount: Decimal) -> int:
    """Micro-units of an amount, rounded up.  Raises ValueError on NaN, infinity, negative and absurd amounts."""
    try:
        # A product would be rounded to the digits of decimal's context before it is rounded up.
        rounded = amount.quantize(_SMALLEST, rounding=ROUND_CEILING)
    except InvalidOperation:
        rounded = Decimal("NaN")
    if not rounded.is_finite() or amount < 0:
        msg = f"not an amount of money: {amount}"
        raise ValueError(msg)
    return int(rounded * MICRO)


def from_micro(micro: int) -> Decimal:
    """The exact amount of a number of micro-units."""
    return Decimal(micro) / MICRO


def show(micro: int | None) -> str:
    """An amount for people: `$0.001234`, or `unknown`."""
    return "unknown" if micro is None else f"${from_micro(micro):.6f}"
