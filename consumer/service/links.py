"""Signed links that expire.  A link is all that a person of the organization needs to answer."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final, Literal

from consumer.core.errors import NotFound
from consumer.core.policy import DAY

GRACE_MS: Final = 30 * DAY
"""How long a link still opens after its deadline: a late answer is kept, and used if the task still waits for one."""
_FORM: Final = re.compile(r"([0-9]{1,16})\.([0-9]{1,16})\.([0-9a-f]{64})")
"""`EXECUTION.EXPIRES.SIGNATURE`, with the time in milliseconds."""


class Expired(NotFound):
    """The link has a valid signature, and its time is over."""


Purpose = Literal["person", "question"]
"""An assignment of the inbox, or a question about a call to another provider.  Neither link opens the other."""
PURPOSES: Final[tuple[Purpose, ...]] = ("person", "question")


def token(secret: str, execution: int, deadline_ms: int, purpose: Purpose = "person") -> str:
    """The last part of the address of a link."""
    expires = deadline_ms + GRACE_MS
    return f"{execution}.{expires}.{_signature(secret, execution, expires, purpose)}"


def read(secret: str, value: str, now_ms: int) -> tuple[int, Purpose]:
    """The execution that a link opens, and its purpose.  Raises NotFound for a forged link, Expired.

    The signature is checked before the time, so that a forged link does not show whether its time would be over."""
    found = _FORM.fullmatch(value)
    if not found:
        raise NotFound("no such link")
    execution, expires = int(found[1]), int(found[2])
    for purpose in PURPOSES:
        if hmac.compare_digest(found[3], _signature(secret, execution, expires, purpose)):
            break
    else:
        raise NotFound("no such link")
    if now_ms >= expires:
        raise Expired("this link has expired")
    return execution, purpose


def _signature(secret: str, execution: int, expires: int, purpose: Purpose) -> str:
    return hmac.new(secret.encode(), f"{purpose}:{execution}:{expires}".encode(), hashlib.sha256).hexdigest()
