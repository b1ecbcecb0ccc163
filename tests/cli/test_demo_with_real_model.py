"""What a stranger sees first, with the real model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.local.database import SqliteDatabase
from consumer.local.layout import Layout
from consumer.ports import Statement

LAST = re.compile(
    r"demo: (\d+) tasks, (\d+) completed, (\d+) waiting for people, 0 failed, cost \$\d+\.\d{6}"
)


def bizq(*args: str) -> str:
    command = [sys.executable, "-m", "consumer", *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.heavy
def test_real_tasks_with_a_real_model(tmp_path: Path) -> None:
    """Everything is done but what waits for people, and the books agree with what is said."""
    data = str(tmp_path / "demo")
    *_, last = bizq("demo", "--data", data).splitlines()
    found = LAST.fullmatch(last)
    assert found
    tasks, completed, waiting = map(int, found.groups())
    assert tasks >= 24
    assert tasks == completed + waiting
    costs = json.loads(bizq("cost", "--json", "--data", data))
    database = SqliteDatabase(Layout(Path(data)).database)
    (row,) = database.run([Statement("SELECT sum(cost_micro) AS cost, count(*) AS n FROM task_executions")])[
        0
    ].rows
    (bad,) = database.run([Statement("SELECT count(*) AS n FROM task_executions WHERE status = 'failed'")])[
        0
    ].rows
    database.close()
    assert costs["total_micro"] == sum(one["cost_micro"] for one in costs["costs"]) == row["cost"]
    assert row["n"] == tasks + 2  # the drafts of what is reviewed
    assert bad["n"] == 0
    assert {one["key"] for one in costs["costs"]} == {"local", "people"}
