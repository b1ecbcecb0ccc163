"""The other pages: a refusal for people, the home page, and the list of error types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.web.pages.markup import element, page
from consumer.web.problems import INTERNAL, KINDS, NO_METHOD, Refusal

if TYPE_CHECKING:
    from starlette.responses import Response


def refused(refusal: Refusal) -> Response:
    """A refusal for people."""
    advice = (
        "Go back in your browser and try again. Your text is still there."
        if refusal.kind.status >= 500
        else None
    )
    return page(
        refusal.kind.title,
        element("h1", refusal.kind.title),
        element("p", f"{refusal.detail[:1].upper()}{refusal.detail[1:]}.".replace("..", "."), dir="auto"),
        element("p", advice) if advice else None,
        status=refusal.kind.status,
        headers=refusal.headers,
    )


def home() -> Response:
    """The page that says what this is."""
    return page(
        "Task worker",
        element("h1", "BizQ Task Worker"),
        element(
            "p",
            "AI models and people do tasks here. To see one, you need a link or a key.",
        ),
        element(
            "ul",
            element("li", element("a", "API description", href="/openapi.json")),
            element("li", element("a", "Error types", href="/problems")),
            element("li", element("a", "Health check", href="/healthz")),
        ),
    )


def error_types() -> Response:
    """Every error type, where the `type` of a problem document leads."""
    kinds = sorted([*KINDS.values(), NO_METHOD, INTERNAL], key=lambda kind: (kind.status, kind.name))
    return page(
        "Error types",
        element("h1", "Error types"),
        element(
            "dl",
            *(
                (element("dt", f"{kind.status} {kind.title}", id=kind.name), element("dd", kind.advice))
                for kind in kinds
            ),
        ),
    )
