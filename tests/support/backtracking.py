"""Python's way to search for a regular expression, one attempt after the other, with its steps counted.

The steps show how the work grows with the text, without measuring time.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from re import _constants as op  # type: ignore[attr-defined, unused-ignore]  # mypy may know it or not
from re import _parser  # type: ignore[attr-defined, unused-ignore]  # mypy may know it or not
from typing import TYPE_CHECKING, Any

from consumer.core.pattern import _test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Then = "Callable[[int], int | None]"


MAX_STEPS = 40_000
"""Steps after which a search is given up: hundreds for each character of the longest text."""


class TooManySteps(Exception):
    """The search has taken more than `MAX_STEPS`."""


class Search:
    """Searches for a pattern in texts.  `steps` counts the parts that were tried."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.parts = list(_parser.parse(pattern, flags))
        self.steps = 0
        self.text = ""

    def run(self, text: str) -> int:
        """The steps of a search through the whole text, which goes on behind each find as `sub` does."""
        self.steps, self.text, start = 0, text, 0
        with _deep():
            while start <= len(text):
                end = self.sequence(self.parts, 0, start, lambda at: at)
                start = start + 1 if end is None or end <= start else end
        return self.steps

    def sequence(
        self, parts: Sequence[Any], number: int, at: int, then: Callable[[int], int | None]
    ) -> int | None:
        if number == len(parts):
            return then(at)
        kind, value = parts[number]
        return self.part(kind, value, at, lambda end: self.sequence(parts, number + 1, end, then))

    def part(self, kind: Any, value: Any, at: int, then: Callable[[int], int | None]) -> int | None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TooManySteps
        if kind is op.AT:
            edge = {op.AT_BEGINNING: 0, op.AT_BEGINNING_STRING: 0}.get(value, len(self.text))
            return then(at) if at == edge or value is op.AT_BOUNDARY else None
        if kind is op.BRANCH:
            ways = (self.sequence(way, 0, at, then) for way in value[1])
            return next((end for end in ways if end is not None), None)
        if kind is op.SUBPATTERN:
            return self.sequence(value[3], 0, at, then)
        if kind is op.ATOMIC_GROUP:
            end = self.sequence(value, 0, at, lambda reached: reached)
            return None if end is None else then(end)
        if kind in {op.ASSERT, op.ASSERT_NOT}:
            direction, inner = value
            start = at if direction > 0 else at - 1  # every lookbehind of the product is one character long
            found = start >= 0 and self.sequence(inner, 0, start, lambda reached: reached) is not None
            return then(at) if found is (kind is op.ASSERT) else None
        if kind in {op.MAX_REPEAT, op.MIN_REPEAT}:
            return self.repeat(kind, value, 0, at, then)
        if kind is op.POSSESSIVE_REPEAT:
            end = self.repeat(op.MAX_REPEAT, value, 0, at, lambda reached: reached)
            return None if end is None else then(end)
        fits = _test(kind, value)
        assert fits is not None, kind
        return then(at + 1) if at < len(self.text) and fits(self.text[at]) else None

    def repeat(
        self, kind: Any, value: Any, done: int, at: int, then: Callable[[int], int | None]
    ) -> int | None:
        fewest, most, inner = value

        def again() -> int | None:
            if most is not op.MAXREPEAT and done >= int(most):
                return None
            return self.sequence(
                inner, 0, at, lambda end: self.repeat(kind, value, done + 1, end, then) if end > at else None
            )

        if done < fewest:
            return again()
        for way in (again, lambda: then(at)) if kind is op.MAX_REPEAT else (lambda: then(at), again):
            end = way()
            if end is not None:
                return end
        return None


@contextmanager
def _deep() -> Iterator[None]:
    """Lets Python's own calls nest more deeply."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def characters(parts: Any) -> set[str]:
    """A few characters that some part of a pattern can match."""
    found: set[str] = set()
    for kind, value in parts:
        if kind is op.BRANCH:
            found = found.union(*map(characters, value[1]))
        elif kind in {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}:
            found |= characters(value[2])
        elif kind is op.SUBPATTERN:
            found |= characters(value[3])
        elif kind in {op.ASSERT, op.ASSERT_NOT}:
            found |= characters(value[1])
        elif kind is op.ATOMIC_GROUP:
            found |= characters(value)
        elif kind is not op.AT:
            fits = _test(kind, value)
            assert fits is not None, kind
            found |= set([each for each in "a0 \n\"'{}[]().:;/*-_\\|AxSz,<&" if fits(each)][:3])
    return found


def beginnings(parts: Sequence[Any]) -> str:
    """The text that the first parts of a pattern ask for letter by letter."""
    text = ""
    for kind, value in parts:
        if kind is not op.LITERAL:
            break
        text += chr(value)
    return text
