"""The costs of calls, and their maximum costs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from consumer.core.model import parse
from consumer.core.money import FREE, UNKNOWN, Cost, Usage
from consumer.core.outcome import Accepted, Failed, Invalid, Rejected, Retry, Succeeded, Unknown
from consumer.core.profile import Account, Profile
from consumer.execution.prices import bound, cost_of_call
from consumer.provider import Quote
from tests.fixtures.openai_compatible import FIXTURES

if TYPE_CHECKING:
    from consumer.core.outcome import Outcome

NOW_MS = 1_795_305_600_000
"""2026-11-22"""
LAST_DAY_MS = 2**53 - 2
USAGE = Usage(1000, 100, model="gpt-5-mini")
TOKENS_ONLY = {"price": {"input_per_million": "2", "output_per_million": "10"}}
REWARD_ONLY = {"price": {"per_task": "0.75"}}
ALL = {"price": {"input_per_million": "2", "output_per_million": "10", "per_task": "0.75"}}
NOTHING: dict[str, Any] = {"price": {}}
BOOK = {"price_book": "openai"}


def account(**profile: Any) -> Account:
    return Account("test", parse(Profile, {"provider": "echo", **profile}))


def answer(usage: Usage | None = None, charged: str | None = None) -> Outcome:
    return Succeeded({}, usage=usage, charged=None if charged is None else Decimal(charged))


# ---------------------------------------------------------------------------------------------- cost of a call


@pytest.mark.parametrize("profile", [ALL, BOOK, NOTHING, {}])
@pytest.mark.parametrize(
    "outcome",
    [
        answer(USAGE, "0.0123"),
        Failed("x", usage=USAGE, charged=Decimal("0.0123")),
        Retry("x", charged=Decimal("0.0123")),
        Unknown("x", charged=Decimal("0.0123")),
    ],
)
def test_the_charge_reported_by_the_provider_is_the_cost(profile: dict[str, Any], outcome: Outcome) -> None:
    assert cost_of_call(account(**profile), outcome, NOW_MS) == Cost(12_300, "provider")


def test_a_charge_is_rounded_up_once() -> None:
    assert cost_of_call(account(), answer(charged="0.00000875"), NOW_MS) == Cost(9, "provider")
    assert cost_of_call(account(), answer(charged="0"), NOW_MS) == Cost(0, "provider")


@pytest.mark.parametrize("profile", [ALL, BOOK, NOTHING, {}])
def test_a_refused_call_is_free(profile: dict[str, Any]) -> None:
    for outcome in (Retry("http_429"), Failed("http_401")):
        assert cost_of_call(account(**profile), outcome, NOW_MS) == FREE


@pytest.mark.parametrize(
    ("profile", "outcome", "cost"),
    [
        (TOKENS_ONLY, answer(USAGE), Cost(3000, "declared")),
        (REWARD_ONLY, answer(), Cost(750_000, "declared")),
        (REWARD_ONLY, answer(USAGE), Cost(750_000, "declared")),
        (ALL, answer(USAGE), Cost(753_000, "declared")),
        (ALL, Invalid("x", usage=USAGE), Cost(753_000, "declared")),
        (ALL, Rejected({}, "x", redo=True, usage=USAGE), Cost(753_000, "declared")),
        (ALL, Failed("output_limit", usage=USAGE), Cost(3000, "declared")),
        (REWARD_ONLY, Failed("output_limit", usage=USAGE), Cost(0, "declared")),
        (ALL, answer(), UNKNOWN),
        (ALL, answer(Usage(model="x")), UNKNOWN),
        (ALL, answer(Usage(input_tokens=5)), UNKNOWN),
        (ALL, Failed("output_limit", usage=Usage(model="x")), UNKNOWN),
        (REWARD_ONLY, Unknown("timeout"), UNKNOWN),
        (TOKENS_ONLY, Unknown("timeout"), UNKNOWN),
        (NOTHING, answer(), Cost(0, "declared")),
        (NOTHING, Unknown("timeout"), Cost(0, "declared")),
        (NOTHING, Accepted("job"), Cost(0, "declared")),
    ],
)
def test_a_declared_price_is_for_tokens_and_for_answers(
    profile: dict[str, Any], outcome: Outcome, cost: Cost
) -> None:
    """An answer that does not fit, or that a reviewer rejects, was still an answer."""
    assert cost_of_call(account(**profile), outcome, NOW_MS) == cost


@pytest.mark.parametrize(
    ("usage", "micro"),
    [
        (Usage(1000, 100, model="gpt-4o"), 3500),
        (Usage(1000, 100, model="gpt-4o-2024-05-13"), 6500),
        (Usage(11, 3, model="gpt-5-mini"), 9),
        (Usage(2000, 100, 1000, model="gpt-4o"), 4750),  # 1,000 of the 2,000 at half the price
    ],
)
def test_the_price_book_knows_models(usage: Usage, micro: int) -> None:
    assert cost_of_call(account(**BOOK), answer(usage), NOW_MS) == Cost(micro, "price_book")


@pytest.mark.parametrize(
    ("context", "micro"),
    [
        ({}, 450),
        ({"service_tier": "flex"}, 225),
        ({"service_tier": "priority"}, 810),
        ({"completion_window": "2h"}, 315),
        ({"completion_window": "8h"}, 270),
        ({"completion_window": "1h"}, None),
        ({"service_tier": "ultrafast"}, None),
        ({"service_tier": "flex", "inference_geo": "us"}, None),
    ],
)
def test_a_price_depends_on_how_the_call_was_processed(context: dict[str, str], micro: int | None) -> None:
    """The book would charge the standard price for a context that it does not know: the cost is unknown then."""
    usage = Usage(1000, 100, model="gpt-5-mini", context=context)

    assert cost_of_call(account(**BOOK), answer(usage), NOW_MS).micro == micro


@pytest.mark.parametrize(
    ("context", "micro"),
    [
        ({}, 450),
        ({"service_tier": "flex"}, 450),  # it may be processed in the standard way
        ({"service_tier": "priority"}, 810),
        ({"completion_window": "8h"}, 450),
        ({"service_tier": "ultrafast"}, None),
    ],
)
def test_the_highest_price_that_may_be_charged_is_reserved(
    context: dict[str, str], micro: int | None
) -> None:
    assert bound(account(**BOOK), Quote(1000, 100, "gpt-5-mini", context), None, NOW_MS) == micro


def test_the_price_is_that_of_the_day_of_the_call() -> None:
    """o3 became cheaper on 2025-06-10: 10 and 40 dollars a million before, 2 and 8 after."""
    usage = Usage(1_000_000, 0, model="o3")

    assert cost_of_call(account(**BOOK), answer(usage), 1_749_000_000_000).micro == 10_000_000
    assert cost_of_call(account(**BOOK), answer(usage), NOW_MS).micro == 2_000_000


def test_the_price_book_agrees_with_an_independent_one() -> None:
    """LiteLLM has its own tables: it reported the cost of this recorded reply."""
    (recorded,) = (r for r in FIXTURES.replies if r.name == "LiteLLM: an answer with its cost")
    theirs = recorded.outcome
    assert theirs.charged is not None
    ours = Succeeded({}, usage=theirs.usage)

    assert (
        cost_of_call(account(**BOOK), ours, NOW_MS).micro
        == cost_of_call(account(), theirs, NOW_MS).micro
        == 9
    )


@pytest.mark.parametrize(
    ("profile", "usage"),
    [
        ({}, USAGE),
        (BOOK, None),
        (BOOK, Usage(model="gpt-5-mini")),
        (BOOK, Usage(10, None, model="gpt-5-mini")),
        (BOOK, Usage(10, 10)),
        (BOOK, Usage(10, 10, model="")),
        (BOOK, Usage(10, 10, model="a-model-of-the-house")),
        (BOOK, Usage(10, 10, cache_read_tokens=11, model="gpt-4o")),
        ({"price_book": "unknown"}, USAGE),
        ({"price_book": "cerebras"}, Usage(10, 10, model="qwen-3-coder-480b")),  # listed, but without a price
        (BOOK, Usage(2**53 - 2, 2**53 - 2, model="o1-pro")),
    ],
)
def test_an_unknown_price_gives_an_unknown_cost_and_not_zero(
    profile: dict[str, Any], usage: Usage | None
) -> None:
    assert cost_of_call(account(**profile), answer(usage), NOW_MS) == UNKNOWN


@pytest.mark.parametrize("at_ms", [-1, 0, LAST_DAY_MS, -(2**62)])
def test_pricing_never_fails_the_work(at_ms: int) -> None:
    """A broken clock, a library that raises, invalid amounts."""
    for profile in (ALL, BOOK, NOTHING, {}):
        for outcome in (
            answer(USAGE),
            answer(charged="NaN"),
            answer(charged="-1"),
            answer(charged="Infinity"),
        ):
            cost = cost_of_call(account(**profile), outcome, at_ms)
            assert cost.micro is None or cost.micro >= 0
        most = bound(account(**profile), Quote(1, 1, "gpt-4o"), None, at_ms)
        assert most is None or most >= 0


def test_a_library_that_breaks_leaves_the_cost_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no prices today")

    monkeypatch.setattr("genai_prices.calc_price", broken)
    assert cost_of_call(account(**BOOK), answer(USAGE), NOW_MS) == UNKNOWN
    monkeypatch.setattr("consumer.execution.price_book.get_snapshot", broken)
    assert bound(account(**BOOK), Quote(1, 1, "gpt-4o"), None, NOW_MS) is None
    assert bound(account(**BOOK), Quote(1, 1, "gpt-4o"), Decimal(1), NOW_MS) == 1_000_000


# ---------------------------------------------------------------------------------------------- maximum cost


@pytest.mark.parametrize(
    ("profile", "quote", "micro"),
    [
        (TOKENS_ONLY, Quote(1000, 100), 3000),
        (REWARD_ONLY, Quote(), 750_000),
        (ALL, Quote(1000, 100), 753_000),
        (NOTHING, Quote(1000, 100), 0),
        (NOTHING, Quote(1000, None), 0),
        (REWARD_ONLY, Quote(0, None), 750_000),
        (TOKENS_ONLY, Quote(1000, None), None),
        (BOOK, Quote(1000, 100, "gpt-4o"), 3500),
        (BOOK, Quote(1000, None, "gpt-4o"), None),
        (BOOK, Quote(1000, 100, "a-model-of-the-house"), None),
        (BOOK, Quote(1000, 100), None),
        ({"price_book": "cerebras"}, Quote(1000, 100, "qwen-3-coder-480b"), None),
        # Written to a one-hour cache ($6), and more than 200,000 tokens (twice that; $22.50 for output).
        ({"price_book": "anthropic"}, Quote(1_000_000, 1_000_000, "claude-sonnet-4-5"), 34_500_000),
        # There is also a price for each request.
        ({"price_book": "perplexity"}, Quote(1_000_000, 1_000_000, "sonar"), 2_012_000),
        # Citations are paid for, and nothing limits them.
        ({"price_book": "perplexity"}, Quote(1000, 100, "sonar-deep-research"), None),
        ({}, Quote(1000, 100, "gpt-4o"), None),
    ],
)
def test_the_bound_takes_the_highest_rates(profile: dict[str, Any], quote: Quote, micro: int | None) -> None:
    assert bound(account(**profile), quote, None, NOW_MS) == micro


def test_a_declared_maximum_counts_where_no_bound_can_be_computed() -> None:
    vouched = Decimal("0.05")

    assert bound(account(), Quote(1000, 100, "x"), vouched, NOW_MS) == 50_000
    assert bound(account(**BOOK), Quote(1000, None, "gpt-4o"), vouched, NOW_MS) == 50_000
    assert bound(account(**BOOK), Quote(1000, 100, "gpt-4o"), vouched, NOW_MS) == 3500


def test_no_model_of_the_book_costs_more_than_its_bound() -> None:
    """For every division of the input into parts that are read from a cache or written to one."""
    sizes = [(900, 300), (150_000, 8_000), (2_000_000, 100_000)]
    priced = 0
    for provider in get_snapshot().providers:
        profile = account(price_book=provider.id)
        for model in provider.models:
            for given, made in sizes:
                most = bound(profile, Quote(given, made, model.id), None, NOW_MS)
                for read, written in ((0, 0), (given, 0), (0, given), (given // 2, given // 3)):
                    usage = Usage(given, made, read, written, model.id)
                    cost = cost_of_call(profile, answer(usage), NOW_MS).micro
                    if most is not None and cost is not None:
                        assert cost <= most, (provider.id, model.id, usage)
                        priced += 1
    assert priced > 10_000


# ------------------------------------------------------------------------------------------ what servers really count


def test_each_count_that_the_book_prices_is_priced() -> None:
    claude = account(price_book="anthropic")

    def micro(**counts: Any) -> int | None:
        return cost_of_call(
            claude, answer(Usage(3000, 40, model="claude-sonnet-4-5", **counts)), NOW_MS
        ).micro

    plain = micro()
    assert plain == 3000 * 3 + 40 * 15
    assert micro(cache_write_tokens=1500) == plain + 1500 * 0.75
    lives = {"cache_write_5m_tokens": 1000, "cache_write_1h_tokens": 500}
    assert micro(cache_write_tokens=1500, further=lives) == plain + 1000 * 0.75 + 500 * 3
    assert micro(further={"web_searches": 2}) == plain + 20_000
    assert micro(further={"output_reasoning_tokens": 25}) == plain


@pytest.mark.parametrize("profile", [BOOK, TOKENS_ONLY, ALL])
def test_a_count_that_cannot_be_true_leaves_the_cost_unknown(profile: dict[str, Any]) -> None:
    assert (
        cost_of_call(account(**profile), answer(Usage(None, None, model="gpt-5-mini", raw={"a": 0})), NOW_MS)
        == UNKNOWN
    )
