"""The progress of tasks on a terminal: a table that changes, or a line from time to time."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumer.core.money import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

LINE_EVERY_MS: Final = 5_000
"""Milliseconds between two lines, if the output is not a terminal."""
FRAME_LINES: Final = 6
"""Lines of the table that are not rows."""

_STYLES: Final = {
    "pending": "dim",
    "running": "bold yellow",
    "waiting": "cyan",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "dim strike",
}
_FIRST: Final = ("running", "failed", "waiting", "pending", "completed", "cancelled")
"""The order in which states are shown if not all rows fit."""


def counted(rows: Sequence[Mapping[str, Any]]) -> str:
    """`12 completed, 2 running, 14 pending`."""
    counts = Counter(str(row["status"]) for row in rows)
    return ", ".join(f"{counts[name]} {name}" for name in _STYLES if counts[name])


_WIDTHS: Final = {
    "task": 5,
    "organization": 16,
    "template": 19,
    "title": 0,
    "state": 9,
    "profile": 8,
    "attempts": 8,
    "cost": 9,
}
"""The width of each column in characters.  The title takes the rest."""
_NARROW: Final = (80, ("organization", "template"))
_MIDDLE: Final = (110, ("organization",))
"""Columns that are omitted up to this width of the terminal."""


def columns(width: int) -> dict[str, int]:
    """The columns that fit, with their widths."""
    omitted = next((names for limit, names in (_NARROW, _MIDDLE) if width <= limit), ())
    chosen = {name: size for name, size in _WIDTHS.items() if name not in omitted}
    spaces = 2 * len(chosen) - 1
    return chosen | {"title": max(10, width - spaces - sum(chosen.values()))}


def pictured(rows: Sequence[Mapping[str, Any]], width: int, height: int) -> Table:
    """One row for each task, as many as fit."""
    table = Table(title=counted(rows), title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    chosen = columns(width)
    for head, size in chosen.items():
        right = head in {"attempts", "cost"}
        table.add_column(
            head, width=size, no_wrap=True, overflow="ellipsis", justify="right" if right else "left"
        )
    for row in fitting(rows, max(1, height - FRAME_LINES)):
        table.add_row(*(_cell(row, name) for name in chosen))
    if len(rows) > table.row_count:
        table.caption = f"and {len(rows) - table.row_count} more"
    return table


def fitting(rows: Sequence[Mapping[str, Any]], room: int) -> list[Mapping[str, Any]]:
    """The most interesting rows, in order of their tasks."""
    ordered = sorted(rows, key=lambda row: _FIRST.index(row["status"]))[:room]
    return sorted(ordered, key=lambda row: int(row["id"]))


def _cell(row: Mapping[str, Any], name: str) -> Text:
    if name == "cost":
        return Text("" if row["cost_micro"] is None else show(row["cost_micro"]))
    if name == "state":
        return Text(str(row["status"]), _STYLES[row["status"]])
    value = row["id" if name == "task" else name]
    return Text(str(value or ""))


class Progress:
    """Shows the rows of tasks as they change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._printed = ""
        self._printed_ms = 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw at each `update` while this is open.  The last picture stays."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as self._live:
            yield
        self._live = None

    def update(self, rows: Sequence[Mapping[str, Any]], now_ms: int, *, last: bool = False) -> None:
        """Draw the rows.  Without a terminal, print the counts if they changed and `LINE_EVERY_MS` have passed."""
        if self._live is not None:
            self._live.update(pictured(rows, self._console.width, self._console.height), refresh=True)
            return
        line = counted(rows)
        if line != self._printed and (last or now_ms - self._printed_ms >= LINE_EVERY_MS):
            self._printed, self._printed_ms = line, now_ms
            self._console.print(f"  {line}", highlight=False, soft_wrap=True)
