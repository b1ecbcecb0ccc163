"""Patterns of schemas: the same results as Python's engine, in bounded time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.pattern import Unsupported, compile_pattern

texts = st.text(alphabet="ab-19 \n_éX", max_size=12)
atoms = st.sampled_from(
    ["a", "b", ".", r"\d", r"\w", r"\s", r"\S", "[ab]", "[^a]", "[a-c1]", r"[^\s-]", "^", "$", "é"]
)
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda ways: f"({'|'.join(ways)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?"])).map(
            lambda parts: f"(?:{parts[0]}){parts[1]}"
        ),
    ),
    max_leaves=6,
)


@given(patterns, st.lists(texts, max_size=8))
def test_a_search_has_the_result_of_pythons_engine(pattern: str, texts: list[str]) -> None:
    """Except for `$`, which here means the very end of the text, as in JSON Schema."""
    ours, theirs = compile_pattern(pattern), re.compile(pattern.replace("$", r"\Z"))
    for text in texts:
        assert ours.search(text) == (theirs.search(text) is not None), text


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)b",
        r"(a)\1",
        "(",
        "[",
        "a{2,1}",
        "(?i)a",
        r"\bfoo",
        "(?<=a)b",
        "(a{1000}){1000}",
        "(){1000000000}",
    ],
)
def test_a_pattern_that_needs_unbounded_time_is_refused(pattern: str) -> None:
    with pytest.raises(Unsupported):
        compile_pattern(pattern)


def test_the_work_of_a_search_is_counted() -> None:
    spent: list[int] = []
    pattern = compile_pattern("^(a|b)*a(a|b){20}c", spent.append)
    assert not pattern.search("ab" * 500)
    assert 100 < sum(spent) < 500_000
