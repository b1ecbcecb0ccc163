"""A thousand runs of eight processes claim and begin at the same time.

The same without admission, and without reservations: then the same runs overspend, so the test can fail."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply
from consumer.ports import Statement
from tests.support import invariants
from tests.support.crowd import PROCESSES, RUNS, Missing, crowd
from tests.support.ports import FakeClock
from tests.support.scene import PRICE, Scene, ai, make_scene, route
from tests.support.witness import WITNESS

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("crowd")]

MIGRATIONS = Path(__file__).parents[2] / "migrations"
TASKS: Final = 1_000
WIDE: Final = 60
NARROW: Final = 40
OWN: Final = 1
"""Numbers of answers that the budgets of the organization, one template and one task can pay."""


@dataclass(frozen=True, slots=True)
class Books:
    """The state after all processes have ended.  `overdrawn`: moments at which a budget exceeded its cap."""

    claims: int
    calls: int
    charged_micro: int
    counted_micro: int
    overdrawn: int
    untrue: list[str]


async def filled(scene: Scene) -> None:
    """Insert tasks of two templates, under three budgets that apply together."""
    await scene.organization(1)
    narrow, other = [await scene.template(route(ai("blind"))) for _ in range(2)]
    first, *_ = await scene.tasks(TASKS * 3 // 4, narrow)
    await scene.tasks(TASKS // 4, other)
    await scene.budget(WIDE * PRICE)
    await scene.budget(NARROW * PRICE, scope="template", scope_id=narrow, period="month")
    await scene.budget(OWN * PRICE, scope="task", scope_id=first, period="total")


async def outcome(tmp_path: Path, *, missing: Missing = "nothing", admission: bool = True) -> Books:
    """Let the runs do the tasks, with the whole product or without a part of it."""
    path = tmp_path / "tasks.sqlite3"
    apply(path, MIGRATIONS)
    with (
        closing(SqliteDatabase(path)) as database,
        closing(SqliteKeyValue(tmp_path / "kv", FakeClock())) as kv,
    ):
        scene = make_scene(database, kv, FileBlobs(tmp_path / "blobs"))
        await filled(scene)
        database.run([Statement(sql) for sql in WITNESS])
        if not admission:
            database.run([Statement("DROP TRIGGER executions_admission")])
        done = crowd(path, missing)
        (taken,) = await scene.sql(
            "SELECT max(spent_micro + reserved_micro) AS micro"
            " FROM budget_periods JOIN budgets ON budgets.id = budget_id WHERE scope = 'organization'"
        )
        await scene.network.client.aclose()
        return Books(
            sum(one.claims for one in done),
            sum(one.calls for one in done),
            sum(one.charged_micro for one in done),
            int(str(taken["micro"])),
            await scene.count("overdrawn"),
            await invariants.broken(database),
        )


async def test_a_thousand_concurrent_runs_do_not_pass_the_cap(tmp_path: Path) -> None:
    books = await outcome(tmp_path)

    assert PROCESSES * RUNS == TASKS <= books.claims
    assert books.overdrawn == 0
    assert 0 < books.charged_micro <= books.counted_micro <= WIDE * PRICE
    assert books.counted_micro > WIDE * PRICE // 2, "a cap that admits no task proves nothing"
    assert books.untrue == []


async def test_without_admission_the_same_runs_overspend(tmp_path: Path) -> None:
    books = await outcome(tmp_path, admission=False)

    assert books.charged_micro > WIDE * PRICE
    assert books.overdrawn > 0


async def test_without_reservations_the_same_runs_overspend(tmp_path: Path) -> None:
    books = await outcome(tmp_path, missing="reservations")

    assert books.charged_micro > WIDE * PRICE
    assert books.overdrawn > 0
