"""The watched database reports what became durable, and nothing else."""

from __future__ import annotations

import pytest

from consumer.ports import Refused, Statement
from tests.simulation.watch import Change, WatchedDatabase

INSERT = Statement("INSERT INTO organizations (id, name) VALUES (1, 'org')")
TASK = Statement("INSERT INTO tasks (title, organization_id) VALUES ('t', 1)")
NOT_UTF8 = Statement("SELECT CAST(X'22EDA08022' AS TEXT) AS text")


@pytest.fixture
def reported() -> list[list[Change]]:
    return []


@pytest.fixture
def database(reported: list[list[Change]]) -> WatchedDatabase:
    made = WatchedDatabase(lambda: 0)
    made.watch = lambda _who, changes: reported.append(changes)
    return made


def test_a_batch_that_the_database_runs_again_is_reported_once(
    database: WatchedDatabase, reported: list[list[Change]]
) -> None:
    """A text that is not UTF-8 makes the database roll the batch back and run it again."""
    database.commit("a worker", [INSERT, TASK, NOT_UTF8])

    ((change,),) = reported
    (task,) = change.tasks.values()
    assert task is not None
    assert [task.identity] == [row["identity"] for row in database.ask("SELECT identity FROM tasks")]


def test_a_refused_batch_is_not_reported(database: WatchedDatabase, reported: list[list[Change]]) -> None:
    with pytest.raises(Refused):
        database.commit("a worker", [INSERT, TASK, Statement("INSERT INTO nowhere VALUES (1)")])

    database.commit("a worker", [INSERT])
    assert reported == [[]]
