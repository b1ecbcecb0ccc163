"""Log lines: JSON, names from a closed list, never a payload or a secret.

What is bound (task, execution, organization, provider, attempt, message) travels in contextvars.
"""

from __future__ import annotations

import logging
import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import FilteringBoundLogger


class Event(StrEnum):
    """All there is to say."""

    TASK_ENDED = "task.ended"
    EXECUTION_UNKNOWN = "execution.unknown"
    OVERRUN = "budget.overrun"
    BUDGET_ALERT = "budget.alert"
    SPENDING_STOPPED = "spending.stopped"
    SPENDING_RESUMED = "spending.resumed"
    ADAPTER_ERROR = "provider.adapter_error"
    UNSTORABLE = "settle.unstorable"
    PUBLISH_FAILED = "publish.failed"
    DEAD_LETTER = "message.dead_letter"
    MESSAGES_RETRIED = "message.retried"
    DATABASE_RETRIED = "database.retried"
    SCHEMA_BROKEN = "schema.broken"
    SWEPT = "sweep.done"
    WEBHOOK = "webhook.received"
    WEBHOOK_REFUSED = "webhook.refused"
    REQUEST_FAILED = "request.failed"


FIELDS: Final = frozenset(
    "task execution organization provider profile attempt message stage status reason cost_micro ms"
    " count error claimed executions rung retried route method address pid url budget percent".split()
)
"""Names that a line may carry besides the event, level and time: none of them is a payload."""


def log() -> FilteringBoundLogger:
    """The logger.  Asked for at each use, so that no module holds one from before it was set up."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,39}(?=[: ]|$)", re.ASCII)


def word(reason: str | None) -> str | None:
    """What a line may carry of a reason: its first word, which is ours.  What follows may be a provider's."""
    found = _WORD.match(reason or "")
    return found[0] if found else None


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set up JSON lines on `stream` (standard error by default)."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _closed_list,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _closed_list(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A name or a field that is not on the list is a programming error: it could carry anything."""
    Event(event["event"])
    unknown = event.keys() - FIELDS - {"event"}
    if unknown:
        msg = f"log fields not on the list: {sorted(unknown)}"
        raise ValueError(msg)
    return event
