"""Strict JSON: NaN, infinities and absurd nesting are refused, and written text fits into every database."""

from __future__ import annotations

import json
import math
import re
from json import encoder
from typing import TYPE_CHECKING, Any, Final

from consumer.core.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_JSON_DEPTH: Final = 200
"""Levels of nesting that JSON may have: far below the point where a Worker's stack overflows."""

_BOXES: Final = (dict, list, tuple)
_BRACKETS: Final = re.compile(r"[\[{]+|[\]}]+")


def _encoder(*, ensure_ascii: bool) -> Callable[[object], str]:
    """A function that writes JSON without spaces.

    `JSONEncoder.encode` makes a new encoder in C for each value, which takes longer than a small value itself.  This
    one is made once, in the same way.  It does not look for a value inside itself: its callers check the nesting."""
    plain = json.JSONEncoder(
        ensure_ascii=ensure_ascii, separators=(",", ":"), allow_nan=False, check_circular=False
    )
    make: Any = getattr(encoder, "c_make_encoder", None)
    if make is None:  # this Python has no encoder in C
        return plain.encode
    texts = encoder.encode_basestring_ascii if ensure_ascii else encoder.encode_basestring
    write = make(None, plain.default, texts, None, ":", ",", False, False, False)  # noqa: FBT003  # they have no names

    def encode(value: object) -> str:
        return "".join(write(value, 0))

    return encode


_encode: Final = _encoder(ensure_ascii=False)
_encode_ascii: Final = _encoder(ensure_ascii=True)


def parse_json(text: str | bytes, field: str = "", *, unique: bool = False) -> Any:  # JSON is any value
    """Read JSON strictly.  Raises BadInput naming `field`: also for NaN, Infinity, 1e999 and absurd nesting.

    A byte order mark in front is left out, because some editors and spreadsheets write one.
    `unique`: refuse a name that occurs twice in an object.  Readers disagree about which of the two counts, so callers
    must not send such values."""
    decoder = _UNIQUE_DECODER if unique else _DECODER
    try:
        text = (text if isinstance(text, str) else text.decode()).removeprefix("\ufeff")
        if nests_too_deeply(text):
            raise BadInput(field, "JSON nested too deeply")
        return decoder.decode(text)
    except RecursionError:
        raise BadInput(field, "JSON nested too deeply") from None
    except ValueError as error:
        raise BadInput(field, f"not valid JSON: {error}") from None


def nests_too_deeply(text: str) -> bool:
    """Whether brackets outside of strings nest deeper than `MAX_JSON_DEPTH`, found by fast string operations.

    It is called before the text is parsed.  In a Worker, thousands of levels overflow a stack that Python does not
    guard, and the whole isolate would end instead of one reply."""
    if text.count("[") + text.count("{") <= MAX_JSON_DEPTH:
        return False
    outside = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    depth = 0
    for run in _BRACKETS.findall(outside):
        depth += len(run) if run[0] in "[{" else -len(run)
        if depth > MAX_JSON_DEPTH:
            return True
    return False


def _refuse_constant(name: str) -> None:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_constant(text[:20])
    return number


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        msg = "a name occurs twice in an object"
        raise ValueError(msg)
    return value


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_UNIQUE_DECODER: Final = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_refuse_twice
)


def dump_json(value: object) -> str:
    """The JSON text of a value, without spaces.  Every database can hold it: half a surrogate pair stays an escape.

    Raises ValueError on NaN and Infinity, and BadInput on absurd nesting."""
    if isinstance(value, _BOXES) and _nests(value):
        raise BadInput("", "JSON nested too deeply")
    try:
        text = _encode(value)
        return text if text.isascii() or clean(text) == text else _encode_ascii(value)
    except RecursionError:
        raise BadInput("", "JSON nested too deeply") from None


def dump_flat(value: object) -> str:
    """As `dump_json`, without the check of the nesting: for rows of plain values, which our own code made."""
    text = _encode(value)
    return text if text.isascii() or clean(text) == text else _encode_ascii(value)


def _nests(value: Any, left: int = MAX_JSON_DEPTH) -> bool:
    """Whether a value nests deeper than `left` levels.  The encoder would overflow the stack as the parser would."""
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, _BOXES) and (left <= 1 or _nests(part, left - 1)):
            return True
    return False


def clean(text: str) -> str:
    """Text that every database can hold: half a surrogate pair becomes a question mark, and NUL becomes U+FFFD."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
