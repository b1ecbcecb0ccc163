"""The steps of examples/producer/README.md: `wrangler dev` beside `bizq dev --runtime workerd`, on the same files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from scripts.stage import ROOT
from tests.docs.test_producer import EXAMPLE, toolchain
from tests.support.documents import EXAMPLE as PAGE
from tests.support.documents import sections, shell
from tests.workerd.test_dev import dev

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.workerd.toolchain import Toolchain

__all__ = ["toolchain"]  # a fixture

pytestmark = [pytest.mark.workerd, pytest.mark.heavy, pytest.mark.xdist_group("workerd")]

SECTION: Final = sections(PAGE)["Beside the Worker on this machine"]
QUIET: Final = {"CI": "1", "WRANGLER_SEND_METRICS": "false", "WRANGLER_WRITE_LOGS": "false", "NO_COLOR": "1"}


def block(kind: str) -> str:
    (found,) = re.findall(rf"^```sh {kind}\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
    return str(found)


@contextmanager
def wrangler(command: str, log: Path) -> Iterator[str]:
    """The running `wrangler dev`, in a process group of its own; its address."""
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | QUIET,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"Ready on (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield found[1].replace("localhost", "127.0.0.1")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_example_runs_beside_the_worker(toolchain: Toolchain, tmp_path: Path) -> None:
    example = tmp_path / "examples" / "producer"
    shutil.copytree(EXAMPLE, example, ignore=shutil.ignore_patterns(".wrangler", ".dev.vars"))
    (tmp_path / "node_modules").symlink_to(toolchain.node_modules.resolve())
    data = tmp_path / "data"
    with dev(data) as running:
        there = {
            ". .venv/bin/activate\n": "",
            ".bizq/workerd": str(data / "workerd"),
            "http://127.0.0.1:8080": running.said["url"],
            "examples/producer": str(example),
            "npx wrangler": f"'{toolchain.node}' {toolchain.node_modules / 'wrangler' / 'bin' / 'wrangler.js'}",
            "--port 8788": "--port 0",
        }

        def here(text: str) -> str:
            for name, place in there.items():
                text = text.replace(name, place)
            return text

        put = shell(here(block("offline")), ROOT, {"NO_PROXY": "127.0.0.1"})
        (template,) = re.findall(r"template (\d+): producer-greeting, created", put)
        with wrangler(here(block("producer")).strip(), tmp_path / "log") as url:
            asked = block("api").replace("http://127.0.0.1:8788", url).replace(": 9,", f": {template},")
            made = shell(asked, ROOT, {"NO_PROXY": "127.0.0.1"})
            assert made.count('"id"') == 2, made
            running.cli("tick", key="operator_key")  # what cron does within a minute

            def result(task: int, view: str = "") -> dict[str, object]:
                script = f"curl -fsS {url}/tasks/{task}{view}"
                found: dict[str, object] = json.loads(shell(script, ROOT, {"NO_PROXY": "127.0.0.1"}))
                return found

            end = time.monotonic() + 60
            while result(1)["status"] != "completed" or result(2)["status"] != "completed":
                assert time.monotonic() < end
            assert result(1)["answer"] == {"name": "Ada"}
            assert result(1, "/status")["status"] == "completed"
