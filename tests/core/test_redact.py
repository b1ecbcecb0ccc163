"""Secrets in every form in which a server may repeat them."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.redact import MASK, redacted, redacted_value

secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60)


@given(secret=secrets, before=st.text(max_size=7), after=st.text(max_size=7))
def test_no_form_of_a_secret_stays(secret: str, before: str, after: str) -> None:
    basic = base64.b64encode(f"{before}{secret}{after}".encode("utf-8", "replace")).decode()
    for form in (secret, quote(secret), quote_plus(secret), json.dumps(secret)[1:-1], html.escape(secret)):
        assert form not in redacted(f"{before}{form}{after}", [secret])
    shown = redacted(basic, [secret])
    # At both ends of the secret a character also belongs to the text beside it.
    assert MASK in shown
    assert len(shown) <= len(basic) - len(secret) * 4 // 3 + len(MASK) + 4


def test_the_forms_of_each_secret_are_taken_out_of_values_too() -> None:
    given = {"sk-12345678": ["x", {"y": "Bearer sk-12345678"}, 5, None]}
    assert redacted_value(given, ("sk-12345678",)) == {MASK: ["x", {"y": f"Bearer {MASK}"}, 5, None]}


@pytest.mark.parametrize("short", ["", "a", "key"])
def test_a_text_too_short_to_be_a_secret_is_not_looked_for(short: str) -> None:
    assert redacted("a key for a door", [short]) == "a key for a door"
