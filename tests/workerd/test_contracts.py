"""The contracts, and the transport, inside the Workers runtime: one test here for each test function there."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from providers import PROVIDERS
from scripts.stage import shipped
from tests.contracts import limiter
from tests.support.adapters import EveryAdapter
from tests.workerd import mirror, pytest_inside
from tests.workerd.archives import HERE, ROOT, below
from tests.workerd.configuration import Configuration, Options
from tests.workerd.harness import Workerd
from tests.workerd.hosts import NOT_IN_WORKERD, WORKERD
from tests.workerd.inside import contracts
from tests.workerd.toolchain import Toolchain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("workerd-contracts")]

CONTRACTS: Final = "tests/contracts_inside.py"
TRANSPORT: Final = "tests/transport_inside.py"
TOGETHER: Final = 50
"""Tests per event: pytest starts once for them, and a test that ends the event affects only these."""
MOST_SETS: Final = 25
"""Sets of parameters per event of one test.

Python in the runtime does not clear the timer of a time limit that was not needed, and workerd refuses the 10,001st
timer of an event.  A test with fifty runs in one event reaches that; one invocation of the product, with its 1,000
statements, does not.
"""
QUEUES: Final = 100
"""The number of queues: a new one for each test that needs one."""

SUITES: Final = contracts.bound()
FUNCTIONS: Final = {
    f"{CONTRACTS}::{name}::{test}": getattr(suite, test)
    for name, suite in SUITES.items()
    for test in dir(suite)
    if test.startswith("test_")
}
"""The functions of the tests inside, by their ids."""
CASES: Final = {case: function.__qualname__ for case, function in FUNCTIONS.items()}
"""The ids of the tests inside, with the names of the functions."""


def configuration(server: str) -> Configuration:
    """The bindings that the fixtures inside expect: batches of up to 10 sent at once, and at most 2 retries."""
    stores: dict[str, dict[str, object]] = {
        "DB": {"type": "d1", "id": "contracts"},
        "TASKS": {"type": "d1", "id": "tasks"},
        "STATUS": {"type": "kv", "id": "contracts"},
        "BLOBS": {"type": "r2", "name": "contracts"},
        "REQUESTS": {
            "type": "rate-limit",
            "namespace": "contracts",
            "simple": {"limit": limiter.LIMIT, "period": 60},
        },
        "SERVER": {"type": "text", "value": server},
    }
    queues = {f"QUEUE_{n}": {"type": "queue", "name": f"queue-{n}"} for n in range(QUEUES)}
    settings = {"type": "queue", "maxBatchSize": 10, "maxBatchTimeout": 0, "maxRetries": 2, "retryDelay": 0}
    live = [{**settings, "name": f"queue-{n}", "deadLetterQueue": f"dead-{n}"} for n in range(QUEUES)]
    dead = [{**settings, "name": f"dead-{n}"} for n in range(QUEUES)]
    return Configuration({**stores, **queues}, [*live, *dead])


@pytest.fixture(scope="session")
def runner(toolchain: Toolchain) -> Iterator[ContractRunner]:
    """Runs the tests of this session inside the Worker, each part at its first test."""
    with mirror.serve() as server, ExitStack() as stack:
        yield ContractRunner(toolchain, server.url, stack)


class ContractRunner:
    """Runs tests inside a Worker, and starts it again after a test has ended it."""

    def __init__(self, toolchain: Toolchain, server: str, stack: ExitStack) -> None:
        self._toolchain = toolchain
        self._server = server
        self._stack = stack
        self._worker: Workerd | None = None
        self._reports: dict[tuple[str, ...], pytest_inside.Report | RuntimeError] = {}

    def report(self, cases: tuple[str, ...]) -> pytest_inside.Report:
        """The report of these tests, run in one event.  Raises RuntimeError if they did not end."""
        if cases not in self._reports:
            self._reports[cases] = self._run(cases)
        report = self._reports[cases]
        if isinstance(report, RuntimeError):
            raise report
        return report

    def _run(self, cases: Sequence[str]) -> pytest_inside.Report | RuntimeError:
        self._worker = self._worker or self._started()
        parts = max(map(_parts, cases))
        try:
            reports = [pytest_inside.run(self._worker, cases, f"--part={n}/{parts}") for n in range(parts)]
        except RuntimeError as error:
            self._worker.stop()
            self._worker = None
            return error
        return pytest_inside.together(reports)

    def _started(self) -> Workerd:
        tests: dict[str, Path | str] = {
            "conftest.py": HERE / "inside" / "fixtures.py",
            CONTRACTS: HERE / "inside" / "contracts.py",
            TRANSPORT: HERE / "inside" / "transport.py",
            "tests/__init__.py": "",
            **below(ROOT / "tests" / "contracts", "tests/contracts/"),
            **below(ROOT / "tests" / "fixtures", "tests/fixtures/"),
            **below(ROOT / "tests" / "support", "tests/support/"),
        }
        source = {name: path for name, path in shipped().items() if name != "worker.py"}
        entry = {"worker.py": "from inside.contract_worker import Default as Default\n"}
        worker = Workerd(
            {**source, **entry},
            pytest_inside.packages_with_pytest(),
            configuration(self._server),
            toolchain=self._toolchain,
            lab=pytest_inside.lab_files(tests),
            options=Options(intercept=False),
        )
        self._stack.enter_context(worker).database("TASKS").migrate(ROOT / "migrations")
        return worker


def _parts(case: str) -> int:
    """The number of events for a test."""
    marks = [mark for mark in getattr(FUNCTIONS.get(case), "pytestmark", []) if mark.name == "parametrize"]
    return math.ceil(math.prod(len(list(mark.args[1])) for mark in marks) / MOST_SETS)


def _selected(items: list[pytest.Item], case: str) -> tuple[str, ...]:
    """The tests of this session that run in one event with a case."""
    calls = [
        item.callspec for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    cases = [str(call.params["case"]) for call in calls if call.params.get("case") in CASES]
    if _parts(case) > 1:
        return (case,)
    ours = [name for name in cases if CASES[name] not in NOT_IN_WORKERD and _parts(name) == 1]
    groups, size = list[list[str]]([[]]), 0
    for name in ours:
        size += _runs(name)
        if size > TOGETHER:
            groups.append([])
            size = _runs(name)
        groups[-1].append(name)
    return tuple(next(group for group in groups if case in group))


def _runs(case: str) -> int:
    """How often a test runs: one of a suite for adapters runs for each of them, and all together exceed an event."""
    return len(PROVIDERS) if issubclass(SUITES[case.split("::")[1]], EveryAdapter) else 1


def _judge(report: pytest_inside.Report, case: str) -> int:
    """Fail or skip as the test inside did; return the number of its results, one for each set of parameters."""
    results = report.of(case)
    if not results:
        pytest.fail("\n\n".join(report.errors) or f"it was not run inside:\n{report.output}", pytrace=False)
    failed = {name: result for name, result in results.items() if result.outcome == "failed"}
    if failed:
        text = "\n".join(f"{name}\n{result.text}" for name, result in failed.items())
        pytest.fail(f"{len(failed)} of {len(results)} failed inside\n{text}", pytrace=False)
    if all(result.outcome == "skipped" for result in results.values()):
        pytest.skip(next(iter(results.values())).text)
    return len(results)


@pytest.mark.parametrize(("case", "function"), CASES.items(), ids=[case.partition("::")[2] for case in CASES])
def test_contract(
    request: pytest.FixtureRequest,
    runner: ContractRunner,
    record_property: Callable[[str, Any], None],
    case: str,
    function: str,
) -> None:
    if function in NOT_IN_WORKERD:
        pytest.skip(NOT_IN_WORKERD[function])
    together = _selected(request.session.items, case)
    report = runner.report(together)
    record_property(WORKERD, (function, _judge(report, case)))


def test_the_transport_works_inside(runner: ContractRunner) -> None:
    """`consumer.cloudflare.http`, all of `inside/transport.py`."""
    report = runner.report((TRANSPORT,))
    cases = {name.partition("[")[0] for name in report.tests}
    assert cases, report.errors
    for case in sorted(cases):
        _judge(report, case)
