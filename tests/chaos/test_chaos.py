"""A small `make chaos`, and a check that its books detect violations."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.books import compare
from tests.chaos.local import Outcome, Plan, run

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chaos")]

KILLS: Final = 10
LEDGER: Final = "ledger.sqlite3"
OURS: Final = "data/bizq.sqlite3"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A finished run and its files."""
    directory = tmp_path_factory.mktemp("chaos")
    return directory, run(Plan(KILLS, seed=1), directory, print)


def test_killed_workers_lose_nothing(ran: tuple[Path, Outcome]) -> None:
    _, outcome = ran
    assert outcome.problems == []
    assert outcome.kills >= KILLS
    assert sum(outcome.outages.values()) >= 2
    assert outcome.books.completed == outcome.books.tasks > KILLS
    assert outcome.books.ledger == outcome.books.recorded > 0


@pytest.mark.parametrize(
    ("file", "sql", "problem"),
    [
        (LEDGER, "INSERT INTO jobs VALUES (NULL, 'bizq-1', '', 'done', '{}', 1, 0)", "difference is 1"),
        (LEDGER, "UPDATE jobs SET charged_micro = charged_micro + 1 WHERE id = 1", "difference is 1"),
        (
            LEDGER,
            "INSERT INTO jobs SELECT NULL, key, play, state, answer, 0, 0 FROM jobs LIMIT 1",
            "sent_twice",
        ),
        (OURS, "INSERT INTO tasks (title) VALUES ('never done')", "lost is 1"),
        (OURS, "INSERT INTO leases VALUES ('left', 0, '[]')", "lost is 1"),
        (OURS, "INSERT INTO overdrawn VALUES ('1:total', 3, 1)", "overspent is 2"),
        (
            OURS,
            "DELETE FROM task_executions WHERE id = (SELECT max(id) FROM task_executions)",
            "difference is",
        ),
    ],
)
def test_wrong_books_are_reported(
    ran: tuple[Path, Outcome], tmp_path: Path, file: str, sql: str, problem: str
) -> None:
    shutil.copytree(ran[0], tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    with closing(sqlite3.connect(tmp_path / "copy" / file)) as connection, connection:
        connection.execute(sql)

    books = compare(tmp_path / "copy" / OURS, tmp_path / "copy" / LEDGER, Whatever(), Whatever())

    assert problem in " ".join(books.violations())


class Whatever(dict[Any, Any]):
    """Live statuses and large results are not checked here."""

    def __missing__(self, key: Any) -> Any:
        return "{}" if isinstance(key, str) else None
