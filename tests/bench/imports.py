"""Measures what a Worker spends to start: to import what ships, then to handle its first message, request and tick.

Each figure comes from fresh interpreters.  With `--beside DIRECTORY` it measures the product of another checkout too,
in turn, because figures of a shared machine that were not taken in turn cannot be compared.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[2]
CHILD: Final = ROOT / "tests" / "bench" / "first_events.py"
STEPS: Final = ("import", "message", "request", "tick")


def measured(tree: Path, *options: str) -> dict[str, float]:
    """The figures of one fresh interpreter."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", str(CHILD), *options]
    done = subprocess.run(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    trees = [tree.resolve() for tree in (arguments.beside, ROOT) if tree is not None]
    for tree in trees:
        for package in ("consumer", "providers"):
            compileall.compile_dir(tree / package, quiet=2)
    rounds = [[measured(tree) for tree in trees] for _ in range(arguments.rounds)]
    heaps = [measured(tree, "--heap") for tree in trees]
    table = Table("checkout", "modules", *STEPS, "together", "heap after import / all")
    for at, tree in enumerate(trees):
        taken = [one[at] for one in rounds]
        columns = [[one[step] for one in taken] for step in STEPS]
        columns.append([sum(one[step] for step in STEPS) for one in taken])
        table.add_row(
            str(tree),
            f"{taken[0]['modules']:.0f}",
            *(f"{min(column):.1f} / {statistics.median(column):.1f}" for column in columns),
            f"{heaps[at]['import']:,.0f} / {heaps[at]['tick']:,.0f}",
        )
    console = Console()
    console.print(table)
    console.print(f"CPU milliseconds, lowest / median of {arguments.rounds} rounds; heap in KiB")


if __name__ == "__main__":
    main()
