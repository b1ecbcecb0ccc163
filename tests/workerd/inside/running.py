"""pytest inside the worker: one event runs all tests, with the real bindings."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Coroutine
from contextlib import redirect_stderr, redirect_stdout
from contextvars import Context
from typing import Any, Final, Self

from pyodide.ffi import run_sync

LONGEST_S: Final = 20.0
"""Seconds for one test or one fixture."""


class _Runner:
    """`asyncio.Runner` for a loop that always runs: the worker's own, blocked on by switching stacks."""

    def __init__(self, **_options: object) -> None:
        self._loop = asyncio.get_event_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the loop alone: it belongs to the worker."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def run(self, coroutine: Coroutine[Any, Any, Any], *, context: Context | None = None) -> Any:
        return run_sync(self._loop.create_task(_bounded(coroutine), context=context))


async def _bounded(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await with a timeout: if nothing is pending, workerd cancels the whole event with all its tests."""
    async with asyncio.timeout(LONGEST_S):
        return await coroutine


class _Results:
    """Collects one result per test: id, outcome, seconds, text of the failure."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}
        self.errors: list[str] = []

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Name the test in the Worker's log: the last one named is the one that hangs."""
        print(nodeid, file=sys.__stdout__)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid}\n{report.longreprtext}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        test = self.tests.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0, "text": ""})
        test["seconds"] += report.duration
        if report.failed or (report.skipped and test["outcome"] == "passed"):
            test["outcome"] = report.outcome
            test["text"] += f"{report.when}: {report.longreprtext}\n{report.caplog}{report.capstdout}"


class _Part:
    """Adds the option `--part=I/N`, which runs every N-th test from the I-th on."""

    def pytest_addoption(self, parser: Any) -> None:
        parser.addoption("--part", default="0/1")

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        first, _, parts = config.getoption("--part").partition("/")
        items[:] = items[int(first) :: int(parts)]


def run(argument: str) -> str:
    """Run pytest with the given arguments; return its exit status, results, collection errors and output."""
    asyncio.Runner = _Runner  # type: ignore[assignment, misc]
    import pytest  # after the replacement: pytest-asyncio keeps what it finds

    results = _Results()
    output = io.StringIO()
    arguments = ["-p", "no:cacheprovider", "-p", "no:faulthandler", "--color=no", *json.loads(argument)]
    with redirect_stdout(output), redirect_stderr(output):
        status = pytest.main(arguments, plugins=[results, _Part()])
    _forget(sys.modules)
    return json.dumps(
        {"status": int(status), "tests": results.tests, "errors": results.errors, "output": output.getvalue()}
    )


def _forget(modules: dict[str, Any]) -> None:
    """Drop the test modules, so that the next run in this worker starts afresh."""
    for name in [name for name in modules if name.startswith(("tests.", "conftest"))]:
        del modules[name]
