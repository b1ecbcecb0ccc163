"""The limits of the ports, as checks that every host makes before it sends a request.  Each raises `Refused`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from consumer.ports import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    MAX_DELAY_S,
    MAX_INTEGER,
    MAX_KEY_BYTES,
    MAX_KV_VALUE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PARAMETERS,
    MAX_SQL_BYTES,
    MAX_VALUE_BYTES,
    MIN_TTL_S,
    Refused,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Statement


def check_batch(statements: Sequence[Statement]) -> None:
    """Check that a batch has a statement, and that each statement keeps D1's limits."""
    if not statements:
        raise Refused("a batch needs at least one statement")
    for statement in statements:
        if not statement.sql.strip():
            raise Refused("a statement without SQL")
        if size(statement.sql) > MAX_SQL_BYTES:
            raise Refused(f"a statement is at most {MAX_SQL_BYTES} bytes of SQL")
        if len(statement.parameters) > MAX_PARAMETERS:
            raise Refused(f"a statement has at most {MAX_PARAMETERS} parameters")
        for number, value in enumerate(statement.parameters, start=1):
            if problem := unbindable(value):
                raise Refused(f"parameter {number} cannot be bound: {problem}")


def unbindable(value: object) -> str | None:
    """The reason why D1 would refuse a value or would silently store another one; None if it is a `Value`.

    Types are compared exactly, because a bool would become a number, and JavaScript may change a subclass.
    """
    if type(value) is str:
        return None if size(value) <= MAX_VALUE_BYTES else f"more than {MAX_VALUE_BYTES} bytes of text"
    if type(value) is int:
        return None if -MAX_INTEGER <= value <= MAX_INTEGER else f"{value} is beyond 2^53 - 2"
    if type(value) is float:
        return None if math.isfinite(value) else f"{value} is not a finite number"
    return None if value is None else f"type {type(value).__name__}"


def check_key(key: str) -> None:
    """Check the key of a blob."""
    if type(key) is not str or not 0 < size(key) <= MAX_KEY_BYTES:
        raise Refused(f"a key is text of 1 to {MAX_KEY_BYTES} bytes: {key!r:.80}")


def check_status_key(key: str) -> None:
    """Check a key of the status store, where it becomes a part of a path."""
    check_key(key)
    if key in {".", ".."}:
        raise Refused(f"a key of the status store may not be {key!r}")


def check_value(value: str, ttl_s: int | None) -> None:
    """Check a value of the status store and its time to live."""
    if type(value) is not str or size(value) > MAX_KV_VALUE_BYTES:
        raise Refused(f"a value is text of at most {MAX_KV_VALUE_BYTES} bytes")
    if ttl_s is not None and (type(ttl_s) is not int or ttl_s < MIN_TTL_S):
        raise Refused(f"a time to live is a whole number of at least {MIN_TTL_S} seconds: {ttl_s!r}")


def check_blob(value: bytes) -> None:
    """Check the content of a blob."""
    if type(value) is not bytes:
        raise Refused(f"a blob is bytes, not {type(value).__name__}")


def check_delay(delay_s: int) -> None:
    """Check the delay of a message in seconds."""
    if type(delay_s) is not int or not 0 <= delay_s <= MAX_DELAY_S:
        raise Refused(f"a delay is a whole number of 0 to {MAX_DELAY_S} seconds: {delay_s!r}")


def encode_messages(bodies: Sequence[Mapping[str, object]], delay_s: int) -> list[str]:
    """Check the messages of one `send`, and encode them as JSON."""
    check_delay(delay_s)
    if not 0 < len(bodies) <= MAX_BATCH_MESSAGES:
        raise Refused(f"one send takes 1 to {MAX_BATCH_MESSAGES} messages, not {len(bodies)}")
    texts = [_encode(body) for body in bodies]
    sizes = [size(text) for text in texts]
    if max(sizes) > MAX_MESSAGE_BYTES:
        raise Refused(f"a message is at most {MAX_MESSAGE_BYTES} bytes, not {max(sizes)}")
    if sum(sizes) > MAX_BATCH_BYTES:
        raise Refused(f"the messages of one send are at most {MAX_BATCH_BYTES} bytes, not {sum(sizes)}")
    return texts


def size(text: str) -> int:
    """The number of bytes of a text in UTF-8.  Refuses text that is not valid Unicode, which cannot be stored."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise Refused("text must be valid Unicode") from None


def _encode(body: Mapping[str, object]) -> str:
    if not isinstance(body, Mapping):
        raise Refused(f"a message is a JSON object, not {type(body).__name__}")
    plain = dict(body)
    try:
        _check_plain(plain)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise Refused("a message is nested too deeply") from None


def _check_plain(value: object) -> None:
    """Refuse values that Python writes as JSON and JavaScript would change."""
    if type(value) is dict:
        for name, item in value.items():
            if type(name) is not str:
                raise Refused(f"a field name in a message must be text: {name!r:.80}")
            _check_plain(item)
    elif type(value) is list:
        for item in value:
            _check_plain(item)
    elif type(value) is not bool and (problem := unbindable(value)):
        raise Refused(f"a message is plain JSON: {problem}")
