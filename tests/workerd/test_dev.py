"""`bizq dev --runtime workerd`: called over HTTP by `bizq --target`, killed and started again."""

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
from tests.workerd.loopback import Answer, Loopback, Seen, completion
from tests.workerd.toolchain import Toolchain

pytestmark = [pytest.mark.workerd, pytest.mark.heavy, pytest.mark.xdist_group("workerd")]

BIZQ = [sys.executable, "-m", "consumer"]
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
FINAL = {"completed", "failed", "cancelled"}


ECHO = {
    "name": "echo",
    "output_schema": SCHEMA,
    "route": {"stages": [{"kind": "ai", "candidates": [{"profile": "echo"}]}]},
}
EXAMPLES = ROOT / "examples" / "tasks.jsonl"
ANSWERS: dict[str, dict[str, str]] = {
    "sentiment": {"sentiment": "negative"},
    "order_number": {"name": "Marta Kowalska", "order_number": "FO-20481", "product": "Polaris 3"},
    "summary": {"summary": "The new fridge arrives on Tuesday and the old one is collected on Thursday."},
    "day": {"patient": "Ingrid Holm", "day": "Thursday", "time": "10:30"},
    "reply": {"reply": "Thank you for your message. We look into it and write to you again tomorrow."},
}
"""The model's answers to the templates of the examples, by a property that each template asks for."""
MODEL_S = 1.0


def answer(seen: Seen) -> Answer:
    """A slow model."""
    if seen.method == "GET":
        return Answer(json={"data": []})
    wanted = seen.json()["response_format"]["json_schema"]["schema"]["properties"]
    (said,) = [ANSWERS[name] for name in wanted if name in ANSWERS]
    return Answer(json=completion(said), delay_s=MODEL_S)


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("BIZQ_TARGET")} | more


@dataclass
class Running:
    """The process, and its message when it was ready."""

    process: subprocess.Popen[str]
    said: Mapping[str, Any]

    def kill(self) -> None:
        """Kill both process groups together, as a power failure does."""
        for group in (self.process.pid, int(self.said["pid"])):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.process.wait()

    def cli(self, *args: object, key: str = "admin_key") -> Any:
        """Call `bizq` with the target and a key; return its JSON."""
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


@contextlib.contextmanager
def dev(data: Path, *options: str) -> Iterator[Running]:
    """The running Worker, in a process group of its own."""
    command = [*BIZQ, "dev", "--runtime", "workerd", "--port", "0", "--json", "--data", str(data), *options]
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
    """Let the leases of lost workers end, in the files of D1; return the number of their tasks."""
    (file,) = [path for path in (data / "workerd" / "d1").rglob("*.sqlite") if path.name != "metadata.sqlite"]
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        found = database.execute("SELECT task_ids FROM leases").fetchall()
        database.execute("UPDATE leases SET until_ms = 0")
    return sum(len(json.loads(tasks)) for (tasks,) in found)


def test_killing_the_server_loses_no_task(toolchain: Toolchain, tmp_path: Path) -> None:
    """All examples are submitted; after a power failure in the middle, the rest is done."""
    del toolchain  # without Node there is no server to start
    data, template = tmp_path / "data", tmp_path / "echo.json"
    template.write_text(json.dumps(ECHO))
    (tmp_path / "echo.jsonl").write_text(json.dumps({"template": "echo", "title": "an echo"}))
    with Loopback(answer) as model:
        asked = ("--model-url", f"{model.url}/v1")
        with dev(data, "--examples", *asked) as first:
            for name in ("admin_key", "operator_key"):
                assert stat.S_IMODE(Path(first.said[name]).stat().st_mode) == 0o600
            for created in (True, False):
                assert first.cli("template", "put", template)["created"] is created
            (echo,) = [one["id"] for one in first.cli("submit", tmp_path / "echo.jsonl")]
            assert first.cli("watch", echo, "--timeout", "60")["status"] == "completed"
            tasks = [one["id"] for one in first.cli("submit", EXAMPLES, key="operator_key")]
            assert len(tasks) == len(EXAMPLES.read_text().splitlines())
            in_the_middle(first)
            first.kill()
        assert let_leases_end(data) > 0
        with dev(data, *asked) as second:
            assert second.cli("show", echo)["task"]["outcome"] == {"title": "an echo"}
            people = until_only_people_are_waited_for(second, tmp_path / "log")
            ended = {"completed": 1 + len(tasks) - people, "waiting": people}
            assert second.cli("status", key="operator_key")["tasks"] == ended
            watched = second.cli("watch", tasks[0], "--timeout", "60", key="operator_key")
            assert watched["status"] == "completed"
            second.process.send_signal(signal.SIGINT)
            assert second.process.wait(30) == 0
            with pytest.raises(ProcessLookupError):
                os.killpg(int(second.said["pid"]), 0)


def in_the_middle(running: Running) -> None:
    """Return when some tasks are running and some have not begun."""
    end = time.monotonic() + 60
    while not {"running", "pending"} <= running.cli("status", key="operator_key")["tasks"].keys():
        assert time.monotonic() < end


def until_only_people_are_waited_for(running: Running, log: Path) -> int:
    """Tick until each task has ended or waits in the inbox; return the number of waiting ones.

    If that takes too long, the message shows the end of the server's log.
    """
    end = time.monotonic() + 150
    while True:
        running.cli("tick", key="operator_key")
        counts: dict[str, int] = running.cli("status", key="operator_key")["tasks"]
        people = len(running.cli("inbox", key="operator_key"))
        if counts.keys() <= FINAL | {"waiting"} and counts.get("waiting", 0) == people:
            return people
        assert time.monotonic() < end, f"{counts}\n{log.read_text()[-20_000:]}"


def test_two_servers_do_not_share_a_directory(toolchain: Toolchain, tmp_path: Path) -> None:
    from consumer.cli.dev.workerd import alone
    from consumer.cli.group import Failure

    del toolchain
    with alone(tmp_path), pytest.raises(Failure, match="another `bizq dev` works in"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_without_a_checkout_the_missing_folder_is_named(tmp_path: Path) -> None:
    from consumer.cli.dev.workerd import check_checkout
    from consumer.cli.group import Failure

    with pytest.raises(Failure, match="needs a checkout of the repository"):
        check_checkout(tmp_path)


def test_without_node_the_message_names_it(tmp_path: Path) -> None:
    """The message has one line, and no process is left running."""
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
