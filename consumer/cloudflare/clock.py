"""The platform's time and randomness.  Both exist inside a handler only: nothing here is asked at import."""

from __future__ import annotations

import os
import time


class WorkersClock:
    """`Clock` of the platform.  It stands still between two waits: time passes while something is awaited."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000


class WorkersEntropy:
    """`Entropy` of the platform, straight from its source.

    Not `random`: its generator would be seeded once, before the snapshot that every isolate starts from.
    """

    def draw(self) -> float:
        """A number in [0, 1)."""
        return (int.from_bytes(os.urandom(7), "big") >> 3) * 2.0**-53  # the 53 bits that a float can hold

    def token(self) -> str:
        """32 hexadecimal characters that nobody can guess."""
        return os.urandom(16).hex()
