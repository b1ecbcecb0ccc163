"""The options that commands share, and their output for people or for programs."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from consumer.cli.group import Failure, target_options
from consumer.cli.target import DATA, LOOPBACK, Remote, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

F = TypeVar("F", bound="Callable[..., Any]")

TASK: Final = click.IntRange(1, 2**53 - 2)
"""A task's id."""


def common(default: Path = DATA) -> Callable[[F], F]:
    """`--data` and `--json`, for a command that works only on this machine.  The command gets `data`."""

    def add(command: F) -> F:
        @functools.wraps(command)
        def run(*args: Any, data: Path, target_url: str | None, **options: Any) -> Any:
            if _target_url(target_url) is not None:
                name = click.get_current_context().command_path
                raise Failure(
                    f"`{name}` works on this machine only, not over HTTP: omit --target and BIZQ_TARGET, or "
                    "name the data directory with --data"
                )
            _remember(Target(data))
            return command(*args, data=data, **options)

        hidden = click.option("--target", "target_url", hidden=True, help="Only for a clear error.")
        return data_option(default)(json_option(hidden(run)))  # type: ignore[return-value]

    return add


def anywhere(command: F) -> F:
    """`--data`, `--target`, `--key`, `--key-file` and `--json`, for a command that works here and over HTTP.

    The command gets `target`."""

    @functools.wraps(command)
    def run(
        *args: Any,
        data: Path,
        target_url: str | None,
        target_key: str | None,
        target_key_file: Path | None,
        **options: Any,
    ) -> Any:
        url = _target_url(target_url)
        remote = None if url is None else _remote(url, target_key, target_key_file)
        return command(*args, target=_remember(Target(data, remote)), **options)

    return data_option(DATA)(target_options(json_option(run)))  # type: ignore[return-value]


def _remember(target: Target) -> Target:
    """Keep the target where hints find it: `consumer.cli.target.command`."""
    click.get_current_context().find_root().obj = target
    return target


def data_option(default: Path) -> Callable[[F], F]:
    """`--data`."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="BIZQ_DATA",
        default=default,
        show_default=True,
        help="The data directory; also BIZQ_DATA.",
    )


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def _target_url(own: str | None) -> str | None:
    """The address: an option goes before the environment.  Raises Failure if --data was given as well."""
    context = click.get_current_context()
    given = own or _of_program("target_url")
    typed_data = context.get_parameter_source("data") is ParameterSource.COMMANDLINE
    if given is not None and typed_data:
        raise Failure("give --target or --data, not both")
    return given or (None if typed_data else os.environ.get("BIZQ_TARGET") or None)


def _of_program(name: str) -> Any:
    """An option that stands before the name of the command."""
    return click.get_current_context().find_root().params.get(name)


def _remote(url: str, own_key: str | None, own_file: Path | None) -> Remote:
    """The worker at an address, with the API key: an option goes before the environment.  Raises Failure, OSError."""
    key = own_key or _of_program("target_key")
    file = own_file or _of_program("target_key_file")
    if key is not None and file is not None:
        raise Failure("give --key or --key-file, not both")
    if file is not None:
        key = file.read_text(encoding="utf-8-sig").strip()
    key = key or os.environ.get("BIZQ_KEY") or None
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise Failure("the API key is not valid: a key is a single word that begins with bizq_")
    return Remote(_checked(url), key, file)


def _checked(url: str) -> str:
    """The address without a slash at its end.  Raises Failure if it is not one, or if it would send the key
    unencrypted."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Failure(f"--target: {url} is not an address such as https://tasks.example.com")
    if parts.username is not None:
        raise Failure("--target: the address holds a user's name; the key goes into BIZQ_KEY or --key-file")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise Failure(f"--target: {url} would send the key unencrypted: use https")
    return url.rstrip("/")


def say(value: object, words: str, *, as_json: bool) -> None:
    """Print a result: JSON in one line, or words."""
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else words)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns.  None is shown as a dash."""
    cells = [[*heads], *[["-" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)
