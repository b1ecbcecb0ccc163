"""A cache that is bounded by its size in bytes: a Worker has 128 MB, and tenants write what is remembered here."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

V = TypeVar("V")


class Cache(Generic[V]):
    """Remembers what was made for each key.  The value that was used the longest time ago is forgotten first.

    `made` counts the values that were made."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self.made = 0
        self._known: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], tuple[V, int]]) -> V:
        """The value of a key.  `make` returns a new value and about how many bytes it holds.

        A value that is larger than the whole cache is returned and not remembered."""
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[0]
        value, size = make()
        self.made += 1
        if size <= self.max_bytes:
            self._known[key] = value, size
            self.size += size
        while self.size > self.max_bytes:
            _, (_, freed) = self._known.popitem(last=False)
            self.size -= freed
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self.size = self.made = 0
