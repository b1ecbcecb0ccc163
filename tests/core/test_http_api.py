"""What adapters of HTTP APIs share: forms that a server refused, names as evidence, fields of a profile."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.errors import BadInput
from consumer.core.http_api import RefusedForms, check_extra, evidence, headers_of, object_in
from consumer.core.profile import Account
from consumer.core.turns import turns
from consumer.provider import Reply
from providers import PROVIDERS
from tests.support.adapters import make_account, make_call

CHAT = PROVIDERS["openai_compatible"]


def test_a_refused_form_is_that_of_a_profile_a_model_and_a_schema() -> None:
    forms, call = RefusedForms(), make_call(CHAT)
    other = make_call(CHAT, output_schema={"type": "object"})
    elsewhere = make_call(CHAT, account=Account("other", call.account.profile))
    forms.add(call, "small")

    assert forms.has(call, "small")
    assert not forms.has(call, "large")
    assert not forms.has(other, "small")
    assert not forms.has(elsewhere, "small")


def test_forms_take_no_more_memory_than_a_thousand() -> None:
    forms, call = RefusedForms(), make_call(CHAT)
    for number in range(1_001):
        forms.add(call, f"model-{number}")

    assert forms.has(call, "model-1000")
    assert not forms.has(call, "model-0")


@pytest.mark.parametrize("name", ["", None, 7, "x" * 101, ["a"]])
def test_only_a_short_text_is_a_name(name: Any) -> None:
    assert evidence(id="msg_1", request_id=name) == {"id": "msg_1"}


def test_a_profile_cannot_set_a_field_of_the_adapter() -> None:
    check_extra({"top_p": 1}, frozenset({"model"}))
    with pytest.raises(BadInput, match=r"^options\.extra_body\.model: "):
        check_extra({"top_p": 1, "model": "m"}, frozenset({"model"}))


def test_headers_of_a_profile_count_more_than_those_of_the_adapter() -> None:
    account = make_account(CHAT, headers={"Accept": "text/plain", "X-Api-Key": "theirs"})

    headers = headers_of(account, {"x-api-key": "ours", "x-version": "1"})

    assert (headers["accept"], headers["x-api-key"], headers["x-version"]) == ("text/plain", "theirs", "1")


@pytest.mark.parametrize("body", [b"", b"7", b"[]", b"[7]", b"{", b"NaN"])
def test_a_body_without_an_object_has_none(body: bytes) -> None:
    assert object_in(Reply(200, {}, body)) == {}


def test_a_model_reads_the_feedback_behind_its_own_answer() -> None:
    asked: dict[str, Any] = {"prompt": "Which city?", "feedback": "not a city"}

    answered = turns(make_call(CHAT, draft="Seine", **asked), schema=False)
    assert [turn.role for turn in answered] == ["user", "assistant", "user"]
    (only,) = turns(make_call(CHAT, **asked), schema=True)
    assert only.text.startswith("Which city?\n\nAnswer with one JSON object that fits this JSON Schema:\n")
    assert only.text.endswith(
        "An earlier answer was not accepted: not a city\nGive the whole answer again, corrected."
    )
