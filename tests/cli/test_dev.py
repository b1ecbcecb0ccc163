"""`bizq dev` as a process: it serves, works, and ends as Ctrl-C asks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from consumer.cli.dev import models
from consumer.cli.dev.options import ServeOptions
from consumer.cli.host import EXAMPLES
from consumer.local import model
from consumer.local.layout import Layout
from tests.cli.conftest import ECHO, Cli, put, submit
from tests.cli.test_commands import sql

BIZQ = [sys.executable, "-m", "consumer"]


@contextmanager
def dev(data: Path, *args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running process and its URL."""
    command = [*BIZQ, "dev", "--port", "0", "--json", "--log-level", "WARNING", "--data", str(data), *args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield process, json.loads(line)["url"]
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], *signals: signal.Signals) -> tuple[int, str]:
    """Send signals, each after the message of the process about the one before."""
    assert process.stderr is not None
    output = ""
    for index, number in enumerate(signals, 1):
        process.send_signal(number)
        output += process.stderr.readline() if index < len(signals) else ""
    _, rest = process.communicate(timeout=30)
    return process.returncode, output + rest


def until(data: Path, task: int, status: str) -> None:
    """Wait until a task has come to a status, by reading what `watch` prints."""
    command = [*BIZQ, "watch", str(task), "--json", "--timeout", "30", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        seen = [json.loads(line)["status"] for line in iter_until(watching.stdout, status)]
        watching.kill()
    assert seen[-1] == status


def iter_until(lines: Any, status: str) -> Iterator[str]:
    for line in lines:
        yield line
        if json.loads(line)["status"] == status:
            return


def slow(milliseconds: int) -> dict[str, Any]:
    candidate = {"profile": "echo", "settings": {"delay_ms": milliseconds}}
    return ECHO | {"name": "slow", "route": {"stages": [{"kind": "ai", "candidates": [candidate]}]}}


def test_it_serves_and_works(cli: Cli, tmp_path: Path) -> None:
    with dev(cli.data) as (process, url):
        assert httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200
        submit(
            cli, tmp_path, {"template": "echo-title", "title": "Hello"}, {"template": "ask", "title": "Yes?"}
        )
        until(cli.data, 1, "completed")
        until(cli.data, 2, "waiting")
        (waiting,) = cli.json("inbox")
        assert waiting["link"].startswith(f"{url}/inbox/")
        assert httpx2.get(waiting["link"], trust_env=False).status_code == 200
        assert cli.json("show", "1")["task"]["outcome"] == {"title": "Hello"}
        code, output = ended(process, signal.SIGINT)
    assert (code, output) == (0, "stopping: calls in flight have 5 s; Ctrl-C again ends immediately\n")


def test_terminating_is_stopping(cli: Cli) -> None:
    with dev(cli.data) as (process, _):
        code, _ = ended(process, signal.SIGTERM)
    assert code == 0


def test_the_second_ctrl_c_leaves_at_once(cli: Cli, tmp_path: Path) -> None:
    put(cli, tmp_path, slow(60_000))
    submit(cli, tmp_path, {"template": "slow", "title": "Slow"})
    with dev(cli.data) as (process, _):
        until(cli.data, 1, "running")
        code, _ = ended(process, signal.SIGINT, signal.SIGINT)
    assert code == 130
    assert cli.json("show", "1")["executions"][0]["status"] == "running"  # the sweep will find it


@pytest.mark.heavy
def test_ctrl_c_returns_what_is_unstarted_and_settles_what_is_cut_off_as_unknown(
    cli: Cli, tmp_path: Path
) -> None:
    """Takes the 5 s that calls in flight have.  There are more tasks than all runs together can begin."""
    put(cli, tmp_path, slow(60_000))
    submit(cli, tmp_path, *[{"template": "slow", "title": f"Slow {number}"} for number in range(300)])
    with dev(cli.data) as (process, _):
        until(cli.data, 1, "running")
        code, _ = ended(process, signal.SIGINT)
    assert code == 0
    begun = {"status": "waiting", "execution": "unknown", "reason": "cut_off: the worker was stopped"}
    untouched = {"status": "pending", "execution": None, "reason": None}
    found = sql(
        cli,
        "SELECT DISTINCT tasks.status, e.status AS execution, e.reason FROM tasks"
        " LEFT JOIN task_executions e ON e.task_id = tasks.id ORDER BY 1",
    )
    assert found == [untouched, begun]
    assert sql(cli, "SELECT count(*) AS n FROM leases") == [{"n": 0}]
    sql(cli, "UPDATE tasks SET status = 'cancelled' WHERE status = 'pending'")  # they would take every slot
    with dev(cli.data):  # echo can be asked what became of it
        until(cli.data, 1, "completed")


@pytest.mark.heavy
def test_an_idle_worker_is_cheap(cli: Cli) -> None:
    """Under 1 % of a core and under 120 MB, by the kernel's own account of 10 s."""
    with dev(cli.data) as (process, _):
        stat = Path(f"/proc/{process.pid}/stat")
        if not stat.exists():
            pytest.skip("this system has no /proc to ask")
        before = ticks(stat)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        spent = ticks(stat) - before
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident_kb = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert spent <= 10  # hundredths of a second
    assert resident_kb < 120_000


def ticks(stat: Path) -> int:
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_given_model_is_for_this_run(cli: Cli) -> None:
    """Its address is not written into the profiles of the data directory."""
    with dev(cli.data, "--model-url", "http://127.0.0.1:9/v1") as (process, _):
        assert ended(process, signal.SIGINT)[0] == 0
    assert "local" not in json.loads(Layout(cli.data).profiles.read_text())


def test_a_new_directory_begins_with_the_examples(empty: Cli) -> None:
    """And keeps what was made of them."""
    tasks = EXAMPLES / "tasks.jsonl"
    with dev(empty.data, "--examples", "--model-url", "http://127.0.0.1:9/v1"):
        assert len(empty.json("submit", tasks)) == len(tasks.read_text().splitlines())
        sql(empty, "UPDATE task_templates SET description = 'mine' WHERE id = 1")
    with dev(empty.data, "--examples", "--model-url", "http://127.0.0.1:9/v1"):
        assert sql(empty, "SELECT description FROM task_templates WHERE id = 1") == [{"description": "mine"}]


def test_without_a_model_the_examples_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Path:
        raise model.NoModel("no language model server is prebuilt here")

    monkeypatch.setattr(model, "weights", missing)
    options = ServeOptions(0, None, None, None, "INFO", with_model=False, examples=True)
    assert models.without_missing_examples(options).examples is False
    with_url = replace(options, model_url="http://127.0.0.1:9/v1")
    assert models.without_missing_examples(with_url).examples is True
    assert capsys.readouterr().err.startswith("the examples are left out: no language model server")
