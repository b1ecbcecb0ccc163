"""Runs pytest inside the Worker and reports each test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.workerd.archives import HERE, ROOT, packages
from tests.workerd.harness import Workerd, WorkerdError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


WORKER_LOCK = ROOT / "requirements" / "worker.txt"
PYTEST_LOCK = HERE / "requirements.txt"
TIMEOUT_S: Final = 300.0
LAB: Final = "/lab"
"""The folder of the tests inside the Worker."""

CONFIGURATION: Final = """\
[pytest]
addopts = --import-mode=importlib
pythonpath = .
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
asyncio_default_test_loop_scope = function
python_files = *.py
python_classes = Test*
filterwarnings = error
"""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one test inside."""

    outcome: str
    """passed, failed or skipped."""
    seconds: float
    text: str
    """Why it failed or was skipped."""


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a run inside; `errors` are errors of collection."""

    status: int
    tests: Mapping[str, Result]
    errors: Sequence[str]
    output: str

    def of(self, case: str) -> dict[str, Result]:
        """The results of one test function: several where it is parametrised."""
        return {name: result for name, result in self.tests.items() if name.partition("[")[0] == case}


def packages_with_pytest() -> Path:
    """The Worker's packages, and pytest."""
    return packages(WORKER_LOCK, PYTEST_LOCK)


def lab_files(tests: Mapping[str, Path | str]) -> dict[str, Path | str]:
    """The files for a run inside: pytest's configuration, and the tests by their names."""
    return {"pytest.ini": CONFIGURATION, **tests}


def run(worker: Workerd, cases: Sequence[str], *options: str) -> Report:
    """Run test ids, relative to the lab, inside the Worker, and return the report.

    Raises RuntimeError with the name of the last test if it ended the event, or the whole of Python.
    """
    arguments = [f"--rootdir={LAB}", f"--config-file={LAB}/pytest.ini", *options]
    arguments += [f"{LAB}/{case}" for case in cases]
    try:
        said = worker.python("inside.running", "run", arguments, timeout_s=TIMEOUT_S)
    except (TimeoutError, WorkerdError) as error:
        words = [entry["message"] for entry in worker.logs()]
        last = [word for word in words if "::" in word.partition("\n")[0]][-1:]
        raise RuntimeError(f"pytest inside ended at {last}: {error}\n{words[-1:]}") from error
    tests = {name: Result(**result) for name, result in said["tests"].items()}
    return Report(said["status"], tests, said["errors"], said["output"])


def together(reports: Sequence[Report]) -> Report:
    """One report of several runs: the worst status, and everything else joined."""
    return Report(
        max(report.status for report in reports),
        {name: result for report in reports for name, result in report.tests.items()},
        [error for report in reports for error in report.errors],
        "\n".join(report.output for report in reports),
    )
