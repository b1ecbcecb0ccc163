"""The commands `dev` and `demo`: their options only, so that `--help` is fast.  Other modules have the programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from consumer.cli.dev.options import ModelServer, ServeOptions
from consumer.cli.group import Failure
from consumer.cli.host import MODEL_NAME
from consumer.cli.options import common

PORT: Final = 8080
DEMO_DATA: Final = Path(".bizq/demo")


@click.command()
@click.option(
    "--runtime",
    type=click.Choice(["local", "workerd"]),
    default="local",
    show_default=True,
    help="workerd: the Worker as it is deployed, in Cloudflare's runtime.  Needs a checkout and `make setup`.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: a free port."
)
@click.option(
    "--public-url",
    help="The address at which people and providers reach this worker, if not on this machine.",
)
@click.option(
    "--profiles",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="BIZQ_PROFILES",
    help="The file of the accounts with providers, in place of profiles.json of the data directory.",
)
@click.option(
    "--model", "with_model", is_flag=True, help="Run a small language model as the profile `local`."
)
@click.option(
    "--model-url", envvar="MODEL_URL", help="A server that speaks OpenAI's API, as the profile `local`."
)
@click.option(
    "--examples",
    is_flag=True,
    help="Begin a new data directory with the organizations, people and templates of examples/, and run their model.",
)
@click.option(
    "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO", show_default=True
)
@common()
def dev(runtime: str, data: Path, *, as_json: bool, **chosen: Any) -> int:
    """Run the worker on this machine until Ctrl-C: HTTP, doorbells, and the tick of cron.

    After the first Ctrl-C it starts nothing new and gives calls in flight 5 s; after the second it ends immediately."""
    options = ServeOptions(**chosen)
    if options.with_model and options.model_url:
        raise Failure("give --model or --model-url, not both")
    if runtime == "workerd":
        from consumer.cli.dev import workerd

        return workerd.run(data / "workerd", options, as_json=as_json)
    from consumer.cli.dev import serve

    return serve.run(data, options, as_json=as_json)


@click.command()
@click.option(
    "--model-url",
    envvar="MODEL_URL",
    help="A server that speaks OpenAI's API (Ollama, vLLM, ...), in place of the local model.",
)
@click.option(
    "--model-name",
    envvar="MODEL_NAME",
    default=MODEL_NAME,
    show_default=True,
    help="The name of the model on that server.",
)
@click.option(
    "--model-key",
    envvar="MODEL_KEY",
    metavar="NAME",
    help="The name of the environment variable that holds that server's key.",
)
@common(DEMO_DATA)
def demo(model_url: str | None, model_name: str, model_key: str | None, data: Path, *, as_json: bool) -> int:
    """See it work: a real model does real tasks of two organizations on this machine."""
    from consumer.cli.dev.demo import run

    return run(data, ModelServer(model_url, model_name, model_key), as_json=as_json)
