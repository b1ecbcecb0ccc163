"""Log lines: JSON, with names from a closed list, and never a payload or a secret.

The id of the doorbell (`message`) is bound as a context variable of structlog, so that every line of its run
carries it.

structlog is imported by the first line that is logged: with the packages that it imports in turn, that takes longer
than a short command of `bizq`, which logs nothing.
"""

from __future__ import annotations

import logging
import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, FilteringBoundLogger


class Event(StrEnum):
    """Every event that the worker logs.  docs/operations.md explains each one."""

    TASK_ENDED = "task.ended"
    EXECUTION_UNKNOWN = "execution.unknown"
    CALL_FAILED = "call.failed"
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
"""Fields that a line may have besides the event, its level and its time.  None of them holds a payload."""


class _Silent:
    """A logger that drops every line."""

    def _drop(self, *_arguments: object, **_fields: object) -> None:
        """Do nothing."""

    debug = info = warning = error = critical = exception = _drop


class _Setup:
    """Whether `log` gives the logger that drops every line."""

    __slots__ = ("silent",)

    def __init__(self) -> None:
        self.silent = False


_SETUP: Final = _Setup()


def log() -> FilteringBoundLogger:
    """The logger.  Callers ask for it at each use, so that a later `configure` applies to them too."""
    logger: Any = _Silent()
    if not _SETUP.silent:
        import structlog  # noqa: PLC0415  # see above

        logger = structlog.get_logger()
    found: FilteringBoundLogger = logger
    return found


_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)


def reason_code(reason: str | None) -> str | None:
    """The part of a reason that a log line may carry: the code of ours at its beginning, if it has one.

    A code stands alone, before a colon, or, like `http_400`, before a space; the first word of a sentence is none.  The
    text after it may come from a provider."""
    head, _, _ = (reason or "").partition(":")
    word, _, rest = head.partition(" ")
    is_code = not rest or "_" in word or head.startswith("cancelled by ")
    return word if is_code and _CODE.fullmatch(word) else None


def silence() -> None:
    """Log nothing.  A command of `bizq` reports its error itself, in one line."""
    _SETUP.silent = True


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Write JSON lines of this level and above to `stream` (standard error by default).  Raises KeyError."""
    import structlog  # noqa: PLC0415  # see above

    _SETUP.silent = False
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


def _closed_list(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Refuse an event or a field that is not on the list: it is a programming error, and could carry anything.

    Raises ValueError."""
    Event(event["event"])
    unknown = event.keys() - FIELDS - {"event"}
    if unknown:
        msg = f"log fields not on the list: {sorted(unknown)}"
        raise ValueError(msg)
    return event
