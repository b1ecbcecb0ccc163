"""The machine's own time and randomness."""

from __future__ import annotations

import secrets
import time

_RANDOM = secrets.SystemRandom()


class SystemClock:
    """`Clock` on the operating system's wall time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000


class SystemEntropy:
    """`Entropy` of the operating system."""

    def draw(self) -> float:
        """A number in [0, 1)."""
        return _RANDOM.random()

    def token(self) -> str:
        """32 hexadecimal characters: 128 random bits, which an attacker cannot guess."""
        return secrets.token_hex(16)
