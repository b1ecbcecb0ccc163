"""Budget periods, which begin and end at midnight UTC.  A cost belongs to the period in which it was reserved.

And the names under which budgets block tasks.  There are two tiers: the operator's budgets and the tenant's.  Both
apply, and no caller of the tenant sees the operator's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from consumer.core.policy import NEVER

OPERATOR: Final = "operator"
TENANT: Final = "tenant"
"""The two tiers."""
_BLOCKER: Final = "budget:"
_OPERATORS: Final = "budget:operator"
"""The blocker that callers of the tenant see in place of a budget of the operator."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Period(NamedTuple):
    """One period of one budget: from `starts_ms` until just before `ends_ms`, in milliseconds UTC.

    `id` is the same for the same period, so that two workers that need it make one row."""

    id: str
    budget: int
    starts_ms: int
    ends_ms: int


def period_of(budget: int, kind: str, now_ms: int) -> Period:
    """The period that `now_ms` is in, of a budget by `day`, by `month`, or for the whole time (`total`)."""
    if kind == "total":
        return Period(f"{budget}:total", budget, 0, NEVER)
    now = _EPOCH + timedelta(milliseconds=now_ms)
    if kind == "day":
        start = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return Period(f"{budget}:{start:%Y-%m-%d}", budget, _ms(start), _ms(start + timedelta(days=1)))
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (start + timedelta(days=32)).replace(day=1)
    return Period(f"{budget}:{start:%Y-%m}", budget, _ms(start), _ms(following))


def blocker(tier: str, budget: int) -> str:
    """The text in `tasks.blocked_by` of a task that this budget keeps back."""
    return f"{_OPERATORS}:{budget}" if tier == OPERATOR else f"{_BLOCKER}{budget}"


def blocking(blocked_by: str | None) -> int | None:
    """The id of the budget that keeps a task back; None if none does."""
    number = (blocked_by or "").removeprefix(_OPERATORS + ":").removeprefix(_BLOCKER)
    is_budget = blocked_by is not None and blocked_by.startswith(_BLOCKER)
    return int(number) if is_budget and number.isdecimal() else None


def seen_by_tenant(blocked_by: str | None) -> str | None:
    """A blocker as callers of the tenant may see it: without the number of a budget of the operator."""
    return _OPERATORS if blocked_by is not None and blocked_by.startswith(_OPERATORS) else blocked_by


def _ms(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds()) * 1000
