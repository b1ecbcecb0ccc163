"""Times: integers of milliseconds UTC for computing, ISO-8601 text for the public columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from consumer.core.errors import BadInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=64)
def iso(ms: int) -> str:
    """The ISO-8601 text of a time in milliseconds UTC: `2026-11-21T10:00:00.000Z`."""
    moment = _EPOCH + timedelta(milliseconds=ms)
    return f"{moment.isoformat(timespec='milliseconds')[:23]}Z"


def parse_time(text: str, field: str) -> int:
    """The milliseconds UTC of an ISO-8601 text; one without an offset is UTC.  Raises BadInput naming `field`."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int((moment.astimezone(UTC) - _EPOCH) / timedelta(milliseconds=1))
    except (ValueError, OverflowError):
        raise BadInput(field, "must be a time in ISO-8601, like 2026-11-21T10:00:00Z") from None
