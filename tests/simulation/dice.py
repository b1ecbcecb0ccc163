"""Every accident of a seed, drawn from streams that do not disturb each other.

An accident is named `kind:n`, where n counts the occasions of that kind.  Because each kind has its own stream,
leaving one accident out leaves all decisions of the other kinds as they were; that is what makes shrinking work.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict


class Dice:
    """`rage` scales all probabilities; 0 is calm.  `only`: the accidents that may happen, None for all."""

    def __init__(self, seed: int, only: frozenset[str] | None = None) -> None:
        self.seed = seed
        self.rage = 1.0
        self.only = only
        self.happened: list[str] = []
        self.counts: Counter[str] = Counter()
        self._occasions: Counter[str] = Counter()
        self._streams: dict[str, random.Random] = {}

    def stream(self, name: str) -> random.Random:
        """The randomness of one purpose."""
        found = self._streams.get(name)
        if found is None:
            found = random.Random(f"{self.seed}/{name}")  # noqa: S311  # a seed decides, nothing is secret
            self._streams[name] = found
        return found

    def hit(self, kind: str, probability: float) -> bool:
        """Whether this accident happens now."""
        draw = self.stream(kind).random()
        if self.rage == 0.0:
            return False
        self._occasions[kind] += 1
        if draw >= probability * self.rage:
            return False
        name = f"{kind}:{self._occasions[kind]}"
        if self.only is not None and name not in self.only:
            return False
        self.happened.append(name)
        self.counts[kind] += 1
        return True

    def between(self, name: str, low: float, high: float) -> float:
        """A number of the stream `name`."""
        return low + (high - low) * self.stream(name).random()

    def kinds(self) -> dict[str, list[str]]:
        """What has happened, by kind."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.happened:
            found[name.partition(":")[0]].append(name)
        return dict(found)
