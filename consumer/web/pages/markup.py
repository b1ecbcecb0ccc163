"""HTML by construction: all text is escaped except the markup made here, so that no value can inject any."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Final, TypeAlias

from starlette.responses import Response

from consumer.core.strictjson import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Markup(str):
    """HTML."""

    __slots__ = ()


Part: TypeAlias = "str | Markup | Iterable[Part] | None"

_VOID: Final = frozenset({"input", "meta", "br"})
_FIRST_LINE_LOST: Final = frozenset({"textarea", "pre"})
"""A browser drops a line break directly after these tags, so `element` writes one more."""

STYLE: Final = Markup(
    ":root{color-scheme:light dark;--line:#767676;--soft:#f1f3f5;--bad:#b3001b;--link:#0b57d0;--on:#fff}"
    "@media(prefers-color-scheme:dark){:root{--soft:#23272b;--bad:#ff8a80;--link:#8ab4f8;--on:#111}}"
    "*{box-sizing:border-box}"
    "body{font:1rem/1.5 system-ui,sans-serif;margin:0}"
    "main{max-width:42rem;margin:0 auto;padding:1rem;overflow-wrap:break-word}"
    "h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2rem}"
    ".text,pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    "pre,.box{background:var(--soft);padding:.75rem;border-radius:.25rem;margin:0}"
    "dt{font-weight:600}dd{margin:0 0 .75rem}"
    ".field{margin:1.25rem 0;padding:0;border:0}"
    ".field>label,legend{display:block;font-weight:600;padding:0}"
    ".hint{opacity:.8;margin:0}.error{color:var(--bad);font-weight:600;margin:0}"
    ".wrong{border-left:.3rem solid var(--bad);padding-left:.75rem}"
    "input:not([type=radio],[type=checkbox]),select,textarea{font:inherit;width:100%;padding:.5rem;"
    "border:1px solid var(--line);border-radius:.25rem;min-height:2.75rem}"
    ".option{display:flex;gap:.6rem;align-items:flex-start;padding:.35rem 0}"
    ".option input{width:1.3rem;height:1.3rem;margin:.1rem 0;flex:none}"
    "button{font:inherit;font-weight:600;padding:.6rem 1.1rem;min-height:2.75rem;border-radius:.25rem;"
    "border:2px solid var(--link);background:none;color:var(--link);margin:.5rem .5rem 0 0;cursor:pointer}"
    "button.main{background:var(--link);color:var(--on)}"
    ":focus-visible{outline:3px solid #f5a300;outline-offset:2px}"
    "a{color:var(--link)}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
}
"""Headers of a page, in addition to those of every response."""


def element(tag: str, /, *children: Part, **attributes: str | bool | None) -> Markup:
    """An element.  `class_` writes the attribute `class`, `aria_label` writes `aria-label`.

    An attribute that is None or False is not written; one that is True is written without a value."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    first = "\n" if tag in _FIRST_LINE_LOST else ""
    return Markup(f"<{tag}{written}>{first}{join(children)}</{tag}>")


def join(parts: Iterable[Part]) -> Markup:
    """Parts one after the other; None adds nothing."""
    return Markup("".join(_text(part) for part in parts))


def _text(part: Part) -> str:
    if part is None:
        return ""
    if isinstance(part, Markup):
        return part
    return escape(clean(part)) if isinstance(part, str) else join(part)


def _attribute(key: str, value: str | bool | None) -> str:  # noqa: FBT001  # an attribute such as `required` is present or absent
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(clean(value))}"'


def page(title: str, *content: Part, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A whole page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="robots", content="noindex, nofollow"),
        element("title", f"{title} - BizQ"),
        element("style", STYLE),
    )
    body = element("body", element("main", *content))
    html = join([Markup("<!doctype html>\n"), element("html", head, body, lang="en")])
    return Response(html, status, {**(headers or {}), **HEADERS}, "text/html")
