"""The deployed Worker under the rules of the runtime: memory, import, JavaScript objects."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from scripts import wheels
from scripts.stage import shipped
from tests.workerd.archives import HERE
from tests.workerd.configuration import Configuration, Options
from tests.workerd.deployed import ANSWER, SECRETS, DeployedWorker
from tests.workerd.harness import Workerd
from tests.workerd.loopback import Answer, completion
from tests.workerd.pytest_inside import WORKER_LOCK
from tests.workerd.toolchain import Toolchain

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("workerd-deployed")]

MIB = 1024 * 1024
ROOM = 64 * MIB
"""Half of an isolate's memory limit, which requests share with Python itself."""
GROWTH = 24 * MIB
"""The memory that a thousand tasks may add."""
IMPORT_SHARE = 1.5
"""The limit for importing, in units of the time to load Python itself on this machine; it takes 0.7."""

LAPTOP = {"_pytest", "click", "consumer.local", "multiprocessing", "pytest", "rich", "sqlite3", "uvicorn"}
PLATFORM = {
    "js",
    "pyodide",
    "pyodide_js",
    "workers",
    "_pyodide",
    "_pyodide_core",
    "asyncio",
    "httpx2_jsfetch",
    "inside",
    "sys",
}
"""Packages of the runtime, of Cloudflare's SDK and of the harness, which may hold JavaScript objects."""
CLOCK_WATCHERS = {"time: logging < structlog.stdlib < structlog"}
"""`logging` reads the clock at its import; only relative times in log records depend on it, which are unused here."""


def test_the_tested_runtime_is_the_deployed_one(site: Path) -> None:
    """Tests and deployment use one list of files and one lock of packages."""
    with zipfile.ZipFile(site) as archive:
        found = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    locked = {
        line.split(" ")[0].lower().replace("-", "_").replace("==", "-")
        for line in WORKER_LOCK.read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    assert {name.removesuffix(".dist-info").lower() for name in found} == locked
    assert Path(wheels.__file__).parent == Path(shipped.__code__.co_filename).parent
    assert "worker.py" in shipped()


def test_python_leaves_half_of_the_memory_to_the_requests(worker_without_queues: DeployedWorker) -> None:
    assert worker_without_queues.worker.info["heapBytes"] <= ROOM


def test_a_thousand_tasks_leave_the_memory_as_it_was(deployed: DeployedWorker) -> None:
    deployed.tasks(deployed.asks("good"), 20)
    deployed.ring()
    before = deployed.worker.heap_bytes()
    for _ in range(10):
        deployed.tasks(deployed.asks("wordy", Answer(json=completion({**ANSWER, "more": "x" * 20_000}))), 100)
        deployed.ring(10)
    assert deployed.worker.heap_bytes() - before <= GROWTH


def test_importing_the_worker_is_quick(worker_without_queues: DeployedWorker) -> None:
    times = worker_without_queues.worker.info["times"]
    assert times["import"] <= IMPORT_SHARE * times["load"]


def test_nothing_of_a_laptop_is_imported(worker_without_queues: DeployedWorker) -> None:
    imported = set(worker_without_queues.worker.lab("info")["modules"])
    assert "worker" in imported
    assert not imported & LAPTOP


def test_importing_the_worker_uses_no_randomness_network_or_time(
    toolchain: Toolchain, site: Path, configuration: Configuration
) -> None:
    """The import uses no network, no time, and no randomness except in packages that Cloudflare permits."""
    watched = Options(watch_imports=True)
    complete = configuration.with_variables(**SECRETS)
    with Workerd(shipped(), site, complete, toolchain=toolchain, options=watched) as worker:
        info = worker.info
    assert {asker.partition(" ")[0] for asker in info["entropyCallers"]} <= {
        "pydantic_core",
        "_workers_sdk_entropy_import_context",
    }
    assert info["networkCallers"] == []
    assert [asker for asker in info["clockCallers"] if not asker.startswith(tuple(CLOCK_WATCHERS))] == []


def test_a_worker_that_reads_the_clock_or_the_network_is_reported(
    toolchain: Toolchain, site: Path, configuration: Configuration
) -> None:
    """The check above detects violations."""
    text = "import js, time, datetime\nSTARTED = time.time(), datetime.datetime.now()\njs.fetch('http://127.0.0.1:1/')\n"
    text += (HERE / "sample" / "worker.py").read_text().replace("from __future__ import annotations", "")
    with Workerd(
        {"worker.py": text}, site, configuration, toolchain=toolchain, options=Options(watch_imports=True)
    ) as worker:
        assert {"time: worker", "now: worker"} <= set(worker.info["clockCallers"])
        assert worker.info["networkCallers"] == ["worker"]


def test_no_module_holds_a_javascript_object(deployed: DeployedWorker) -> None:
    """Such an object would be invalid in the snapshot that isolates start from, and after its request."""
    deployed.tasks(deployed.asks("good"), 3)
    deployed.ring()
    found = deployed.worker.python("inside.globals", "javascript")
    assert [name for name in found if name.split(".")[0] not in PLATFORM] == []


def test_a_handler_that_leaves_a_task_running_is_reported(
    toolchain: Toolchain, site: Path, configuration: Configuration
) -> None:
    """The guard of every test here detects violations."""
    text = """
import asyncio
from workers import Response, WorkerEntrypoint
class Default(WorkerEntrypoint):
    async def fetch(self, request):
        asyncio.create_task(asyncio.sleep(60), name="forgotten")
        return Response("done")
"""
    with Workerd({"worker.py": text}, site, configuration, toolchain=toolchain) as worker:
        worker.fetch("GET", "/")
        (event,) = worker.events()
    assert len(event.leftovers) == 1
    assert "forgotten" in event.leftovers[0]


@pytest.mark.parametrize("messages", [1, 10, 100])
def test_an_invocation_stays_below_a_thousand_statements(deployed: DeployedWorker, messages: int) -> None:
    """For every batch and any amount of due work, the rest is left to the next invocation, with a doorbell."""
    tasks = deployed.tasks(deployed.template("echo"), 1_500 if messages == 1 else 150)
    waiting = messages
    while waiting:
        deployed.ring(waiting)
        waiting = sum(event.sent for event in deployed.events())
    assert deployed.states(tasks) == ["completed"] * len(tasks)
    assert max(event.executed for event in deployed.unseen) <= 1_000
