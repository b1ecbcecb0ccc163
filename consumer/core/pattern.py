"""The patterns of a tenant's schemas, searched for in time that grows with the text and not with 2 to its power.

Python's own engine tries one way after the other, and there are patterns of ten characters for which twenty thousand
characters of text have more ways than the universe has seconds.  Here all ways are followed at once, as a set of
places in the pattern; which set follows which on a character is remembered.  What needs more than that (references
back, looking around) is refused when a template is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from re import _constants as op  # type: ignore[attr-defined, unused-ignore]  # known or not, by what else was read
from re import _parser  # type: ignore[attr-defined, unused-ignore]  # known or not, by what else was read
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_PLACES: Final = 5_000
"""Places that a pattern may have, its repetitions written out."""
MAX_KNOWN: Final = 5_000
"""Steps that are remembered."""

Test = "Callable[[str], bool]"
Places = frozenset[int]


class Unsupported(ValueError):
    """A pattern that cannot be searched for in bounded time, or none at all.  Says why."""


@dataclass(slots=True)
class _Place:
    """A character that passes `test` leads on; one without a test leads on at once, perhaps only at an edge."""

    next: list[int]
    test: Callable[[str], bool] | None = None
    edge: str | None = None


@dataclass(slots=True)
class Pattern:
    """A compiled pattern.  `spend` is told how much work each search is, and may raise to end it."""

    places: list[_Place]
    first: int
    last: int
    spend: Callable[[int], None] = lambda _: None
    _known: dict[tuple[Places, str], Places] = field(default_factory=dict)
    _again: Places = frozenset()

    def search(self, text: str) -> bool:
        """Whether some part of the text fits; `$` is its very end, as in JSON Schema."""
        self.spend(len(text) // 16 + len(self.places))
        self._again = self._reached([self.first], edges=())
        now = self._reached([self.first], edges=("start",))
        known = self._known
        for character in text:
            if self.last in now:
                return True
            key = (now, character)
            following = known.get(key)
            if following is None:
                following = self._follow(now, character)
                if len(known) < MAX_KNOWN:
                    known[key] = following
            now = following
        edges = ("end",) if text else ("start", "end")
        return self.last in self._reached(now, edges=edges)

    match = search

    def _follow(self, now: Places, character: str) -> Places:
        self.spend(len(now) + len(self.places) // 8)
        moved = []
        for number in now:
            place = self.places[number]
            if place.test is not None and place.test(character):
                moved += place.next
        return self._reached(moved, edges=()) | self._again

    def _reached(self, start: Iterable[int], *, edges: tuple[str, ...]) -> Places:
        """All places that can be reached without a character; where an edge stops it, the edge's own."""
        seen: set[int] = set()
        left = list(start)
        while left:
            number = left.pop()
            if number in seen:
                continue
            seen.add(number)
            place = self.places[number]
            if place.test is None and (place.edge is None or place.edge in edges):
                left += place.next
        return frozenset(seen)


def compile_pattern(text: str, spend: Callable[[int], None] = lambda _: None) -> Pattern:
    """Raises Unsupported."""
    try:
        parsed = _parser.parse(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unsupported(f"not a pattern: {error}") from None
    if parsed.state.flags & ~re.UNICODE:
        raise Unsupported("a pattern has no flags")
    maker = _Maker()
    last = maker.add(_Place([]))
    return Pattern(maker.places, maker.sequence(parsed, last), last, spend)


_EDGES: Final = {
    op.AT_BEGINNING: "start",
    op.AT_BEGINNING_STRING: "start",
    op.AT_END: "end",
    op.AT_END_STRING: "end",
}
_CATEGORIES: Final[dict[Any, Callable[[str], bool]]] = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_NOT_DIGIT: lambda c: not c.isdecimal(),
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    op.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    op.CATEGORY_NOT_WORD: lambda c: not (c.isalnum() or c == "_"),
}


class _Maker:
    """Makes the places of a pattern, from its end to its beginning."""

    def __init__(self) -> None:
        self.places: list[_Place] = []

    def add(self, place: _Place) -> int:
        if len(self.places) >= MAX_PLACES:
            raise Unsupported(f"a pattern has at most {MAX_PLACES} places, its repetitions written out")
        self.places.append(place)
        return len(self.places) - 1

    def sequence(self, parts: Iterable[Any], then: int) -> int:
        for kind, value in reversed(list(parts)):
            then = self.part(kind, value, then)
        return then

    def part(self, kind: Any, value: Any, then: int) -> int:
        """One part of a pattern, which leads to `then`; its first place."""
        if kind is op.AT and value in _EDGES:
            return self.add(_Place([then], edge=_EDGES[value]))
        if kind is op.BRANCH:
            return self.add(_Place([self.sequence(way, then) for way in value[1]]))
        if kind is op.SUBPATTERN and not (value[1] or value[2]):
            return self.sequence(value[3], then)
        if kind in {op.MAX_REPEAT, op.MIN_REPEAT}:
            least, most, parts = value
            return self.repeat(least, most, parts, then)
        test = _test(kind, value)
        if test is None:
            raise Unsupported(f"a pattern has no {str(kind).lower()}: it would have to be tried in many ways")
        return self.add(_Place([then], test=test))

    def repeat(self, least: int, most: Any, parts: Any, then: int) -> int:
        if most is op.MAXREPEAT:
            loop = self.add(_Place([then]))
            self.places[loop].next.append(self.sequence(parts, loop))
            then = loop
        else:
            end = then
            for _ in range(int(most) - least):
                then = self.add(_Place([self.sequence(parts, then), end]))
        for _ in range(least):
            then = self.sequence(parts, then)
            self.add(_Place([]))  # even what is nothing counts, or `(){1000000}` would not end
        return then


def _test(kind: Any, value: Any) -> Callable[[str], bool] | None:
    """Whether a character fits a part that is one character long; None when it is not."""
    if kind is op.LITERAL:
        return chr(value).__eq__
    if kind is op.NOT_LITERAL:
        return chr(value).__ne__
    if kind is op.ANY:
        return "\n".__ne__
    if kind is not op.IN:
        return None
    negated = value[0][0] is op.NEGATE
    tests = [_member(*part) for part in value[negated:]]
    return lambda character: any(test(character) for test in tests) is not negated


def _member(kind: Any, value: Any) -> Callable[[str], bool]:
    if kind is op.RANGE:
        least, most = map(chr, value)
        return lambda character: least <= character <= most
    if kind is op.CATEGORY:
        return _CATEGORIES[value]
    return chr(value).__eq__
