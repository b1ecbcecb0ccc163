"""Counts how many tests of the contracts ran on each host: a pytest plugin of `make test-workerd`.

Tests that one host leaves out are listed here with the reason, and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest

NOT_IN_WORKERD: Final[dict[str, str]] = {}
"""Qualified names of contract tests, with the reason."""
NOT_LOCAL: Final[dict[str, str]] = {}

WORKERD: Final = "contract in workerd"
LOCAL: Final = "contract on the local host"
PACKAGE: Final = "tests.contracts"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of contracts that run here, so that `-m contract` finds them."""
    for item in items:
        function = getattr(item, "function", None)
        if function is not None and function.__module__.startswith(PACKAGE):
            item.add_marker("contract")
            item.user_properties.append((LOCAL, (function.__qualname__, 1)))


class Tally:
    """The tests that ran, by host."""

    def __init__(self) -> None:
        self.ran: dict[str, Counter[str]] = {WORKERD: Counter(), LOCAL: Counter()}
        self.black_box = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a passed test."""
        if report.when != "call" or not report.passed:
            return
        properties: list[tuple[str, Any]] = report.user_properties
        found = [(host, value) for host, value in properties if host in self.ran]
        for host, (function, count) in found:
            self.ran[host][function] += count
        self.black_box += not found

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print both numbers, of each suite and of all, and where they differ."""
        workerd, local = self.ran[WORKERD], self.ran[LOCAL]
        terminalreporter.section("hosts")
        suites = sorted({name.partition(".")[0] for name in workerd.keys() | local.keys()})
        for suite in suites:
            terminalreporter.line(
                f"{_of(workerd, suite):6} in workerd {_of(local, suite):6} locally  {suite}"
            )
        terminalreporter.line(
            f"contract tests in workerd: {workerd.total()}, on the local host: {local.total()}"
        )
        terminalreporter.line(f"black-box tests in workerd: {self.black_box}")
        for name in sorted(workerd.keys() | local.keys()):
            if workerd[name] != local[name]:
                why = NOT_IN_WORKERD.get(name) or NOT_LOCAL.get(name) or "FOR NO REASON GIVEN"
                terminalreporter.line(f"  {name}: {workerd[name]} in workerd, {local[name]} locally: {why}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A difference without a listed reason is a failure."""
        workerd, local = self.ran[WORKERD], self.ran[LOCAL]
        explained = NOT_IN_WORKERD.keys() | NOT_LOCAL.keys()
        names = (workerd.keys() | local.keys()) - explained
        if session.exitstatus == pytest.ExitCode.OK and any(workerd[name] != local[name] for name in names):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _of(ran: Counter[str], suite: str) -> int:
    """The number of tests of one suite that ran."""
    return sum(count for name, count in ran.items() if name.partition(".")[0] == suite)


def pytest_configure(config: pytest.Config) -> None:
    """Count on the process that sees all reports."""
    config.addinivalue_line("markers", "contract: a test of a contract, run on this host")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tally())
