"""Models whose rates in the price book are lower than another published source says, and discounts that it lacks.

Each has its date and its source.
A reservation is made at the higher of the two rates, so that it stays an upper bound whichever is right.  A correction
whose source is the provider itself also replaces the book's price of a call.  Remove a line when a newer release of
the book has the rate: `tests/execution/test_price_corrections.py` says which lines have become needless.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Correction(NamedTuple):
    """Rates in dollars for a million tokens.

    `since`: the day from which they are charged.  `own`: the provider itself published them.  `source`: where they were
    read, and on which day."""

    provider: str
    models: tuple[str, ...]
    input: Decimal
    output: Decimal
    since: date
    own: bool
    source: str


CORRECTIONS: Final = (
    Correction(
        "mistral", ("mistral-medium",), Decimal("1.5"), Decimal("7.5"), date(2026, 5, 22), own=True,
        source="Mistral's price page, model card and changelog, as issues 505 and 802 of braintrust-proxy quote them:"
        " Medium 3 and 3.1 ended that day, and the name without a version means 3.5; read 28 November 2026",
    ),
    Correction(
        "deepseek", ("deepseek-v3.2",), Decimal("0.28"), Decimal("0.42"), date(2025, 9, 29), own=True,
        source="DeepSeek's price page of December 2025, as Roo Code's table of models quotes it; read 28 November 2026",
    ),
    Correction(
        "openrouter", ("deepseek/deepseek-v3.2",), Decimal("0.269"), Decimal("0.4"), date(2026, 9, 26), own=False,
        source="prices of OpenRouter's list of models as others noted them; read 28 November 2026",
    ),
    Correction(
        "mistral", ("open-mistral-nemo", "mistral-nemo"), Decimal("0.3"), Decimal("0.3"), date(2024, 7, 18), own=False,
        source="LiteLLM's book of prices, in a copy of 2024; newer books say 0.15; read 28 November 2026",
    ),
    Correction(
        "x-ai", ("grok-code-fast-1",), Decimal(2), Decimal(4), date(2026, 5, 1), own=False,
        source="LiteLLM's book prices the name as grok-build-0.1, which costs this from 200,000 tokens of input on and"
        " half of it below (xAI's page of models, 25 September 2026); read 28 November 2026",
    ),
)  # fmt: skip


class Discount(NamedTuple):
    """A part of the standard price that a provider charges, where the book does not have it.

    `key`, `value`: the entry of `Usage.context`.  `rate`: the part that is charged.  `source`: as above."""

    provider: str
    key: str
    value: str
    rate: Decimal
    source: str


_WINDOWS: Final = (
    "OpenAI's guide of flex processing: 30 % and 40 % below standard prices; read 28 November 2026"
)
DISCOUNTS: Final = (
    Discount("openai", "completion_window", "2h", Decimal("0.7"), source=_WINDOWS),
    Discount("openai", "completion_window", "8h", Decimal("0.6"), source=_WINDOWS),
)


def discounted(provider: str, context: Mapping[str, str]) -> tuple[Decimal, dict[str, str]]:
    """The part of the standard price that a call costs, and the entries of its context that no discount is for."""
    rate, rest = Decimal(1), dict(context)
    for each in DISCOUNTS:
        if each.provider == provider and rest.get(each.key) == each.value:
            rate *= each.rate
            del rest[each.key]
    return rate, rest


def correction(provider: str, model: str, at_ms: int) -> Correction | None:
    """The correction that applies to a model at this time."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    found = (c for c in CORRECTIONS if c.provider == provider and model in c.models and c.since <= day)
    return next(found, None)
