"""Budget periods, which begin and end at midnight UTC.  A cost belongs to the period in which it was reserved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from consumer.core.policy import NEVER

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


def _ms(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds()) * 1000
