"""Processes that work on one data directory: the one that starts alone takes back what dead ones held."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from consumer.cli.host import OpenOptions, opened
from consumer.local.layout import Layout
from consumer.local.presence import present
from consumer.ports import Statement

HOLD = """
import sys, pathlib
from consumer.local.presence import present
with present(pathlib.Path(sys.argv[1]), lambda: print("alone", flush=True)):
    print("present", flush=True)
    sys.stdin.read()
"""


def test_only_a_process_without_living_others_is_alone(tmp_path: Path) -> None:
    lock, found = tmp_path / "lock", []
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert [holder.stdout.readline(), holder.stdout.readline()] == ["alone\n", "present\n"]
        with present(lock, lambda: found.append("beside a living one")):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with present(lock, lambda: found.append("after its death")):
            pass
    finally:
        holder.kill()
        holder.communicate()
    assert found == ["after its death"]


async def test_a_worker_that_starts_alone_ends_the_leases_of_dead_ones(tmp_path: Path) -> None:
    layout, working = Layout(tmp_path / "data"), OpenOptions(create=True, working=True)
    insert = Statement(
        "INSERT INTO leases (token, until_ms, task_ids) VALUES (?1, 9000000000000, '[]')", ("x",)
    )
    lease = Statement("SELECT until_ms FROM leases")
    async with opened(layout, working) as first:
        await first.world.write(insert)
        async with opened(layout, working) as second:
            assert [row["until_ms"] for row in await second.world.rows(lease)] == [9_000_000_000_000]
    async with opened(layout, OpenOptions()) as reader:
        assert [row["until_ms"] for row in await reader.world.rows(lease)] == [9_000_000_000_000]
    async with opened(layout, working) as third:
        assert [row["until_ms"] for row in await third.world.rows(lease)] == [0]
