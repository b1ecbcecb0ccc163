"""The adapter `inbox`."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.outcome import Accepted, Failed
from consumer.provider import Pause, Verb
from providers.inbox import Inbox
from tests.support.adapters import make_call

INBOX = Inbox()


def test_the_inbox_waits_for_a_person() -> None:
    call = make_call(INBOX, {"assign": 7, "note": "Look twice."})

    assert INBOX.request(call, Verb.SUBMIT) == Pause(Accepted())
    assert INBOX.request(call, Verb.CANCEL) == Pause(Failed("cancelled"))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"assign": 0}, "assign"),
        ({"assign": "anyone"}, "assign"),
        ({"email": "a@example.com"}, "email"),
    ],
)
def test_the_inbox_asks_one_person(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput, match=field):
        parse(INBOX.settings, settings)
