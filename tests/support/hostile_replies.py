"""Replies that every adapter must handle without an exception."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DEEP = b"[" * 100_000 + b"]" * 100_000
"""In a Worker, parsing this without a limit on nesting kills the isolate."""

HOSTILE_BODIES = {
    "empty": b"",
    "white space": b" \n\t ",
    "html": b"<!DOCTYPE html><html><body>Bad Gateway</body></html>",
    "half": b'{"choices":[{"message":{"content":"{',
    "nan": b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":NaN}}',
    "infinite": b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1e999}}',
    "deep": DEEP,
    "deep in an object": b'{"error":' + DEEP + b"}",
    "not text": bytes(range(256)),
    "utf-16": '{"error":"x"}'.encode("utf-16"),
    "null": b"null",
    "number": b"12345678901234567890123456789012345678901234567890",
    "text": b'"ok"',
    "list": b'[{"error":{"message":"x"}}]',
    "object": b"{}",
    "surrogate": b'{"error":{"message":"\\ud800","code":"\\udc00"}}',
    "much usage": b'{"choices":[{"message":{"content":"x"}}],"usage":{"a":"' + b"b" * 50_000 + b'"}}',
    "deep usage": b'{"choices":[{"message":{"content":"x"}}],"usage":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
    "many digits": b'{"usage":{"prompt_tokens":' + b"9" * 5000 + b"}}",
}

HOSTILE_HEADERS: tuple[Mapping[str, str], ...] = (
    {"retry-after": "-1", "x-should-retry": "maybe"},
    {"retry-after": "Wed, 21888888888888 Oct 2026 07000000000000:28:00 GMT", "x-should-retry": "TRUE"},
    {"retry-after": "1e400", "retry-after-ms": "NaN", "x-should-retry": "true"},
    {"retry-after": "", "retry-after-ms": "", "content-type": "\x00", "x-should-retry": "false"},
    {"retry-after": "٣", "retry-after-ms": "99999999999999999999"},
    {"x-litellm-response-cost": "NaN", "llm_provider-retry-after": "soon"},
    {"x-litellm-response-cost": "-1"},
)

HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1.5, "", "x", "-3", "\x00\n\x1b[31m", [], [None], [[]], {}, {"": None}, {"a": {"b": []}},
)  # fmt: skip


def mutations(value: Any) -> Iterator[Any]:
    """The value with each of its parts, in turn, removed or replaced by each hostile value."""
    yield from HOSTILE_VALUES
    if isinstance(value, dict):
        for key, part in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield from ({**value, key: mutated} for mutated in mutations(part))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from ([*value[:index], mutated, *value[index + 1 :]] for mutated in mutations(part))
