"""The command `providers`: the adapters of this installation, one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from consumer.cli.options import json_option, say, table

if TYPE_CHECKING:
    from consumer.provider import Provider

_HEADS: Final = (
    *("adapter", "kind", "modes", "structured output", "lost call", "cancel", "price", "limits", "webhooks"),
    *("inputs", "tried"),
)


@click.command()
@json_option
def providers(*, as_json: bool) -> None:
    """The adapters that profiles can name: how each of them works, and what it was tried against."""
    from providers import PROVIDERS

    rows = [_row(provider) for provider in PROVIDERS.values()]
    value = {
        "providers": [
            dict(zip((head.replace(" ", "_") for head in _HEADS), row, strict=True)) for row in rows
        ]
    }
    say(value, table(_HEADS, rows), as_json=as_json)


def _row(provider: Provider) -> tuple[Any, ...]:
    about, abilities = provider.about, provider.abilities
    waits = provider.kind == "human"
    modes = ["assignment"] if waits else ["sync"]
    modes += ["poll"] if abilities.poll else []
    modes += ["webhook"] if abilities.webhook else []
    return (
        provider.name,
        provider.kind,
        ", ".join(modes),
        about.structured,
        _lost_call(provider),
        "yes" if abilities.cancel else "no",
        about.price,
        about.limits,
        about.webhooks if abilities.webhook else "none",
        about.inputs,
        about.tried,
    )


def _lost_call(provider: Provider) -> str:
    """What resolves a call whose reply was lost."""
    abilities = provider.abilities
    if not provider.needs_base_url and provider.kind == "human":
        return "cannot be lost"
    if abilities.honours_key:
        return "repeated under its key"
    if abilities.lookup:
        return "looked up by its key"
    return (
        "reported by a webhook" if abilities.evidence else "limits.unknown of the template: no key, no lookup"
    )
