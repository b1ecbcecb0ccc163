"""What every command has: the data directory, and output for people or for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

F = TypeVar("F", bound="Callable[..., Any]")

DATA: Final = Path(".bizq")
TASK: Final = click.IntRange(1, 2**53 - 2)
"""A task's id."""


def common(default: Path = DATA) -> Callable[[F], F]:
    """`--data` and `--json`."""

    def add(command: F) -> F:
        command = json_option(command)
        return click.option(
            "--data",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="BIZQ_DATA",
            default=default,
            show_default=True,
            help="The data directory; BIZQ_DATA says it too.",
        )(command)

    return add


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def say(value: object, words: str, *, as_json: bool) -> None:
    """Print a result: JSON in one line, or words."""
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else words)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns that stand in line; what is None is a dash."""
    cells = [[*heads], *[["-" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)
