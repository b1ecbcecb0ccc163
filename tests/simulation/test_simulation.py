"""Every invariant holds in a hostile world, and a seed always has the same result."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.core.policy import DAY, HOUR, TAKEN
from consumer.ports import Statement
from tests.simulation.ends import ENDS
from tests.simulation.shrink import command
from tests.simulation.simulation import NEXT_DUE, START_MS, Plan, Simulation, simulate
from tests.simulation.timeline import lines

ROOT = Path(__file__).parents[2]
SEEDS = 50
QUICK = 4
"""The number of seeds that `make check` simulates."""


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.heavy] * (seed > QUICK)) for seed in range(1, SEEDS + 1)]
)
def test_every_invariant_holds(seed: int) -> None:
    report = simulate(Plan(seed))
    if report.violation is not None:
        pytest.fail(
            "\n".join([*lines(report, 40), "", f"replay with: {command(report.plan)}"]), pytrace=False
        )
    assert report.events > 1_000
    assert report.checks.total() > 1_000
    assert report.faults.total() > 100


SELDOM = {
    "no_call_is_cut_off_early": "only a call that its worker cancels is checked",
    "an_invocation_ends_in_time": "only a long outage of the database makes an invocation long",
    "authentic_webhooks_are_taken": "few seeds have a webhook that fails the first time",
    "a_lost_call_keeps_its_key": "few restores forget a call that is made again",
    "a_lost_call_is_looked_up": "as above, and one provider only",
    "a_rest_is_longer_only_after_a_new_call": "in few seeds a profile fails again after its rest",
    "a_call_is_repeated_once": "few calls stay unknown after they were repeated",
    "no_unexpected_exception_escapes": "it is counted only when it is violated",
}
"""Invariants that the first seeds need not reach, with the reason."""


def test_the_first_seeds_reach_every_invariant() -> None:
    """An invariant that reads a column under an old name is never checked, and so never violated."""
    sources = [file.read_text() for file in Path(__file__).parent.glob("*.py")]
    named = {name for source in sources for name in re.findall(r'\bmust\(\s*"([a-z_]+)"', source)}
    reached = {name for seed in range(1, QUICK + 1) for name in simulate(Plan(seed)).checks}
    defined = named | {invariant.__name__ for invariant in ENDS}
    assert len(defined) > 40
    assert defined - reached <= SELDOM.keys()


def test_a_seed_repeats_exactly() -> None:
    first, second = (simulate(Plan(3, 20)) for _ in range(2))
    assert first.timeline == second.timeline
    assert first.happened == second.happened


LEFT = (
    "INSERT INTO organizations (id, name) VALUES (1, 'org')",
    "INSERT INTO tasks (title, organization_id) VALUES ('left as running', 1)",
    "UPDATE tasks SET status = 'running'",
)


@pytest.mark.parametrize(
    ("deadline_ms", "due_ms"),
    [(None, START_MS + TAKEN), (START_MS + HOUR, START_MS + HOUR), (START_MS + 2 * DAY, START_MS + TAKEN)],
    ids=["no deadline", "a near deadline", "a distant deadline"],
)
def test_cron_comes_for_a_task_that_an_application_left_as_running(
    deadline_ms: int | None, due_ms: int
) -> None:
    """Otherwise simulated time jumps over the tick that would end the task, or take it back."""
    sim = Simulation(Plan(1, 0))
    for sql in LEFT:
        sim.database.commit("setup", [Statement(sql)])
    edit = Statement("UPDATE tasks SET run_at_ms = ?1, deadline_ms = ?2", (START_MS, deadline_ms))
    sim.database.commit("setup", [edit, Statement("DELETE FROM outbox")])

    found = sim.database.ask(NEXT_DUE, TAKEN)
    sim.database.close()
    sim.loop.close()
    assert found == [{"due": due_ms}]


ALONE = """
import sys
from tests.simulation.simulation import NEXT_DUE, START_MS, Plan, Simulation, simulate
print(simulate(Plan(int(sys.argv[1]), int(sys.argv[2]))).timeline)
"""


@pytest.mark.parametrize("seed", [4, 9])
def test_a_seed_is_the_same_alone_in_a_process_as_after_other_seeds(seed: int) -> None:
    """Neither what a process remembers of other seeds nor the order of its sets changes a seed."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", ALONE, str(seed), "30"]
    alone = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    simulate(Plan(seed + 1, 30))
    after = simulate(Plan(seed, 30))
    assert alone.stdout.strip() == str(after.timeline)
