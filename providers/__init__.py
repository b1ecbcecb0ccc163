"""The registry of adapters, one line each.  `docs/providers.md` has the steps to a new one.

An adapter is imported when a profile first names it: the time to start is limited, and most deployments use a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from consumer.provider import Provider

_CLASSES: Final[dict[str, str]] = {
    "anthropic": "Anthropic",
    "echo": "Echo",
    "gemini": "Gemini",
    "http": "Http",
    "inbox": "Inbox",
    "openai_compatible": "OpenAICompatible",
    "openai_responses": "OpenAIResponses",
    "webhook": "Webhook",
}
"""The class of each adapter, by the name of its module."""


class _Registry(Mapping[str, "Provider"]):
    """Every adapter by its name.  It makes one of each, because an adapter may remember what a server refused."""

    def __init__(self) -> None:
        self._made: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        adapter = _CLASSES[name]
        if name not in self._made:
            self._made[name] = getattr(import_module(f"{__name__}.{name}"), adapter)()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in _CLASSES

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


PROVIDERS: Final[Mapping[str, Provider]] = _Registry()
"""Every adapter by the name that profiles use."""
