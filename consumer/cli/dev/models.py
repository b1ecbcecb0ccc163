"""The language model of `bizq dev` and `bizq demo`: one that runs here, or any server that speaks OpenAI's API."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from consumer.cli.group import Failure
from consumer.local import model

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from consumer.cli.dev.options import ServeOptions
    from consumer.local.layout import Layout

ELSEWHERE: Final = (
    "use any server that speaks OpenAI's API with --model-url, such as http://127.0.0.1:11434/v1"
)


async def address(stack: AsyncExitStack, layout: Layout, url: str | None) -> str:
    """The address of the model's API: `url`, or without one that of a model that runs until the stack is closed.

    Raises Failure if no model can run here."""
    if url is not None:
        return url
    try:
        return await stack.enter_async_context(model.running(layout.model_log))
    except model.NoModel as error:
        raise Failure(f"{error}: {ELSEWHERE}") from None


def without_missing_examples(options: ServeOptions) -> ServeOptions:
    """The same options, but without the examples if no model can do them.  Then a message explains that."""
    if not options.examples or options.model_url:
        return options
    try:
        model.weights()
    except model.NoModel as error:
        click.echo(f"the examples are left out: {error}; {ELSEWHERE}", err=True)
        return replace(options, examples=False)
    return options
