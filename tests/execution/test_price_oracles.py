"""The price of a reply, from its bytes to micro-dollars, is the one that was computed by hand."""

from __future__ import annotations

import json

import pytest

from consumer.core.money import Cost
from consumer.execution.prices import cost_of_call
from consumer.provider import Reply, Verb
from providers import PROVIDERS
from tests.fixtures.prices import PRICED, Priced
from tests.support.adapters import NOW_MS, make_account, make_call


@pytest.mark.parametrize("priced", PRICED, ids=lambda priced: priced.name)
def test_a_price_is_the_one_computed_by_hand(priced: Priced) -> None:
    adapter = PROVIDERS[priced.adapter]
    call = make_call(adapter, priced.settings, account=make_account(adapter, price_book=priced.book))
    outcome = adapter.reply(call, Verb.SUBMIT, Reply(200, priced.headers, json.dumps(priced.body).encode()))

    assert cost_of_call(call.account, outcome, NOW_MS) == Cost(priced.micro, "price_book")
    assert "read 28 November 2026" in priced.source
