"""Search for the patterns of a tenant's schemas in time that grows linearly with the text, not exponentially.

Python's own engine tries one way through a pattern after the other.  For some patterns of ten characters, a text of
twenty thousand characters has more ways than the universe has seconds.  This engine follows all ways together, as a set
of places in the pattern, and remembers which set follows which on a character.  Features that this cannot express
(backreferences, lookahead and lookbehind) are refused when a template is written.

The pattern is parsed by the private modules `re._parser` and `re._constants`.  Tests compare the results with those of
`re`, so that a change of these modules is noticed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from re import _constants as op  # type: ignore[attr-defined, unused-ignore]  # mypy may know it or not
from re import _parser  # type: ignore[attr-defined, unused-ignore]  # mypy may know it or not
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_PLACES: Final = 5_000
"""Places that the patterns of a schema may have together, with their repetitions written out."""
MAX_REMEMBERED: Final = 100_000
"""Places in the sets that the patterns of a schema remember during a check: about 6 MB."""
MAX_KEPT: Final = 2_000
"""Places in the sets that they may keep until the next check: about 130 KB."""
_STEP: Final = 4
"""What remembering one step from a set to the next costs, in places."""

Test = "Callable[[str], bool]"
Places = frozenset[int]


class Unsupported(ValueError):
    """The text is not a pattern, or one that cannot be searched for in bounded time.  The message gives the reason."""


class Memory:
    """Which set of places follows which on a character, for all patterns of a schema.

    It is bounded over all of them: a text can lead a pattern of 2,000 places through as many sets of that size."""

    __slots__ = ("sets", "size", "steps")

    def __init__(self) -> None:
        self.steps: dict[tuple[int, Places, str], Places] = {}
        self.sets: dict[Places, Places] = {}
        self.size = 0

    def remember(self, key: tuple[int, Places, str], following: Places) -> Places:
        """Remember a step while there is room.  Returns the set, or an equal one that is remembered already."""
        if self.size >= MAX_REMEMBERED:
            return following
        same = self.sets.setdefault(following, following)
        self.size += _STEP if same is not following else _STEP + len(following)
        self.steps[key] = same
        return same

    def end_check(self) -> None:
        """Forget the steps of a check if they are too many to be kept."""
        if self.size > MAX_KEPT:
            self.steps, self.sets, self.size = {}, {}, 0


class _Place(NamedTuple):
    """One place in a pattern.

    With a `test`, a character that passes it leads to the places of `next`.  Without one, the place leads there without
    a character; with an `edge` (`start` or `end`), only at that edge of the text."""

    next: list[int]
    test: Callable[[str], bool] | None = None
    edge: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class Pattern:
    """A compiled pattern.  `spend` receives the amount of work of each search, and may raise to end it."""

    places: list[_Place]
    first: int
    last: int
    spend: Callable[[int], None] = lambda _: None
    memory: Memory = field(default_factory=Memory)
    _again: Places = frozenset()

    def search(self, text: str) -> bool:
        """Whether a part of the text fits the pattern.  `$` means the very end of the text, as in JSON Schema."""
        self.spend(len(text) // 16 + len(self.places))
        self._again = self._reached([self.first], edges=())
        now = self._reached([self.first], edges=("start",))
        memory, number = self.memory, id(self)
        for character in text:
            if self.last in now:
                return True
            key = (number, now, character)
            following = memory.steps.get(key)
            if following is None:
                following = memory.remember(key, self._follow(now, character))
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
        """All places that can be reached from `start` without a character, at these edges of the text."""
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


def compile_pattern(
    text: str, spend: Callable[[int], None] = lambda _: None, memory: Memory | None = None
) -> Pattern:
    """Compile a pattern.  Raises Unsupported before it builds a pattern of more than `MAX_PLACES` places."""
    parsed = _parse(text)
    if _size(parsed) > MAX_PLACES:
        raise Unsupported(TOO_MANY)
    maker = _Maker()
    last = maker.add(_Place([]))
    first = maker.sequence(parsed, last)
    return Pattern(maker.places, first, last, spend, Memory() if memory is None else memory)


TOO_MANY: Final = (
    f"must be shorter: at most {MAX_PLACES} places in all patterns of a schema, with repetitions written out"
)


def places(text: str) -> int:
    """How many places a pattern has, counted without building it.  Raises Unsupported."""
    return _size(_parse(text))


def _parse(text: str) -> Any:
    try:
        parsed = _parser.parse(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unsupported(f"must be a regular expression: {error}") from None
    if parsed.state.flags & ~re.UNICODE:
        raise Unsupported("must be a pattern without flags such as (?i)")
    return parsed


def _size(parts: Iterable[Any]) -> int:
    """The places of these parts: as many as `_Maker` adds for them."""
    size = 0
    for kind, value in parts:
        if kind is op.BRANCH:
            size += 1 + sum(map(_size, value[1]))
        elif kind is op.SUBPATTERN:
            size += _size(value[3])
        elif kind in {op.MAX_REPEAT, op.MIN_REPEAT}:
            fewest, most, repeated = value
            once = 1 + _size(repeated)
            size += once * int(fewest) + (once if most is op.MAXREPEAT else once * (int(most) - int(fewest)))
        else:
            size += 1
    return size


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
    """Makes the places of a pattern, from its end to its beginning: each part needs to know the place behind it."""

    def __init__(self) -> None:
        self.places: list[_Place] = []

    def add(self, place: _Place) -> int:
        self.places.append(place)
        return len(self.places) - 1

    def sequence(self, parts: Iterable[Any], then: int) -> int:
        for kind, value in reversed(list(parts)):
            then = self.part(kind, value, then)
        return then

    def part(self, kind: Any, value: Any, then: int) -> int:
        """Add one part of a pattern, which leads to the place `then`.  Returns the first place of the part."""
        if kind is op.AT and value in _EDGES:
            return self.add(_Place([then], edge=_EDGES[value]))
        if kind is op.BRANCH:
            return self.add(_Place([self.sequence(way, then) for way in value[1]]))
        if kind is op.SUBPATTERN and not (value[1] or value[2]):
            return self.sequence(value[3], then)
        if kind in {op.MAX_REPEAT, op.MIN_REPEAT}:
            fewest, most, parts = value
            return self.repeat(fewest, most, parts, then)
        test = _test(kind, value)
        if test is None:
            raise Unsupported(f"must be a pattern without {str(kind).lower()}: it takes unbounded time")
        return self.add(_Place([then], test=test))

    def repeat(self, fewest: int, most: Any, parts: Any, then: int) -> int:
        if most is op.MAXREPEAT:
            loop = self.add(_Place([then]))
            self.places[loop].next.append(self.sequence(parts, loop))
            then = loop
        else:
            end = then
            for _ in range(int(most) - fewest):
                then = self.add(_Place([self.sequence(parts, then), end]))
        for _ in range(fewest):
            then = self.sequence(parts, then)
            self.add(_Place([]))  # an empty part counts too, or `(){1000000}` would not end
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
        first, last = map(chr, value)
        return lambda character: first <= character <= last
    if kind is op.CATEGORY:
        return _CATEGORIES[value]
    return chr(value).__eq__
