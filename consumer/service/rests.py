"""Sentences about profiles that rest, wait or are at their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.core.outcome import ACCOUNT_FAULTS
from consumer.core.times import iso
from consumer.store.sql import integer, optional_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumer.ports import Row

BLOCKER = "rest:"
"""How the blocker of a task that waits for a profile begins."""


FAULTS: Final = dict(
    zip(ACCOUNT_FAULTS, ("its provider refuses the key", "its account has no money left"), strict=True)
)


FAULT_ADVICE: Final = {
    "refused_key": "set the secret that the profile names, and deploy it; no task fails in the meantime",
    "unpaid": "pay the provider; no task fails in the meantime, and the worker calls it again by itself",
}


def account_fault(row: Row) -> str | None:
    """The fault of the account because of which a profile rests; None if it does not rest because of one."""
    fault = (optional_text(row, "reason") or "").partition(" ")[0]
    return fault if integer(row, "level") and fault in FAULTS else None


def in_words(row: Row, now_ms: int) -> str | None:
    """Why a profile is not called now; None if nothing but its own limits keeps calls back."""
    until, level = integer(row, "until_ms"), integer(row, "level")
    if not level and until <= now_ms:
        return None
    reason = optional_text(row, "reason")
    last = f" ({reason})" if reason else ""
    if not level:
        return f"profile {row['profile']} gets no calls until {iso(until)}, because its provider refused one{last}"
    fault = account_fault(row)
    if fault is not None:
        because = f"because {FAULTS[fault]} ({(reason or '').removeprefix(f'{fault} ')})"
        if until <= now_ms:
            return f"profile {row['profile']} rested {because}, and the next call finds out whether that has changed"
        return f"profile {row['profile']} rests until {iso(until)} {because}"
    failures = f"{integer(row, 'failures')} failures in a row{last}"
    if until <= now_ms:
        return f"profile {row['profile']} rested after {failures}, and the next call finds out whether it answers"
    return f"profile {row['profile']} rests until {iso(until)} after {failures}"


def why(blocked_by: str, rows: Iterable[Row], now_ms: int) -> str:
    """One sentence on why a task waits for a profile."""
    profile = blocked_by.removeprefix(BLOCKER)
    for row in rows:
        words = in_words(row, now_ms) if row["profile"] == profile else None
        if words is not None:
            return f"It waits, and no attempt is counted: {words}."
    return f"It waits for profile {profile}, which has as many calls as its limits allow."
