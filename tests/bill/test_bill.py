"""Limits for the counts of the bill: one additional statement, write or message for each task fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bill import naive
from tests.bill.aims import AIMS, DOLLARS, DOLLARS_OTHERWISE, MORE_FOR_A_BUDGET
from tests.bill.measure import BUDGET, ECHO, INSTANT, SLOW, Kind, drain, opened, run
from tests.bill.usage import Usage
from tests.workerd.deployed import DeployedWorker
from tests.workerd.guards import breaches
from tests.workerd.toolchain import Toolchain

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("bill")]

NEW_PERIOD = 4
ROWS_READ = 65
"""A little above the measured number.  The aim of 20 is not met: see docs/decisions/0007-rows-read.md."""


@pytest.fixture(scope="module")
def deployed(toolchain: Toolchain) -> Iterator[DeployedWorker]:
    del toolchain  # the tests are skipped without it
    with opened(10) as one:
        yield one


@pytest.mark.parametrize("kind", [INSTANT, ECHO], ids=lambda kind: kind.name)
def test_a_task_done_within_a_second_stays_within_its_limits(deployed: DeployedWorker, kind: Kind) -> None:
    measured = run(deployed, kind, 50, 10)
    each = measured.each
    assert breaches(measured.events) == []
    assert each.rows_written <= AIMS["rows_written"]
    assert each.rows_read <= ROWS_READ
    assert (each.kv_writes, each.kv_reads, each.queue_operations) == (1, 0, 3)
    # Calls that do not end together are settled separately: usually 5 batches to D1 for 10 tasks, sometimes 6.
    assert each.trips <= AIMS["trips"] + 0.2
    assert each.log_events <= 1.2
    assert billed(each) <= DOLLARS


def test_a_task_of_more_than_a_second_writes_the_live_status_twice(deployed: DeployedWorker) -> None:
    each = run(deployed, SLOW, 10, 10).each
    assert each.kv_writes == 2
    assert each.rows_written <= AIMS["rows_written"]
    assert billed(each) <= DOLLARS_OTHERWISE


def test_a_budget_costs_two_more_written_rows(deployed: DeployedWorker) -> None:
    """There are a few more once per period, for the row of the period."""
    plain, limited = run(deployed, INSTANT, 20, 10), run(deployed, BUDGET, 20, 10)
    more = limited.work.rows_written - plain.work.rows_written
    assert more <= MORE_FOR_A_BUDGET * limited.count + NEW_PERIOD


def test_one_doorbell_serves_many_tasks(deployed: DeployedWorker) -> None:
    measured = drain(deployed, INSTANT, 100, 10)
    assert measured.each.queue_operations < 0.5
    assert breaches(measured.events) == []


def test_a_task_costs_less_than_a_naive_implementation(deployed: DeployedWorker) -> None:
    assert (
        run(deployed, INSTANT, 20, 10).each.dollars()
        < naive.measure(deployed.worker.database("DB")).dollars()
    )


def billed(each: Usage) -> float:
    """The dollars of the counts that do not depend on this machine's speed, plus an allowance for the others."""
    return each.dollars("rows_written", "rows_read", "kv_writes", "queue_operations", "requests") + 0.25
