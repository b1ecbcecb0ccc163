"""Every fault of a seed, drawn from independent random streams.

A fault is named `kind:n`, where n counts the opportunities for that kind.  Each kind has its own stream, so leaving one
fault out does not change the decisions of other kinds; that makes shrinking possible.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable


class Streams(dict[str, random.Random]):
    """Random streams by name; each begins at its first use."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def __missing__(self, name: str) -> random.Random:
        self[name] = begun = random.Random(f"{self._seed}/{name}")  # noqa: S311  # a seed decides, nothing is secret
        return begun


class Dice:
    """`fault_rate` scales all probabilities; 0 means no faults.  `only`: the faults that may happen, None for all."""

    def __init__(self, seed: int, only: frozenset[str] | None = None) -> None:
        self.fault_rate = 1.0
        self.only = only
        self.happened: list[str] = []
        self.counts: Counter[str] = Counter()
        self.watch: Callable[[str], None] = lambda _kind: None
        self._occasions: Counter[str] = Counter()
        self._streams = Streams(seed)

    def stream(self, name: str) -> random.Random:
        """The random stream of one purpose."""
        return self._streams[name]

    def hit(self, kind: str, probability: float) -> bool:
        """Whether this fault happens now."""
        if self.fault_rate == 0.0:
            return False
        self._occasions[kind] += 1
        if self._streams[kind].random() >= probability * self.fault_rate:
            return False
        name = f"{kind}:{self._occasions[kind]}"
        if self.only is not None and name not in self.only:
            return False
        self.happened.append(name)
        self.count(kind)
        return True

    def count(self, kind: str) -> None:
        """Count a fault, whether it was drawn or follows from what the system does."""
        self.counts[kind] += 1
        self.watch(kind)

    def between(self, name: str, low: float, high: float) -> float:
        """A number of the stream `name`."""
        return low + (high - low) * self._streams[name].random()

    def kinds(self) -> dict[str, list[str]]:
        """The number of faults that happened, by kind."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.happened:
            found[name.partition(":")[0]].append(name)
        return dict(found)
