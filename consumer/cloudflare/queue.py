"""`Queue` and `Message` on Cloudflare Queues."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from pyodide.ffi import JsException

from consumer.limits import check_delay, encode_messages
from consumer.ports import PortError, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CODE: Final = re.compile(r"\((\d+)\)\s*$")
_REFUSED: Final = frozenset({10202, 10204, 10205, 10206})
"""Wrong delay, message too large, batch too large, too many messages.

Every other error is `Unavailable`: the queue is overloaded, full or disabled, or the cause is unknown.
developers.cloudflare.com/queues/reference/error-codes
"""


class WorkersQueue:
    """`Queue` on the binding of a producer."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    async def send(self, bodies: Sequence[Mapping[str, object]], delay_s: int = 0) -> None:
        """Send JSON objects.  Returns when they are on disk.  A delay of 0 replaces the queue's own delay too."""
        # The objects are read from the checked text, so that the platform sends exactly what was measured.
        texts = encode_messages(bodies, delay_s)
        messages = [{"body": json.loads(text), "contentType": "json"} for text in texts]
        try:
            await self._binding.sendBatch(messages, delaySeconds=delay_s)
        except JsException as error:
            raise port_error(str(error.message)) from error

    async def backlog(self) -> int | None:
        """The number of messages that wait; None if the platform does not report it."""
        try:
            metrics = await self._binding.metrics()
        except JsException:
            return None
        count: int | None = metrics.get("backlogCount")
        return count


class DeliveredMessage:
    """`Message` on one message of a delivered batch.  Only the first verdict is sent to the platform."""

    def __init__(self, message: Any) -> None:
        self._message = message
        self._decided = False

    @property
    def id(self) -> str:
        """The id of the message, the same for all its deliveries."""
        return str(self._message.id)

    @property
    def body(self) -> object:
        """The content as it was sent, not checked yet."""
        return self._message.body

    @property
    def attempts(self) -> int:
        """1 on the first delivery."""
        return int(self._message.attempts)

    def ack(self) -> None:
        """The message is handled: do not deliver it again."""
        if not self._decided:
            self._decided = True
            self._message.ack()

    def retry(self, delay_s: int) -> None:
        """Deliver the message again, at least this many seconds later.  Raises `Refused` for a wrong delay."""
        check_delay(delay_s)
        if not self._decided:
            self._decided = True
            self._message.retry(delaySeconds=delay_s)


def port_error(message: str) -> PortError:
    """The error of the port for an error of Queues, with its own text: `Cause (10206)`."""
    code = _CODE.search(message)
    return Refused(message) if code and int(code[1]) in _REFUSED else Unavailable(message)
