"""Hostile text, numbers and bodies of requests."""

from __future__ import annotations

from typing import Final

PLAIN: Final = {
    "SQL": "'; DROP TABLE tasks; -- \" %_\\ ?1 :name @x $y",
    "HTML": "<script>alert(1)</script>&amp;<!--]]>",
    "emoji": "👩\u200d👩\u200d👧 naïve ß \u202eright to left",
    "lines": "a\r\nb\tc\u2028d",
    "controls": "\x01\x1b[31m\x7f",
    "placeholder": "{{title}} {title} %s {0}",
    "whole plane": "\uffff\U0010ffff",
}
"""Text that is stored unchanged."""

BROKEN: Final = {"NUL": "a\0b", "half a pair": "a\ud800b", "other half": "\udfffb"}
"""Text that a database cannot store unchanged."""

TEXTS: Final = [*PLAIN.values(), *BROKEN.values()]


NUMBERS: Final = [0, -1, 2**31, 2**53 - 1, 2**53, 2**63, 10**400, 1.5, 1e308, "1", "x", None, True, [], {}]
"""Values that are not the id of any row."""


NOT_JSON: Final = {
    "nothing": b"",
    "half": b'{"template":',
    "deep list": b"[" * 10_000 + b"]" * 10_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep and open": b"[" * 100_000,
    "NaN": b'{"template":NaN}',
    "Infinity": b"[Infinity]",
    "1e999": b'{"template":1e999}',
    "twice": b'{"template":1,"template":2}',
    "twice, inside": b'[{"input":{"a":{"b":1,"b":1}}}]',
    "5,000 digits": b"9" * 5_000,
    "two values": b"{} {}",
    "Latin-1": b'{"title":"\xe9"}',
    "UTF-16": '{"title":1}'.encode("utf-16"),
    "UTF-8 with two marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "surrogates in UTF-8": b'{"title":"\xed\xa0\x80"}',
    "NUL": b'{"title":"\x00"}',
    "form": b"title=1",
}
