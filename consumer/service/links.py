"""Signed links that expire.  A link is all that a person of the organization needs to answer."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final, Literal, NamedTuple

from consumer.core.errors import NotFound
from consumer.core.policy import DAY

GRACE_MS: Final = 30 * DAY
"""How long a link still opens after its deadline: a late answer is kept, and used if the task still waits for one."""
SIGNATURE_LENGTH: Final = 48
"""192 bits, so that a link has less than 100 characters."""
_FORM: Final = re.compile(r"([0-9]{1,16})\.([0-9]{1,16})\.([0-9a-z]{0,16})\.([0-9a-f]{48})")
"""`EXECUTION.EXPIRES.MARK.SIGNATURE`, with the time in milliseconds."""


class Expired(NotFound):
    """The link has a valid signature, and its time is over."""


Purpose = Literal["person", "question"]
"""An assignment of the inbox, or a question about a call to another provider.  Neither link opens the other."""
PURPOSES: Final[tuple[Purpose, ...]] = ("person", "question")


class Opened(NamedTuple):
    """The contents of a link.  The mark tells the execution from an earlier one with its id (`store.sql.mark_of`)."""

    execution: int
    mark: str
    purpose: Purpose


def token(secret: str, execution: int, mark: str, deadline_ms: int, purpose: Purpose = "person") -> str:
    """The last part of the address of a link."""
    expires = deadline_ms + GRACE_MS
    return f"{execution}.{expires}.{mark}.{_signature(secret, Opened(execution, mark, purpose), expires)}"


def read(secret: str, value: str, now_ms: int) -> Opened:
    """The execution that a link opens, and its purpose.  Raises NotFound for a forged link, Expired.

    The signature is checked before the time, so that a forged link does not show whether its time would be over."""
    found = _FORM.fullmatch(value)
    if not found:
        raise NotFound("no such link")
    expires = int(found[2])
    for purpose in PURPOSES:
        opened = Opened(int(found[1]), found[3], purpose)
        if hmac.compare_digest(found[4], _signature(secret, opened, expires)):
            break
    else:
        raise NotFound("no such link")
    if now_ms >= expires:
        raise Expired("this link has expired")
    return opened


def _signature(secret: str, opened: Opened, expires: int) -> str:
    message = f"{opened.purpose}:{opened.execution}:{opened.mark}:{expires}"
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()[:SIGNATURE_LENGTH]
