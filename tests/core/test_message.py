"""Doorbells."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.errors import BadInput
from consumer.core.message import Doorbell, parse


@pytest.mark.parametrize(("bell", "body"), [(Doorbell(), {"v": 1}), (Doorbell(7), {"v": 1, "task": 7})])
def test_a_doorbell_arrives_as_it_was_sent(bell: Doorbell, body: dict[str, Any]) -> None:
    assert bell.body() == body
    assert parse(body) == bell


def test_fields_of_later_versions_are_ignored() -> None:
    assert parse({"v": 1, "task": None, "trace": "x"}) == Doorbell()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, ""),
        ("v", ""),
        ([1], ""),
        ({}, "v"),
        ({"v": 2}, "v"),
        ({"v": "1"}, "v"),
        ({"v": True}, "v"),
        ({"v": [1]}, "v"),
        ({"v": 1, "task": "7"}, "task"),
        ({"v": 1, "task": True}, "task"),
        ({"v": 1, "task": 7.5}, "task"),
    ],
)
def test_a_message_that_is_not_a_doorbell_is_refused(body: object, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(body)
    assert [problem.field for problem in refused.value.problems] == [field]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["v", "task"]), inner),
)


@given(values)
def test_any_message_is_a_doorbell_or_bad_input(body: object) -> None:
    try:
        bell = parse(body)
    except BadInput:
        return
    assert parse(bell.body()) == bell
