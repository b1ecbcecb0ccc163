"""The price of a reply, from its bytes to micro-dollars, is the one that was computed by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import genai_prices
import pytest

from consumer.core.money import Cost, to_micro
from consumer.execution.prices import cost_of_call
from consumer.provider import Reply, Verb
from providers import PROVIDERS
from tests.fixtures import Recorded, anthropic, gemini, openai_responses
from tests.fixtures.prices import PRICED, Priced
from tests.support.adapters import NOW_MS, make_account, make_call


@pytest.mark.parametrize("priced", PRICED, ids=lambda priced: priced.name)
def test_a_price_is_the_one_computed_by_hand(priced: Priced) -> None:
    adapter = PROVIDERS[priced.adapter]
    call = make_call(adapter, priced.settings, account=make_account(adapter, price_book=priced.book))
    outcome = adapter.reply(call, Verb.SUBMIT, Reply(200, priced.headers, json.dumps(priced.body).encode()))

    assert cost_of_call(call.account, outcome, NOW_MS) == Cost(priced.micro, "price_book")
    assert "read 28 November 2026" in priced.source


FLAVORS = {
    "anthropic": ("anthropic", "default", anthropic.ANSWERS),
    "gemini": ("google", "default", gemini.ANSWERS),
    "openai_responses": ("openai", "responses", openai_responses.ANSWERS),
}
"""For each adapter: the book, the name of the API's form in it, and recorded replies."""
READ = [
    pytest.param(adapter, recorded, id=f"{adapter}: {recorded.name}")
    for adapter, (_, _, replies) in FLAVORS.items()
    for recorded in replies
    if recorded.outcome.usage is not None
    and recorded.outcome.usage.input_tokens is not None
    and recorded.outcome.usage.output_tokens is not None
    and not recorded.outcome.usage.context
]


@pytest.mark.parametrize(("adapter", "recorded"), READ)
def test_the_book_reads_the_same_usage_out_of_a_reply(adapter: str, recorded: Recorded) -> None:
    """The package of our price book reads replies too, with code of its own."""
    book, flavor, _ = FLAVORS[adapter]
    read = genai_prices.extract_usage(recorded.body, provider_id=book, api_flavor=flavor)
    account = make_account(PROVIDERS[adapter], price_book=book)

    ours = recorded.outcome.usage
    assert ours is not None
    assert (read.usage.input_tokens, read.usage.output_tokens) == (ours.input_tokens, ours.output_tokens)
    assert (read.usage.cache_read_tokens or 0) == ours.cache_read_tokens
    assert (read.usage.cache_write_tokens or 0) == ours.cache_write_tokens
    theirs = read.calc_price(genai_request_timestamp=datetime.fromtimestamp(NOW_MS / 1000, UTC)).total_price
    assert cost_of_call(account, recorded.outcome, NOW_MS).micro == to_micro(theirs)
