"""Counts what the usual statements cost in a database of 0.1, 1 and 5 million tasks: `make bench-scale`.

The cost is counted in steps of SQLite's virtual machine, so it does not depend on the machine.  There is a table for
each mixture of states: most tasks are finished, most are due, or most wait for people.  The organization that asks has
60,000 of the tasks, whatever the size of the table: counts and sums read its newest 50,000 at most.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from consumer.core.policy import NEVER
from consumer.local import migrate
from consumer.local.database import SqliteDatabase, connect
from consumer.ports import Statement
from consumer.run import claim, sweep
from consumer.service import doctor, queries
from consumer.service.task_filter import TaskFilter
from consumer.store.sql import Query
from consumer.world import Config, World
from providers.echo import Echo
from tests.bench.world import world_of
from tests.support.ports import FakeClock

ROOT: Final = Path(__file__).resolve().parents[2]
SIZES: Final = (100_000, 1_000_000, 5_000_000)
ORGANIZATIONS: Final = 200
MIXTURES: Final = {"finished": (94, 96, 97, 99), "due": (10, 12, 14, 16), "waiting": (20, 22, 24, 98)}
"""Of a hundred tasks: the places up to which they are completed, failed, due, and waiting; the rest is due later."""
OWNER: Final = 7
"""The organization that asks."""
OWNED: Final = 60_000
"""Its tasks, the oldest ones."""

TASKS: Final = Query(f"""
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :size)
    INSERT INTO tasks (template_id, title, organization_id, status, run_at_ms, created_at, updated_at, identity)
    SELECT 1, 'Task ' || n, CASE WHEN n <= {OWNED} THEN {OWNER}
      ELSE {OWNER} + 1 + n / 100 % ({ORGANIZATIONS} - {OWNER}) END, CASE WHEN n * 37 % 100 < :completed THEN 'completed'
      WHEN n * 37 % 100 < :failed THEN 'failed' WHEN n * 37 % 100 < :due THEN 'pending'
      WHEN n * 37 % 100 < :waiting THEN 'waiting' ELSE 'pending' END,
      CASE WHEN n * 37 % 100 < :due THEN :now - 1000 ELSE :now + 100000000 + n END,
      '2026-11-01T00:00:00.000Z', '2026-11-01T00:00:00.000Z', hex(n)
    FROM numbers
""")
EXECUTIONS: Final = Query(f"""
    INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, cost_micro, cost_source,
      started_at, started_ms, wake_at_ms, resolve_by_ms)
    SELECT 1099511627776 + id * 1024 + 1, id, iif(status = 'waiting', 'human', 'ai'),
      iif(status = 'waiting', 'inbox', 'echo'), iif(status = 'waiting', 'people', 'echo'),
      CASE status WHEN 'completed' THEN 'succeeded' WHEN 'failed' THEN 'failed' ELSE 'waiting' END, 5, 'declared',
      '2026-11-01T00:00:00.000Z', 1, iif(status = 'waiting', {NEVER}, NULL), iif(status = 'waiting', {NEVER}, NULL)
    FROM tasks WHERE status IN ('completed', 'failed', 'waiting')
""")


def fill(path: Path, size: int, mixture: str, now: int) -> None:
    """Create a database and fill it.  Indexes and triggers are created last, which is ten times faster.

    There is no journal: a database that is left half filled is deleted."""
    database = SqliteDatabase(path)
    migrate.apply(database, ROOT / "migrations")
    database.close()
    connection = connect(path)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-1000000"):
        connection.execute(f"PRAGMA {pragma}")
    kept = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE tbl_name IN ('tasks', 'task_executions')"
        " AND sql IS NOT NULL AND type IN ('trigger', 'index')"
    ).fetchall()
    for kind, name, _ in kept:
        connection.execute(f"DROP {kind} {name}")
    organizations = f"""
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ORGANIZATIONS})
        INSERT INTO organizations (id, name) SELECT n, 'organization ' || n FROM numbers
    """
    columns = "id, organization_id, name, output_schema, route"
    template = f"INSERT INTO task_templates ({columns}) VALUES (1, 1, 't', '{{}}', '{{}}')"
    completed, failed, due, waiting = MIXTURES[mixture]
    tasks = TASKS(size=size, completed=completed, failed=failed, due=due, waiting=waiting, now=now)
    for statement in (Statement(organizations), Statement(template), tasks, EXECUTIONS()):
        connection.execute(statement.sql, statement.parameters)
    for _, _, sql in kept:
        connection.execute(sql)
    connection.close()


async def take(world: World) -> None:
    """Claim ten tasks."""
    batch = world.batch()
    claiming = claim.claim(batch, world, world.entropy.token(), world.clock.now_ms())
    await claiming.read(world, await batch.commit())


OPERATIONS: Final[dict[str, Callable[[World], Awaitable[Any]]]] = {
    "claim of 10": take,
    "sweep": sweep.sweep,
    "list, first page": lambda world: queries.task_list(world, OWNER),
    "list, one state": lambda world: queries.task_list(world, OWNER, TaskFilter(status="failed")),
    "count": lambda world: queries.counts(world, OWNER),
    "costs by profile": lambda world: queries.costs(world, OWNER),
    "inbox, first page": lambda world: queries.inbox_page(world, OWNER),
    "doctor": doctor.examine,
}


async def measure(size: int, mixture: str, directory: Path) -> dict[str, int]:
    """The steps of each operation."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        place, clock = Path(name), FakeClock()
        fill(place / "tasks.sqlite3", size, mixture, clock.now_ms())
        database = SqliteDatabase(place / "tasks.sqlite3", synchronous="NORMAL")
        world, found = world_of(place, database, clock, Echo(), Config()), {}
        await sweep.sweep(world)  # the first one after an installation does more
        for operation, work in OPERATIONS.items():
            with database.vm_steps() as steps:
                await work(world)
            found[operation] = steps[0]
        database.close()
    return found


def main() -> None:
    """Measure and print one table for each mixture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--mixtures", nargs="+", choices=MIXTURES, default=list(MIXTURES))
    parser.add_argument("--directory", type=Path, default=ROOT / ".cache")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    console = Console()
    for mixture in arguments.mixtures:
        table = Table(f"most tasks are {mixture}: steps", *(f"{size:,} tasks" for size in arguments.sizes))
        columns = []
        for size in arguments.sizes:
            before = time.perf_counter()
            with console.status(f"most tasks are {mixture}: {size:,} tasks"):
                columns.append(asyncio.run(measure(size, mixture, arguments.directory)))
            console.print(f"{mixture}, {size:,} tasks: {time.perf_counter() - before:.0f} s", style="dim")
        for operation in OPERATIONS:
            table.add_row(operation, *(f"{column[operation]:,}" for column in columns))
        console.print(table)


if __name__ == "__main__":
    main()
