"""`bizq dev --runtime workerd`: what a developer runs, asked over HTTP by `bizq --target`, killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.stage import ROOT
from tests.workerd.toolchain import Toolchain

pytestmark = [pytest.mark.workerd, pytest.mark.heavy, pytest.mark.xdist_group("workerd")]

BIZQ = [sys.executable, "-m", "consumer"]
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
FINAL = {"completed", "failed", "cancelled"}


def template(name: str, delay_ms: int) -> dict[str, Any]:
    candidate = {"profile": "echo", "settings": {"delay_ms": delay_ms}}
    stage = {"kind": "ai", "candidates": [candidate]}
    return {"name": name, "output_schema": SCHEMA, "route": {"stages": [stage]}}


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("BIZQ_TARGET")} | more


@dataclass
class Running:
    """The process, and what it said when it was ready."""

    process: subprocess.Popen[str]
    said: Mapping[str, Any]

    def kill(self) -> None:
        """End both process groups at once, as a machine that loses power does."""
        for group in (self.process.pid, int(self.said["pid"])):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.process.wait()

    def cli(self, *args: object, key: str = "admin_key") -> Any:
        """Call `bizq` with the target and a key; gives its JSON."""
        command = [
            *BIZQ,
            *map(str, args),
            "--json",
            "--target",
            self.said["url"],
            "--key-file",
            self.said[key],
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()][-1]

    def submit(self, folder: Path, name: str, count: int) -> list[int]:
        file = folder / f"{name}.jsonl"
        rows = [{"template": name, "title": f"{name} {number}"} for number in range(count)]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return [one["id"] for one in self.cli("submit", file)]


@contextlib.contextmanager
def dev(data: Path) -> Iterator[Running]:
    """The running Worker, in a process group of its own."""
    command = [*BIZQ, "dev", "--runtime", "workerd", "--port", "0", "--json", "--data", str(data)]
    log = data.parent / "log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )
    assert process.stdout is not None
    said: dict[str, Any] = {"pid": process.pid}
    try:
        line = process.stdout.readline()
        said = json.loads(line or "{}")
        assert "url" in said, line + log.read_text()
        yield Running(process, said)
    finally:
        Running(process, {"pid": process.pid, **said}).kill()
        process.stdout.close()


def let_leases_end(data: Path) -> int:
    """Let the five minutes pass that a lost worker is waited for, in the files of D1; gives how many tasks it had."""
    (file,) = [path for path in (data / "workerd" / "d1").rglob("*.sqlite") if path.name != "metadata.sqlite"]
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        found = database.execute("SELECT task_ids FROM leases").fetchall()
        database.execute("UPDATE leases SET until_ms = 0")
    return sum(len(json.loads(tasks)) for (tasks,) in found)


def test_killing_it_loses_no_task(toolchain: Toolchain, tmp_path: Path) -> None:
    """Five tasks are done; a machine that loses power in the middle of twenty more does them when it is back."""
    del toolchain  # without Node there is nothing to start
    data = tmp_path / "data"
    with dev(data) as first:
        for name in ("admin_key", "operator_key"):
            assert stat.S_IMODE(Path(first.said[name]).stat().st_mode) == 0o600
        for name, delay_ms in (("quick", 0), ("slow", 1_500)):
            file = tmp_path / f"{name}.json"
            file.write_text(json.dumps(template(name, delay_ms)))
            assert first.cli("template", "put", file)["created"] is True
        quick = first.submit(tmp_path, "quick", 5)
        assert [first.cli("watch", task, "--timeout", "60")["status"] for task in quick] == ["completed"] * 5
        slow = first.submit(tmp_path, "slow", 20)
        in_the_middle(first)
        first.kill()
    assert let_leases_end(data) > 0
    with dev(data) as second:
        assert second.cli("show", quick[0])["task"]["outcome"] == {"title": "quick 0"}
        ended = until_all_have_ended(second)
        assert ended == {"completed": len(quick) + len(slow)}
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(30) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(int(second.said["pid"]), 0)


def in_the_middle(running: Running) -> None:
    """Return when some of the slow tasks are being done."""
    end = time.monotonic() + 60
    while "running" not in running.cli("status")["tasks"]:
        assert time.monotonic() < end


def until_all_have_ended(running: Running) -> dict[str, int]:
    """Tick until no task is left, and count them."""
    end = time.monotonic() + 150
    while True:
        running.cli("tick", key="operator_key")
        counts: dict[str, int] = running.cli("status")["tasks"]
        if counts.keys() <= FINAL:
            return counts
        assert time.monotonic() < end, counts


def test_two_do_not_share_a_directory(toolchain: Toolchain, tmp_path: Path) -> None:
    from consumer.cli.group import Failure
    from consumer.cli.workerd import alone

    del toolchain
    with alone(tmp_path), pytest.raises(Failure, match="another `bizq dev` works in"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_without_the_checkout_it_says_what_is_missing(tmp_path: Path) -> None:
    from consumer.cli.group import Failure
    from consumer.cli.workerd import check_checkout

    with pytest.raises(Failure, match="needs a checkout of the repository"):
        check_checkout(tmp_path)


def test_without_node_it_says_so(tmp_path: Path) -> None:
    """In one line, and nothing is left running."""
    command = [*BIZQ, "dev", "--runtime", "workerd", "--port", "0", "--data", str(tmp_path / "data")]
    env = environment(BIZQ_NODE_MODULES=str(tmp_path))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=env,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1
    assert "the npm package miniflare is not in" in done.stderr
    assert len(done.stderr.splitlines()) == 1
