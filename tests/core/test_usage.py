"""Counts of tokens under the names that servers give them."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.usage import read_usage


def read(**reported: Any) -> Any:
    return read_usage(reported, "m", worked=False, wrote=False)


@pytest.mark.parametrize(
    ("reported", "cache_read", "cache_write", "further"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 3}}, 3, 0, {}),
        ({"prompt_tokens_details": {"cache_write_tokens": 3}}, 0, 3, {}),
        ({"prompt_tokens_details": {"cached_tokens": None, "cache_creation_tokens": 3}}, 0, 3, {}),
        ({"cache_creation_input_tokens": 4, "cache_read_input_tokens": 5}, 5, 4, {}),
        ({"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 1}, 6, 0, {}),
        ({"cached_tokens": 7}, 7, 0, {}),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 2}}, 0, 0, {"cache_write_1h_tokens": 2}),
        ({"completion_tokens_details": {"reasoning_tokens": 9}}, 0, 0, {"output_reasoning_tokens": 9}),
        ({"completion_tokens_details": {"audio_tokens": 9}}, 0, 0, {"output_audio_tokens": 9}),
        ({"prompt_tokens_details": {"audio_tokens": 0, "image_tokens": 2}}, 0, 0, {"input_image_tokens": 2}),
        ({"completion_tokens_details": {"rejected_prediction_tokens": 9}}, 0, 0, {}),
        ({"prompt_tokens_details": [], "completion_tokens_details": "x"}, 0, 0, {}),
    ],
)
def test_a_count_is_read_under_each_name(
    reported: dict[str, Any], cache_read: int, cache_write: int, further: dict[str, int]
) -> None:
    found = read(prompt_tokens=10, completion_tokens=10, **reported)

    assert (found.cache_read_tokens, found.cache_write_tokens, found.further) == (
        cache_read,
        cache_write,
        further,
    )


@pytest.mark.parametrize(
    ("evidence", "counts"),
    [
        ({"worked": True, "wrote": True}, (None, None)),
        ({"worked": True, "wrote": False}, (None, 0)),
        ({"worked": False, "wrote": False}, (0, 0)),
    ],
)
def test_a_count_that_cannot_be_true_is_no_count(
    evidence: dict[str, bool], counts: tuple[int | None, ...]
) -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    found = read_usage(nothing, "m", **evidence)

    assert found is not None
    assert (found.input_tokens, found.output_tokens) == counts


def test_no_usage_is_none_at_all() -> None:
    nothing: tuple[Any, ...] = (None, {}, [], "x", 5)
    for reported in nothing:
        assert read_usage(reported, "m", worked=True, wrote=True) is None
