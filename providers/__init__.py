"""The registry of adapters, one line each.  `docs/providers.md` has the steps to a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from providers.echo import Echo
from providers.inbox import Inbox
from providers.openai_compatible import OpenAICompatible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.provider import Provider

_ALL: Final[tuple[Provider, ...]] = (
    Echo(),
    Inbox(),
    OpenAICompatible(),
)

PROVIDERS: Final[Mapping[str, Provider]] = {provider.name: provider for provider in _ALL}
"""Every adapter by the name that profiles use."""
