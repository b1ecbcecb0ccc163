"""Answers inside the wrappers that models put around them."""

from __future__ import annotations

import json
import time

import pytest

from consumer.core.wrapped import json_object, unwrapped

PARIS = {"city": "Paris"}
TEXT = json.dumps(PARIS)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"\n {TEXT} \n",
        f"```json\n{TEXT}\n```",
        f"```{TEXT}```",
        f"Here is the answer:\n```json\n{TEXT}\n```\nAnything else?",
        f"<think>It could be Rome.</think>\n{TEXT}",
        f"The text names Paris.</think>\n\n{TEXT}",
        f"<think>Maybe ```json\n{{}}\n```.</think>\nSure:\n```\n{TEXT}\n```",
        f"<thinking>\n{{}}\n</thinking>{TEXT}",
    ],
)
def test_an_answer_in_a_known_wrapper_is_read(text: str) -> None:
    assert unwrapped(text) == PARIS
    assert json_object(text) == (PARIS if text.strip().endswith(("}", "```")) else None)


@pytest.mark.parametrize(
    "text",
    [
        "The city is Paris.",
        f"Here: {TEXT}",
        f"```json\n{TEXT}\n```\nor\n```json\n{{}}\n```",
        f"<think>{TEXT}",
        "```json\n{\n```",
        "",
        "```",
    ],
)
def test_anything_else_stays_the_text_that_it_is(text: str) -> None:
    assert unwrapped(text) == text


def test_an_answer_may_hold_a_fence_or_a_tag_itself() -> None:
    for value in ({"code": "```py\nx\n```"}, {"html": "a</think>b"}):
        assert unwrapped(json.dumps(value)) == value
        assert unwrapped(f"```json\n{json.dumps(value)}\n```") == value


@pytest.mark.parametrize("part", ["```", "<think>", "</think>", "{", " "])
def test_a_long_text_is_read_quickly(part: str) -> None:
    began = time.perf_counter()
    unwrapped(part * 300_000)
    assert time.perf_counter() - began < 2
