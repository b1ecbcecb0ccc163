"""Measures this worker and well-known queues side by side, each with a worker process and a sending process.

`tests/bench/processes.py` says what is measured.  All of them keep tasks on disk: Redis writes its append-only file
before it answers and flushes it once a second, which is what SQLite does with synchronous=NORMAL, and PostgreSQL
flushes at each commit, as SQLite does with FULL.  All tasks return a result.  A task of a peer has ended when its
function returns, before the peer stores that; a task of this worker when result, cost and live status are stored.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.peers import servers
from tests.bench.processes import OURS, ROOT, Bench, Figures, Peer, measure, seed, tail

PYTHON: Final = ROOT / ".cache" / "peers" / "bin" / "python"
"""The environment that `make bench-peers` makes for the peers, whose packages are not ours."""
RESULT: Final = "task, result"
PEERS: Final = (
    replace(OURS, name="BizQ (SQLite, NORMAL)"),
    replace(OURS, name="BizQ (SQLite, FULL)", synchronous="FULL"),
    Peer("taskiq (Redis list)", "taskiq_redis_list", PYTHON, "redis", keeps=RESULT),
    Peer("SAQ (Redis)", "saq_redis", PYTHON, "redis", keeps=RESULT),
    Peer("huey (Redis)", "huey_redis", PYTHON, "redis", keeps=RESULT),
    Peer("PgQueuer (PostgreSQL)", "pgqueuer_postgres", PYTHON, "postgres", keeps="task, log"),
)


def row(peer: Peer, found: list[Figures]) -> list[str]:
    """A line of the table: medians over the rounds."""
    submit = [statistics.median(figures.submit_ms) for figures in found]
    start = [statistics.median(figures.start_ms) for figures in found]
    late = [tail(figures.start_ms) for figures in found]
    return [
        peer.name,
        peer.keeps,
        f"{statistics.median(submit):.2f}",
        f"{statistics.median(start):.2f} / {statistics.median(late):.2f}",
        f"{statistics.median(figures.noops for figures in found):,.0f}",
        f"{statistics.median(figures.flow for figures in found):,.0f}",
        f"{statistics.median(figures.alone for figures in found):.3f}",
    ]


def main() -> None:
    """Measure every peer whose server is here, in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="a text in the names of the peers to measure")
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if (arguments.only or "").lower() in peer.name.lower()]
    console, found = Console(), defaultdict[str, list[Figures]](list)
    skipped: dict[str, str] = {}
    for number in range(arguments.rounds):
        for peer in peers:
            with console.status(f"round {number + 1} of {arguments.rounds}: {peer.name}"):
                try:
                    found[peer.name].append(run(peer))
                except servers.Missing as missing:
                    skipped[peer.name] = str(missing)
    columns = (
        "keeps",
        "submit one, ms",
        "submit to start, ms",
        "no-op/s",
        "no-op/s, sending",
        "50 ms / asyncio alone",
    )
    table = Table("", *columns)
    for peer in peers:
        if peer.name in found:
            table.add_row(*row(peer, found[peer.name]))
    console.print(table)
    console.print(f"medians of {arguments.rounds} rounds, the peers in turn; submit to start: p50 / p95")
    for name, why in skipped.items():
        console.print(f"skipped {name}: {why}")


def run(peer: Peer) -> Figures:
    """Measure a peer once, with a fresh server and fresh data.  Raises Missing without its server."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=ROOT / ".cache")))
        settings = {}
        if peer.server == "redis":
            settings["BENCH_REDIS"] = stack.enter_context(servers.redis(place))
        elif peer.server == "postgres":
            settings["BENCH_POSTGRES"] = stack.enter_context(servers.postgres(place))
        else:
            seed(place)
        return measure(Bench(peer, place, settings))


if __name__ == "__main__":
    main()
