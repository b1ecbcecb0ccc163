"""The platform's time and randomness.  Both exist only inside a handler, so that no module uses them at import."""

from __future__ import annotations

import os
import time


class WorkersClock:
    """`Clock` of the platform.  Its time passes only while the handler awaits; between two waits it stands still."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000


class WorkersEntropy:
    """`Entropy` of the platform.

    It does not use `random`, whose generator is seeded before the snapshot: all isolates would draw the same numbers.
    """

    def draw(self) -> float:
        """A number in [0, 1)."""
        return (int.from_bytes(os.urandom(7), "big") >> 3) * 2.0**-53  # the 53 bits that a float can hold

    def token(self) -> str:
        """32 hexadecimal characters: 128 random bits, which an attacker cannot guess."""
        return os.urandom(16).hex()
