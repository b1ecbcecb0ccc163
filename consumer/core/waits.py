"""The wait that a server asks for, in milliseconds, in every form in which servers write it.

The first of these that can be read counts:

    1. a header that states the wait for this request: `retry-after-ms`, `retry-after` (seconds, a duration or a date);
       LiteLLM puts `llm_provider-` in front of the headers of the server behind it
    2. a field of the error: `details[].retryDelay` (Google), `retry_after` and its like
    3. the sentence "try again in 7.6s" in the error's message (OpenAI, Groq, Azure)
    4. the headers that say when a limit is full again: `x-ratelimit-reset-requests` (OpenAI, Groq), `ratelimit-reset`,
       `anthropic-ratelimit-tokens-reset`, OpenRouter's `x-ratelimit-reset`, which it also puts into the error
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"(?:\d{1,9}(?:\.\d{1,12})?(?:ms|[smhd])){1,5}", re.ASCII)
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)(ms|[smhd])", re.ASCII)
_SENTENCE: Final = re.compile(
    r"\b(?:try again|retry) (?:in|after) (?:about )?(\d{1,9}(?:\.\d{1,12})?) ?"
    r"(ms|milliseconds?|s|seconds?|m|minutes?|h|hours?)(?:(\d{1,2}(?:\.\d{1,12})?)s)?\b",
    re.ASCII | re.IGNORECASE,
)
_PREFIX: Final = "llm_provider-"
_FIELDS: Final = ("retryDelay", "retry_delay", "retry_after", "retryAfter", "retry_after_seconds")
_FIELDS_MS: Final = ("retry_after_ms", "retryAfterMs")
_EPOCH_S: Final = 1_000_000_000
"""A number from here on is a time since 1970 in seconds, and from a thousand times this in milliseconds."""
_MAX_DEPTH: Final = 6


def asked_wait_ms(headers: Mapping[str, str], body: Any, now_ms: int) -> int | None:
    """The wait that a refusal asks for, from `now_ms`; None if it asks for none.  `body`: its JSON value, or None."""
    named = {name.removeprefix(_PREFIX): value for name, value in headers.items()}
    exact = _number(named.get("retry-after-ms"))
    if exact is not None:
        return int(exact)
    found = _read(named.get("retry-after"), now_ms)
    if found is None:
        found = next(_in_fields(body, now_ms), None)
    if found is None:
        found = next(_in_sentences(body), None)
    return _at_reset({**_headers_in(body), **named}, now_ms) if found is None else found


def _read(value: Any, now_ms: int) -> int | None:
    """Seconds, a duration such as `6m0s`, a time since 1970, a date, or an object of seconds and nanos."""
    if isinstance(value, dict):
        return _read(value.get("seconds", 0 if "nanos" in value else None), now_ms)
    number = _number(value)
    if number is not None:
        if number >= _EPOCH_S * 1000:
            return max(0, int(number) - now_ms)
        return max(0, int(number * 1000) - now_ms) if number >= _EPOCH_S else int(number * 1000)
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        return None
    text = value.strip()
    if _DURATION.fullmatch(text):
        return int(sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)))
    return _until(text, now_ms)


def _until(text: str, now_ms: int) -> int | None:
    """The time until a date, of HTTP or of RFC 3339."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = parse(text)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            return max(0, int((date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000) - now_ms)
        except (ValueError, OverflowError, TypeError):
            continue
    return None


def _number(value: Any) -> float | None:
    """A number of at most 15 digits that is not negative, also as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value < 10**15 else None
    if not isinstance(value, str) or len(value) >= 16:
        return None
    text = value.strip()
    return float(text) if text.isascii() and text.replace(".", "", 1).isdecimal() else None


def _in_fields(body: Any, now_ms: int, depth: int = 0) -> Iterator[int]:
    """The waits in the fields of an error, at whatever depth its server puts them."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(body, dict):
        for name in _FIELDS_MS:
            if (exact := _number(body.get(name))) is not None:
                yield int(exact)
        for name in _FIELDS:
            if (found := _read(body.get(name), now_ms)) is not None:
                yield found
    for part in _parts(body):
        yield from _in_fields(part, now_ms, depth + 1)


def _in_sentences(body: Any, depth: int = 0) -> Iterator[int]:
    """The waits in the words of an error's message."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(body, dict) and isinstance(message := body.get("message"), str):
        for amount, unit, seconds in _SENTENCE.findall(message[:4_000]):
            size = _UNITS["ms" if unit.lower().startswith(("ms", "mil")) else unit[0].lower()]
            yield int(float(amount) * size + float(seconds or 0) * 1000)
    for part in _parts(body):
        yield from _in_sentences(part, depth + 1)


def _parts(body: Any) -> list[Any]:
    values = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return [value for value in values if isinstance(value, dict | list)][:20]


def _headers_in(body: Any) -> dict[str, str]:
    """The headers of the server behind OpenRouter, which it puts into its error."""
    for key in ("error", "metadata", "headers"):
        body = body[0] if isinstance(body, list) and body else body
        body = body.get(key) if isinstance(body, dict) else None
    found = body if isinstance(body, dict) else {}
    return {str(name).lower(): str(value) for name, value in found.items()}


def _at_reset(headers: Mapping[str, str], now_ms: int) -> int | None:
    """When the limit that was reached is full again: the last of those with nothing remaining, else the first."""
    spent: list[int] = []
    others: list[int] = []
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        wait = _read(value, now_ms)
        if wait is not None:
            nothing_left = _number(headers.get(name.replace("reset", "remaining"))) == 0
            (spent if nothing_left else others).append(wait)
    return max(spent) if spent else min(others, default=None)
