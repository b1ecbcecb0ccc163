"""The doctor notices absent workers, missing ticks, and providers in trouble."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from consumer.core.policy import HOUR, MINUTE
from consumer.ports import Unavailable
from consumer.run.sweep import sweep
from consumer.service import queries
from consumer.world import World
from tests.schema.databases import Sql
from tests.service import test_doctor as doctors
from tests.support.ports import FakeClock, Faulty

migrated, database, sql, world = doctors.migrated, doctors.database, doctors.sql, doctors.world
wrong, only = doctors.wrong, doctors.only


@pytest.fixture
def clock(world: World) -> FakeClock:
    return cast("FakeClock", world.clock)


async def test_a_missing_tick_is_reported(world: World, clock: FakeClock) -> None:
    await sweep(world)
    assert await wrong(world) == []
    clock.advance(2 * HOUR)
    assert (await only(world)).what.startswith("the last tick was at 20")


async def test_due_work_without_a_worker_is_reported(world: World, sql: Sql, clock: FakeClock) -> None:
    sql.new_task(organization_id=1, run_at_ms=clock.ms)
    assert await wrong(world) == []
    clock.advance(5 * MINUTE)
    found = await only(world)
    assert found.level == "error"
    assert found.what == (
        "no worker takes tasks: the oldest due one has waited for 5 minutes; no call has begun yet"
    )


async def test_a_backlog_with_workers_is_a_warning(world: World, sql: Sql, clock: FakeClock) -> None:
    sql.new_task(organization_id=1, run_at_ms=clock.ms - HOUR)
    sql.run("INSERT INTO leases (token, until_ms, task_ids) VALUES ('a', ?1, '[]')", clock.ms + MINUTE)
    assert (await only(world)).level == "warning"


async def test_failures_are_counted_by_profile_and_reason(world: World, sql: Sql, clock: FakeClock) -> None:
    for reason, started in (
        ("http_503: busy", 0),
        ("http_503 overloaded: please wait", 0),
        ("http_401: wrong key", 0),
        ("http_500: old", 2 * HOUR),
    ):
        task = sql.new_task(status="completed")
        sql.new_execution(
            task, 1, status="failed", reason=reason, started_ms=clock.ms - started, cost_micro=0
        )
    assert [(finding.level, finding.what) for finding in await wrong(world)] == [
        ("warning", "profile 'p': 2 failed calls in the last hour: http_503"),
        ("error", "profile 'p': 1 failed call in the last hour: http_401"),
    ]


READS: dict[str, Callable[[World, int | None], Awaitable[object]]] = {
    "counts": queries.counts,
    "costs": queries.costs,
    "inbox": queries.inbox_page,
    "tasks": queries.task_list,
}


@pytest.mark.parametrize("organization", [None, 1])
@pytest.mark.parametrize("name", READS)
async def test_a_heavy_read_that_fails_is_not_repeated(
    world: World, name: str, organization: int | None
) -> None:
    """It would only add to the load of a database that is overloaded."""
    assert isinstance(world.database, Faulty)
    world.database.fail(1)
    with pytest.raises(Unavailable):
        await READS[name](world, organization)
    assert world.database.batches == 1
